import json
import sys
import wave

import numpy as np
import pytest
import torch
from tiny import latent_model, text
from transformers import (
    ParakeetFeatureExtractor,
    Phi4MultimodalFeatureExtractor,
    Speech2TextFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from regen_hf import AudioModality, ImageModality, RegenerationProcessor


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


def test_samples_are_one_file_to_listen_to(tmp_path):
    path = AudioModality(8000).save_samples([{"audio": tone(80)}, {"audio": tone(40)}], ["a", "b"], tmp_path / "x")
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8000, 1, 80 + 40 + 2 * 4000)
    assert (tmp_path / "x.wav.txt").read_text() == "a\nb\n"


@pytest.mark.parametrize("settings, message", [
    ({"sampling_rate": 0}, "`sampling_rate` must be a whole number of at least 1, got 0"),
    ({"channels": 3}, "`channels` must be 1 or 2, got 3"),
    ({"max_seconds": 0}, "`max_seconds` must be a number above 0 that at least one sample fits in, got 0"),
    ({"max_seconds": float("inf")}, "`max_seconds` must be .* got inf"),
    ({"feature_extractor": Wav2Vec2FeatureExtractor(), "sampling_rate": 8000},
     "`sampling_rate` must be the 16000 of the Wav2Vec2FeatureExtractor, got 8000"),
    ({"feature_extractor": Wav2Vec2FeatureExtractor(), "normalize": True},
     "`normalize` must be False with a `feature_extractor`: the Wav2Vec2FeatureExtractor decides"),
    ({"feature_extractor": Phi4MultimodalFeatureExtractor()},
     "must give input_features or input_values, but Phi4MultimodalFeatureExtractor gives audio_input_features"),
])  # fmt: skip
def test_refuses_settings_that_do_not_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        AudioModality(**{"sampling_rate": 16000, **settings})


def test_refuses_what_is_no_feature_extractor():
    with pytest.raises(TypeError, match="`feature_extractor` must be one of transformers for audio, got str"):
        AudioModality(16000, feature_extractor="a name")


def test_another_rate_is_resampled_and_said_once():
    audio = AudioModality(8000)
    examples = [{"array": tone(1600, 16000), "sampling_rate": 16000}] * 2
    with pytest.warns(UserWarning) as said:
        found = audio.as_target([{"audio": tone(1600, 16000), "sampling_rate": 16000}, *examples])["target"]
    assert [str(each.message) for each in said] == [
        "target 0 is resampled from 16000 to 8000 samples a second, and so is what else has another rate."
    ]
    assert found.shape == (3, 1, 800)
    torch.testing.assert_close(found[1, 0, 50:-50], torch.from_numpy(tone(800))[50:-50], atol=1e-3, rtol=0)


def test_stereo_is_mixed_down_and_said_once():
    audio = AudioModality(8000)
    with pytest.warns(UserWarning, match="source 1 is stereo: it is mixed down to mono") as said:
        found = audio.as_source([tone(9), np.stack([np.ones(9), np.zeros(9)]), np.zeros((2, 9))])["input_values"]
    assert len(said) == 1 and found[1].tolist() == [0.5] * 9


def test_without_soxr_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(ImportError, match=r"audio is resampled by soxr: pip install 'regen_hf\[speech\]'"):
        AudioModality(8000).as_target([{"array": tone(99), "sampling_rate": 16000}])


def test_audio_longer_than_the_model_takes_is_refused():
    audio = AudioModality(8000, max_seconds=0.1)
    assert audio.as_source([tone(800)])["input_values"].shape == (1, 800)
    for read in (audio.as_source, audio.as_target):
        with pytest.raises(ValueError, match=r"1 lasts 0.15 seconds, but `max_seconds` is 0.1"):
            read([tone(800), tone(1200)])


