import wave

import numpy as np
import pytest
import torch
from datasets import Audio, Dataset

from regen_hf import AudioModality


def tone(samples: int, rate: int = 8000) -> np.ndarray:
    return np.sin(np.arange(samples) * 440 * 2 * np.pi / rate).astype(np.float32) / 2


def test_waves_of_any_length_and_back():
    audio, waves = AudioModality(8000), [tone(100), tone(60)]
    batch = audio.as_target(waves)
    assert batch["target"].shape == (2, 1, 100) and batch["target_mask"].sum(1).tolist() == [100, 60]
    back = audio.from_target(batch["target"], batch["target_mask"])
    for row, expected in zip(back, waves, strict=True):
        assert row["sampling_rate"] == 8000
        np.testing.assert_array_equal(row["audio"], expected)
    stereo = AudioModality(8000, channels=2)
    batch = stereo.as_target([np.stack([tone(10), tone(10)])])
    assert batch["target"].shape == (1, 2, 10)
    assert stereo.from_target(batch["target"])[0]["audio"].shape == (2, 10)


def test_as_a_source_it_is_what_an_encoder_reads():
    given = AudioModality(8000, normalize=True).as_source([tone(100) + 3, tone(50)])
    assert given["input_values"].shape == (2, 100) and given["padding_mask"].sum(1).tolist() == [100, 50]
    assert given["input_values"][0].mean().abs() < 1e-4 and abs(given["input_values"][1, :50].var() - 1) < 0.05
    with pytest.raises(ValueError, match="a source must be mono"):
        AudioModality(8000, channels=2).as_source([tone(4)])


def test_reads_what_people_hold(tmp_path):
    pytest.importorskip("soundfile")
    audio = AudioModality(8000)
    path = audio.save_samples([{"audio": tone(100)}], ["a tone"], tmp_path / "tone")
    expected = audio.as_target([str(path)])["target"]
    assert expected.shape == (1, 1, 100 + 4000)
    torch.testing.assert_close(expected[0, 0, :100], torch.from_numpy(tone(100)), atol=1e-4, rtol=0)
    for form in (path, {"bytes": path.read_bytes(), "path": None}, {"array": expected[0], "sampling_rate": 8000}):
        assert torch.equal(audio.as_target([form])["target"], expected)
    dataset = Dataset.from_dict({"audio": [str(path)]}).cast_column("audio", Audio())
    prepared = audio.prepare_column(dataset, "audio")
    assert torch.equal(audio.as_target(prepared[0:1]["audio"])["target"], expected)
    (tmp_path / "broken.wav").write_bytes(b"no wave")
    with pytest.raises(ValueError, match="broken.wav is no readable audio"):
        audio.as_target([tmp_path / "broken.wav"])


def test_samples_are_one_file_to_listen_to(tmp_path):
    path = AudioModality(8000).save_samples([{"audio": tone(80)}, {"audio": tone(40)}], ["a", "b"], tmp_path / "x")
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8000, 1, 80 + 40 + 2 * 4000)
    assert (tmp_path / "x.txt").read_text() == "a\nb\n"


@pytest.mark.parametrize("example, message", [
    ({"array": np.zeros(9), "sampling_rate": 44100}, "target 0 must have 8000 samples a second, got 44100"),
    (np.zeros((2, 9)), r"target 0 must have 1 channel\(s\), got an array of shape \(2, 9\)"),
    (np.zeros(0), "target 0 must be samples that are finite, got 0"),
    (np.full(4, np.nan), "some NaN"),
])  # fmt: skip
def test_refuses_waves_that_do_not_fit(example, message):
    with pytest.raises(ValueError, match=message):
        AudioModality(8000).as_target([example])


def test_refuses_what_is_no_wave():
    with pytest.raises(TypeError, match="target 0 must be a waveform, a path or audio bytes, got int"):
        AudioModality(8000).as_target([7])
    with pytest.raises(ValueError, match="`sampling_rate` must be a whole number of at least 1, got 0"):
        AudioModality(0)
    with pytest.raises(ValueError, match="`channels` must be 1 or 2, got 3"):
        AudioModality(8000, channels=3)


def test_settings_come_back():
    audio = AudioModality(8000, 2, True)
    assert AudioModality(**audio.to_dict()).to_dict() == {"sampling_rate": 8000, "channels": 2, "normalize": True}
