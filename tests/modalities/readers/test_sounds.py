import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Audio, Dataset, Features, List, Value

from regen_hf import AudioModality
from regen_hf.modalities.readers import sounds


def tone(samples: int, rate: int = 8000) -> np.ndarray:
    return np.sin(np.arange(samples) * 440 * 2 * np.pi / rate).astype(np.float32) / 2


def test_reads_what_people_hold(tmp_path):
    pytest.importorskip("soundfile")
    audio = AudioModality(8000)
    path = audio.save_samples([{"audio": tone(100)}], ["a tone"], tmp_path / "tone")
    expected = audio.as_target([str(path)])["target"]
    assert expected.shape == (1, 1, 100 + 4000)
    torch.testing.assert_close(expected[0, 0, :100], torch.from_numpy(tone(100)), atol=1e-4, rtol=0)
    raw = path.read_bytes()
    for form in (
        path,
        raw,
        {"bytes": raw, "path": None},
        {"audio": {"bytes": raw, "path": "gone.wav"}},
        {"array": expected[0], "sampling_rate": 8000},
    ):
        assert torch.equal(audio.as_target([form])["target"], expected)
    dataset = Dataset.from_dict({"audio": [str(path)]}).cast_column("audio", Audio())
    prepared = audio.prepare_column(dataset, "audio")
    assert torch.equal(audio.as_target(prepared[0:1]["audio"])["target"], expected)
    (tmp_path / "broken.wav").write_bytes(b"no wave")
    with pytest.raises(ValueError, match="broken.wav is no readable audio"):
        audio.as_target([tmp_path / "broken.wav"])