def test_long_audio_is_cut_where_it_is_quietest():
    audio, wave = AudioModality(1000, max_seconds=1), np.ones(2500, np.float32)
    wave[850:880], wave[300:500], wave[1600:1700] = 0.1, 0, 0.5
    pieces = audio.pieces(wave)
    assert np.array_equal(np.concatenate(pieces, axis=1)[0], wave)
    cuts = np.cumsum([piece.shape[1] for piece in pieces])
    assert len(cuts) == 3 and 850 <= cuts[0] <= 880 and 1600 <= cuts[1] <= 1700 and cuts[2] == 2500
    assert [piece.shape for piece in audio.pieces(wave[:1000])] == [(1, 1000)]
    assert AudioModality(1000).pieces(wave)[0] is wave


@pytest.mark.parametrize("samples", [1001, 1334, 2001, 5003])
def test_pieces_are_neither_too_long_nor_splinters(samples):
    for heard in (np.zeros(samples), np.random.default_rng(0).normal(size=samples)):
        lengths = [piece.shape[1] for piece in AudioModality(1000, max_seconds=1).pieces(heard)]
        assert sum(lengths) == samples and max(lengths) <= 1000 and min(lengths) >= 333
    assert [piece.shape[1] for piece in AudioModality(1000, max_seconds=0.001).pieces(np.zeros(3))] == [1, 1, 1]


def test_waves_are_joined_one_after_the_other():
    mono, stereo = AudioModality(8000), AudioModality(8000, channels=2)
    joined = mono.join([{"audio": tone(3)}, {"audio": tone(2)}])
    assert joined["sampling_rate"] == 8000 and joined["audio"].tolist() == [*tone(3), *tone(2)]
    assert stereo.join([{"audio": np.zeros((2, 3))}, {"audio": np.zeros((2, 2))}])["audio"].shape == (2, 5)
    assert text().join([{"text": "red"}, {"text": ""}, {"text": "heart"}]) == {"text": "red heart"}
    with pytest.raises(ValueError, match="ImageModality cannot join what 2 pieces of a source became"):
        ImageModality(16).join([{}, {}])


def parakeet() -> ParakeetFeatureExtractor:
    return ParakeetFeatureExtractor(feature_size=16)


@pytest.mark.parametrize("extractor, name, shape, real", [
    (parakeet(), "input_features", (2, 21, 16), [20, 10]),
    (Speech2TextFeatureExtractor(feature_size=16, num_mel_bins=16), "input_features", (2, 18, 16), [18, 8]),
    (WhisperFeatureExtractor(feature_size=16, chunk_length=1), "input_features", (2, 16, 100), [20, 10]),
    (Wav2Vec2FeatureExtractor(), "input_values", (2, 3200), [3200, 1600]),
], ids=lambda each: type(each).__name__)  # fmt: skip
def test_a_feature_extractor_makes_the_source(extractor, name, shape, real):
    audio, waves = AudioModality(16000, feature_extractor=extractor), [tone(3200, 16000), tone(1600, 16000) + 1]
    given = audio.as_source(waves)
    assert set(given) == {name, "padding_mask"} and given[name].shape == shape and given[name].dtype == torch.float32
    assert given["padding_mask"].dtype == torch.long and given["padding_mask"].sum(1).tolist() == real
    for row, heard in zip(given[name], waves, strict=True):
        alone = extractor(heard, sampling_rate=16000, return_tensors="pt")[name][0]
        torch.testing.assert_close(row[: len(alone)], alone, rtol=0, atol=0)
        assert not row[len(alone) :].any()


def test_features_are_of_all_the_audio():
    audio = AudioModality(16000, feature_extractor=WhisperFeatureExtractor(feature_size=16, chunk_length=1))
    given = audio.as_source([tone(24000, 16000)])
    assert given["input_features"].shape == (1, 16, 150) and given["padding_mask"].sum(1).tolist() == [150]
    with pytest.raises(ValueError, match="`max_seconds` is needed: WhisperFeatureExtractor gives one size for shorter"):
        audio.as_source([tone(24000, 16000), tone(1600, 16000)])


def test_audio_too_short_for_its_features_is_refused():
    with pytest.raises(ValueError, match="source 0 is too short for ParakeetFeatureExtractor: 90 samples"):
        AudioModality(16000, feature_extractor=parakeet()).as_source([tone(90)])


@pytest.mark.parametrize("extractor", [parakeet(), Wav2Vec2FeatureExtractor(do_normalize=False)], ids=["mel", "wave"])
def test_a_feature_extractor_is_saved_beside_a_model(extractor, tmp_path):
    audio = AudioModality(16000, feature_extractor=extractor, max_seconds=2.5)
    described = {
        "sampling_rate": 16000, "channels": 1, "normalize": False, "feature_extractor": type(extractor).__name__,
        "max_seconds": 2.5,
    }  # fmt: skip
    assert audio.to_dict() == described
    for folder, processor in {
        tmp_path / "heard": RegenerationProcessor(audio, text()),
        tmp_path / "spoken": RegenerationProcessor(text(), audio),
    }.items():
        latent_model().save_pretrained(folder)
        processor.save_pretrained(folder)
        again = RegenerationProcessor.from_pretrained(folder)
        found, words = (again.source, again.target) if processor.source is audio else (again.target, again.source)
        assert found.to_dict() == described
        assert found.feature_extractor.to_dict() == extractor.to_dict()
        assert words.tokenizer.get_vocab() == text().tokenizer.get_vocab()
    assert (tmp_path / "heard/preprocessor_config.json").is_file()
    assert (tmp_path / "spoken/target/preprocessor_config.json").is_file()


def test_settings_come_back():
    audio = AudioModality(8000, 2, True)
    assert AudioModality(**audio.to_dict()).to_dict() == {"sampling_rate": 8000, "channels": 2, "normalize": True}


@pytest.mark.parametrize("settings", [
    {"sampling_rate": 10**12}, {"sampling_rate": True}, {"sampling_rate": "8000"}, {"sampling_rate": float("nan")},
    {"channels": True}, {"channels": "1"}, {"normalize": "no"}, {"max_seconds": float("nan")}, {"max_seconds": 10**12},
    {"max_seconds": 10**400}, {"max_seconds": True}, {"max_seconds": "3"},
], ids=range(12))  # fmt: skip
def test_settings_are_bounded(settings):
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}` must be "):
        AudioModality(**{"sampling_rate": 8000, **settings})


def test_settings_of_a_feature_extractor_are_bounded():
    with pytest.raises(ValueError, match="`padding_value` of the `feature_extractor` must be at most 536,870,912"):
        AudioModality(16000, feature_extractor=Wav2Vec2FeatureExtractor(padding_value=float("nan")))


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("described, message", [
    ({"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 20000, "n_fft": 40000},
     "`feature_size` of the feature extractor of .* times its window must be at most 134,217,728, got 800,000,000"),
    ({"feature_extractor_type": "WhisperFeatureExtractor", "n_fft": 10**6}, "`n_fft` of .* from 0 to 65,536, got 1000"),
    ({"feature_extractor_type": "WhisperFeatureExtractor", "hop_length": -1}, "`hop_length` of .* from 0 to 65,536"),
    ({"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": "9"}, "`feature_size` of .* got '9'"),
    ({"feature_extractor_type": "SpeechT5FeatureExtractor", "win_length": 60000, "num_mel_bins": 60000},
     "`num_mel_bins` of .* times its window must be"),
    ({"feature_extractor_type": "SpeechT5FeatureExtractor", "sampling_rate": 10**9}, "`sampling_rate` of .* 768,000"),
])  # fmt: skip
def test_sizes_of_somebody_elses_feature_extractor_are_bounded(described, message, nested, tmp_path):
    name = "processor_config.json" if nested else "preprocessor_config.json"
    (tmp_path / name).write_text(json.dumps({"feature_extractor": described} if nested else described))
    settings = {"sampling_rate": 16000, "feature_extractor": described["feature_extractor_type"]}
    with pytest.raises(ValueError, match=message):
        AudioModality.load(str(tmp_path), settings)


def test_captions_do_not_take_the_place_of_a_text(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    AudioModality(8000).save_samples([{"audio": tone(8)}], ["a"], tmp_path / "notes")
    assert (tmp_path / "notes.txt").read_text() == "mine"