@pytest.mark.parametrize("example, message", [
    (np.zeros((3, 9)), r"target 0 must have 1 channel\(s\), got an array of shape \(3, 9\)"),
    (np.zeros((90, 2)), r"target 0 must be \(channels, samples\), got \(90, 2\), as if turned round: transpose it"),
    (np.zeros((1, 1, 9)), r"must be \(samples,\) or \(channels, samples\), got an array of shape \(1, 1, 9\)"),
    (np.zeros(0), "target 0 has no samples"),
    (np.array([0, np.nan, 1, np.inf]), "target 0 must have finite samples, but 2 of 4 are NaN or infinite"),
    (["a", "b"], "target 0 must be numbers: could not convert"),
    (b"no wave", "target 0 is no readable audio"),
    ("https://example.org/a.wav", "https://example.org/a.wav must be a file on this machine, got a URL"),
    ({"path": "hf://a.wav", "bytes": None}, "hf://a.wav must be a file on this machine, got a URL"),
    ({"array": np.zeros(9), "sampling_rate": None}, "target 0 must say its samples a second by a number.*got None"),
    ({"array": np.zeros(1), "sampling_rate": 96000}, "target 0 has no samples left at 8000 a second, of 1"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*is resampled")
def test_refuses_waves_that_do_not_fit(example, message):
    with pytest.raises(ValueError, match=message):
        AudioModality(8000).as_target([example])


def test_refuses_what_is_no_wave():
    for example in (7, {"text": "a"}, None):
        with pytest.raises(TypeError, match="target 0 must be a waveform, a path or audio bytes, got "):
            AudioModality(8000).as_target([example])
    with pytest.raises(ValueError, match=r"must have 2 channel\(s\), got an array of shape \(1, 9\)"):
        AudioModality(8000, channels=2).as_target([np.zeros(9)])


class Decoder:
    def get_all_samples(self):
        return SimpleNamespace(data=torch.from_numpy(tone(100))[None], sample_rate=8000)


@pytest.mark.parametrize("example", [
    Decoder(),
    {"audio": Decoder(), "text": "a tone"},
    {"audio": {"array": tone(100), "sampling_rate": 8000}, "text": "a tone"},
    {"audio": tone(100), "sampling_rate": 8000},
    (tone(100) * 32768).astype(np.int16),
    torch.from_numpy(tone(100)).requires_grad_(),
    tone(100).tolist(),
], ids=range(7))  # fmt: skip
def test_reads_a_wave_in_every_form(example):
    found = AudioModality(8000).as_target([example])["target"]
    torch.testing.assert_close(found[0, 0], torch.from_numpy(tone(100)), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("dtype", "scale", "offset"),
    [(np.int8, 2**7, 0), (np.int16, 2**15, 0), (np.int32, 2**31, 0), (np.uint8, 128, 128), (np.uint16, 2**15, 2**15)],
)
def test_whole_numbers_are_samples_as_files_have_them(dtype, scale, offset):
    given = np.array([0.5, -0.25, 0.0])
    whole = (given * scale + offset).astype(dtype)
    found = AudioModality(8000).as_target([whole])["target"][0, 0]
    assert found.tolist() == pytest.approx(given.tolist(), abs=1e-6)


@pytest.mark.parametrize("example", [
    [32767, 0, -5], [[32767, 0, -5]], np.array([32767, 0]), np.array([2, 0], np.uint32), torch.tensor([0, 300]),
    {"array": [12, 0], "sampling_rate": 8000},
], ids=range(6))  # fmt: skip
def test_whole_numbers_of_an_unknown_range_are_refused(example):
    with pytest.raises(ValueError, match="0 must be an array of int16, or of floats from -1 to 1: the range of u?int"):
        AudioModality(8000).as_target([example])


def test_whole_numbers_in_a_column_are_refused():
    column = Dataset.from_dict({"audio": [[32767, 0]]}, Features({"audio": List(Value("int16"))}))
    with pytest.raises(ValueError, match="the range of int64 with 32767 is not known"):
        AudioModality(8000).as_target(column["audio"])


@pytest.mark.parametrize("example", [[1e30], np.array([0, -32768.0]), torch.tensor([101.0])], ids=range(3))
def test_floats_of_another_scale_are_refused(example):
    with pytest.raises(ValueError, match="target 0 must have samples from -1 to 1, and none beyond 100, got"):
        AudioModality(8000).as_target([example])


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC"])
def test_a_cut_file_is_refused(kind, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "whole", tone(1600), 8000, format=kind)
    whole = (tmp_path / "whole").read_bytes()
    for example in (whole[: len(whole) * 2 // 3], tmp_path / "whole"):
        (tmp_path / "whole").write_bytes(whole[:-200])
        with pytest.raises(ValueError, match="is no readable audio: "):
            AudioModality(8000).as_target([example])


def test_a_file_from_a_pipe_does_not_know_its_size():
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, tone(800), 8000, format="WAV")
    for size in (b"\xff\xff\xff\xff", b"\0\xf0\xff\x7f"):
        found = file.getvalue().replace(b"data\x40\6\0\0", b"data" + size)
        assert AudioModality(8000).as_target([found])["target"].shape == (1, 1, 800)


def flac(total: int) -> bytes:
    """800 samples whose header says that there are `total`."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, tone(800), 8000, format="FLAC")
    found = bytearray(file.getvalue())
    found[21] = found[21] & 0xF0 | total >> 32
    found[22:26] = (total & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(found)


def test_what_a_header_promises_is_bounded():
    assert AudioModality(8000).as_target([flac(800)])["target"].shape == (1, 1, 800)
    with pytest.raises(ValueError, match="target 0 is no readable audio: it has 68,719,476,735 samples, more than 536"):
        AudioModality(8000).as_target([flac(2**36 - 1)])


def test_silence_that_fills_the_memory_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(sounds, "MOST_SAMPLES", 799)
    with pytest.raises(ValueError, match="target 0 is no readable audio: it has 800 samples, more than 799: divide it"):
        AudioModality(8000).as_target([flac(800)])


@pytest.mark.parametrize("rate", [1e-9, 0.5, 1e300, float("nan"), float("inf"), True, "8000", 2, 3, 999])
def test_rates_that_would_take_any_memory_are_refused(rate):
    with pytest.raises(ValueError, match="target 0.* samples a second"):
        AudioModality(8000).as_target([{"array": tone(800), "sampling_rate": rate}])


@pytest.mark.filterwarnings("ignore:.*is resampled")
def test_what_becomes_of_a_sound_is_bounded(monkeypatch):
    monkeypatch.setattr("regen_hf.modalities.audio.MOST_RESAMPLED", 799)
    with pytest.raises(ValueError, match="of 1000 samples a second, has 800 at 8000 a second, more than 799"):
        AudioModality(8000).as_target([{"array": tone(100), "sampling_rate": 1000}])
    found = AudioModality(8000).as_target([{"array": tone(1600), "sampling_rate": 16000}])
    assert found["target"].shape == (1, 1, 800)


@pytest.mark.parametrize("kind", ["AVR", "HTK", "SVX", "MAT4", "MAT5", "PAF", "PVF", "SDS", "VOC", "XI", "NIST", "SD2"])
def test_does_not_read_what_is_rare(kind):
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, tone(800), 8000, format=kind)
    with pytest.raises(ValueError, match="target 0 is no readable audio: "):
        AudioModality(8000).as_target([file.getvalue()])


@pytest.mark.parametrize("kind", ["AIFF", "AU", "CAF", "FLAC", "MP3", "OGG", "RF64", "W64", "WAV", "WAVEX"])
@pytest.mark.parametrize("name", [None, "a.raw", "a.sd2", "a.m3u8"])
def test_files_are_known_by_what_is_in_them(tmp_path, kind, name):
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, tone(800), 8000, format=kind)
    example = file.getvalue()
    if name is not None:
        example = tmp_path / name
        example.write_bytes(file.getvalue())
    found = AudioModality(8000).as_target([example])["target"][0, 0]
    torch.testing.assert_close(found, torch.from_numpy(tone(800)), atol=0.1, rtol=0)


@pytest.mark.parametrize("example", [np.ones(9, complex), np.ones(9, bool), np.array(["1", "2"]), np.full(9, 1e300)])
@pytest.mark.filterwarnings("ignore:overflow")
def test_what_are_no_samples_is_named(example):
    with pytest.raises(ValueError, match="target 0 must (be numbers, got|have finite samples)"):
        AudioModality(8000).as_target([example])
