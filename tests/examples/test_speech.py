"""The two examples of speech: end to end in a few steps, with parts by name, and what they say of bad input."""

import importlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset, Features, Value
from example_modules import load, shorten
from named_extractors import EXTRACTORS, encodec
from transformers import (
    AutoConfig,
    ParakeetFeatureExtractor,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    pipeline,
)

pytestmark = pytest.mark.usefixtures("one_thread")

EXAMPLES = Path(__file__).parents[2] / "examples"
SENTENCES = [
    "open the file and read it", "return the name of the folder", "close the window at once", "a list of all words",
    "the number of rows is wrong", "write the text to a file", "this is the last line", "read one word after the other",
    "give the size of the list", "find the first empty row", "sort all rows by name", "the end of the text",
]  # fmt: skip
RATE = 16000
PLACES = 100  # frames of a codec: two seconds, and each sentence takes less


@pytest.fixture(scope="module")
def recognition():
    return load("speech_recognition")


@pytest.fixture(scope="module")
def synthesis():
    return load("speech_synthesis")


@pytest.fixture(scope="module")
def data():
    return importlib.import_module("speech_data")


@pytest.fixture(scope="module")
def spoken(data, tmp_path_factory):
    """Sentences, each said in one of three voices."""
    return data.spoken(SENTENCES, data.VOICES[:3], tmp_path_factory.mktemp("cache"))


def make_few(patch, recognition, synthesis, spoken) -> None:
    """The examples with a dozen sentences, two of them held out, and two steps a stage."""
    patch.setattr("task.named_dataset", lambda *_: spoken)
    patch.setattr("task.is_held_out", lambda text: text in SENTENCES[:2])
    shorten(patch, recognition, places=48)
    shorten(patch, synthesis, places=PLACES)
    patch.setattr(recognition, "VOCABULARY_SIZE", 60)


@pytest.fixture
def few(monkeypatch, recognition, synthesis, spoken):
    make_few(monkeypatch, recognition, synthesis, spoken)


def asked(tmp_path, **options) -> list[str]:
    given = {"dataset": "spoken", "output": tmp_path / "out", "pairs": 8, "heldout": 2, **options}
    return [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]


def metrics(tmp_path) -> dict:
    return json.loads((tmp_path / "out" / "metrics.json").read_text())


def test_sentences_are_those_of_docstrings(data, tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text('"""Read the file. See `open`.\n\nReturns the size of it: 3.\n"""\nx = 1\n')
    (tmp_path / "b.py").write_text("'''Read the file.'''\n'''too short'''\n'''it has 3 digits in it'''\n")
    monkeypatch.setattr(data.site, "getsitepackages", lambda: [])
    monkeypatch.setattr(data.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    assert sorted(data.sentences(9)) == ["read the file", "returns the size of it"]
    assert len(data.sentences(1)) == 1


def test_speech_is_made_once_in_several_voices(spoken, data, tmp_path):
    assert len(set(spoken["voice"])) == 3
    wave, rate = soundfile.read(io.BytesIO(spoken[0]["audio"]["bytes"]))
    assert rate == RATE and 0.8 < len(wave) / rate < 4 and 0.1 < np.abs(wave).max() <= 1
    again = data.spoken(SENTENCES[:2], data.VOICES[:3], tmp_path)
    assert again[0]["audio"]["bytes"] == spoken[0]["audio"]["bytes"]
    files = sorted(tmp_path.rglob("*.arrow"))
    assert data.spoken(SENTENCES[:2], data.VOICES[:3], tmp_path).cache_files[0]["filename"] == str(files[0])


@pytest.fixture(scope="module")
def compared(recognition, synthesis, spoken, tmp_path_factory):
    """The folder of a run by way of phonemes, and end to end."""
    folder = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        make_few(patch, recognition, synthesis, spoken)
        recognition.main([*asked(folder, unpaired=2), "--compare"])
    return folder


SLOW_SYNTHESES = [pytest.param(way, marks=pytest.mark.slow) for way in ("griffin_lim", "codes")]
SLOW_WAYS = [pytest.param(way, marks=pytest.mark.slow) for way in ("sequence", "text_codes")]


@pytest.mark.parametrize("representation", ["phonemes", *SLOW_WAYS])
def test_recognition_by_every_way(few, compared, recognition, tmp_path, representation):
    folder = compared if representation == "phonemes" else tmp_path
    if representation != "phonemes":
        recognition.main(asked(folder, representation=representation, unpaired=2))
    found = metrics(folder)
    assert {"wer", "cer", "pairs"} <= found.keys() and found["pairs"] == 8
    for name in ("samples.tsv", "heldout.wav", "curves.png", "model/README.md"):
        assert (folder / "out" / name).stat().st_size > 100
    assert (folder / "out" / "alignment.png").exists() == (representation == "phonemes")
    if representation == "phonemes":
        pipe = pipeline("regeneration", model=str(folder / "out" / "model"))
        assert set(pipe(np.zeros(RATE, np.float32))) == {"text"}


def test_recognition_is_compared_with_the_end_to_end_baseline(compared):
    found = metrics(compared)
    assert {"direct_wer", "direct_cer"} <= found.keys()
    assert found["direct_parameters"] == pytest.approx(found["parameters"], rel=0.05)


@pytest.fixture
def wav2vec2(tmp_path):
    """A folder as that of facebook/wav2vec2-base, tiny."""
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
        conv_stride=(20, 16), conv_kernel=(20, 16), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        mask_time_prob=0.0, feat_extract_norm="group",
    )  # fmt: skip
    Wav2Vec2Model(config).save_pretrained(tmp_path / "wav2vec2")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "wav2vec2")
    return tmp_path / "wav2vec2"


@pytest.mark.slow
def test_recognition_with_an_encoder_by_name(few, recognition, tmp_path, wav2vec2):
    recognition.main(asked(tmp_path, audio_encoder=wav2vec2, unpaired=0, scale=0.5))
    saved = AutoConfig.from_pretrained(tmp_path / "out" / "model").prior_config
    assert saved.source_audio_encoder_config.conv_stride == [20, 16]
    assert metrics(tmp_path)["wer"] > 0


@pytest.fixture(scope="module")
def listener(recognition, spoken, tmp_path_factory):
    """A recogniser that has learned nothing."""
    from regen_hf import AudioModality, RegenerationProcessor, TextModality

    folder, text = tmp_path_factory.mktemp("listener"), TextModality.from_pieces(SENTENCES)
    hear = AudioModality(RATE, feature_extractor=ParakeetFeatureExtractor(feature_size=80))
    recognition.REPRESENTATIONS["identity"](text, [], width=16, layers=1).save_pretrained(folder)
    RegenerationProcessor(hear, text).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("representation", ["mel", *SLOW_SYNTHESES])
def test_synthesis_by_every_way(few, synthesis, tmp_path, listener, representation):
    synthesis.main(asked(tmp_path, representation=representation, recogniser=listener, voice_column="voice"))
    found = metrics(tmp_path)
    assert {"cer_true_audio", "cer_generated", "cer_reconstructed", "cer_disturbed", "mel_distance"} <= found.keys()
    for name in ("samples.wav", "samples.png", "curves.png", "model/README.md"):
        assert (tmp_path / "out" / name).stat().st_size > 1000
    if representation == "griffin_lim":
        pipe = pipeline("regeneration", model=str(tmp_path / "out" / "model"))
        made = pipe({"text": "read the file", "voice": "en-us"})
        assert made["sampling_rate"] == RATE and made["audio"].ndim == 1
        with pytest.raises(ValueError, match="source 0 must be text that can be pronounced"):
            pipe({"text": "???", "voice": "en-us"})


def vocoder(folder: Path) -> Path:
    config = SpeechT5HifiGanConfig(
        upsample_initial_channel=16, upsample_rates=[16, 16], upsample_kernel_sizes=[32, 32],
        resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]],
    )  # fmt: skip
    SpeechT5HifiGan(config).save_pretrained(folder)
    return folder


def codec(name: str):
    def saved(folder: Path) -> Path:
        EXTRACTORS[name].build().save_pretrained(folder)
        return folder

    return saved


@pytest.mark.parametrize(("option", "make", "representation"), [
    ("vocoder", vocoder, "mel"),
    ("codec", codec("EncodecModel"), "codes"),
    ("codec", codec("MimiModel"), "codes"),
])  # fmt: skip
def test_parts_by_name_are_taken_as_they_are(synthesis, tmp_path, option, make, representation):
    from regen_hf import PhonemeModality

    folder = make(tmp_path / "part")
    text = PhonemeModality.from_texts(SENTENCES[:2])
    model = synthesis.REPRESENTATIONS[representation](text, 2, **{option: str(folder)})
    part = model.decoder_model.vocoder if option == "vocoder" else model.extractor.codec
    given = type(part).from_pretrained(folder).state_dict()
    assert given and all(torch.equal(value, given[name]) for name, value in part.state_dict().items() if name in given)
    options = synthesis.parse_arguments([f"--{option}={folder}", f"--representation={representation}"])
    assert set(synthesis.stages(options)) == {"prior"}


@pytest.mark.slow
def test_a_codec_of_another_rate_makes_speech_at_its_own(few, synthesis, tmp_path, listener):
    encodec(sampling_rate=24000, upsampling_ratios=[5, 5, 5, 4]).save_pretrained(tmp_path / "codec")
    named = {"representation": "codes", "codec": tmp_path / "codec", "recogniser": listener}
    synthesis.main(asked(tmp_path, **named, voice_column="voice"))
    assert {"cer_true_audio", "cer_generated", "mel_distance"} <= metrics(tmp_path).keys()
    pipe = pipeline("regeneration", model=str(tmp_path / "out" / "model"))
    assert pipe({"text": "read the file", "voice": "en-us"})["sampling_rate"] == 24000


def test_a_named_part_that_would_not_be_used_is_refused(synthesis, tmp_path):
    with pytest.raises(ValueError, match="`--vocoder` is for `--representation mel`, not griffin_lim"):
        synthesis.main(asked(tmp_path, vocoder="folder", representation="griffin_lim"))
    with pytest.raises(ValueError, match="`--codec` is for `--representation codes`, not mel"):
        synthesis.main(asked(tmp_path, codec="folder"))


def test_pairs_are_tabled_and_plotted_and_what_is_finished_is_kept(few, tmp_path, monkeypatch, capsys):
    pairs = load("speech_recognition", "pairs")
    asked_for = []

    def run(argv: list[str]) -> None:
        asked_for.append(argv)
        folder = Path(argv[1].removeprefix("--output="))
        folder.mkdir(parents=True)
        rates = {"pairs": int(argv[0].removeprefix("--pairs=")), "wer": 0.2, "cer": 0.1}
        (folder / "metrics.json").write_text(json.dumps({**rates, "direct_wer": 0.4, "direct_cer": 0.15}))

    monkeypatch.setattr(pairs.run, "main", run)
    for _ in range(2):
        pairs.main([f"--output={tmp_path}", "--pairs", "3000", "100"])
    assert [argv[0] for argv in asked_for] == ["--pairs=100", "--pairs=3000"]
    assert asked_for[0][2:] == ["--scale=1.0", "--compare", "--resume"]
    assert (tmp_path / "pairs.md").read_text().splitlines()[2:] == [
        "| 100 | 0.200 | 0.400 | 0.50 | 0.100 | 0.150 |", "| 3,000 | 0.200 | 0.400 | 0.50 | 0.100 | 0.150 |",
    ]  # fmt: skip
    assert (tmp_path / "pairs.png").stat().st_size > 5000


def wave(samples, rate: int = RATE) -> dict:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return {"bytes": file.getvalue(), "path": None}


SECOND = np.zeros(RATE, np.float32)


@pytest.mark.parametrize(("audio", "text", "message"), [
    ({"bytes": b"no audio", "path": None}, "fine", "source 0 is no readable audio|target 0 is no readable audio"),
    (wave(SECOND[:0]), "fine", "has no samples"),
    (wave(np.full(RATE, np.nan, np.float32)), "fine", "NaN"),
    (wave(SECOND), "???", "pronounce"),
    (wave(np.zeros(21 * RATE, np.float32)), "fine", "21"),
])  # fmt: skip
def test_bad_input_is_named_before_anything_is_trained(few, recognition, monkeypatch, tmp_path, audio, text, message):
    features = Features({"text": Value("string"), "audio": {"bytes": Value("binary"), "path": Value("string")}})
    rows = {"text": [text, *SENTENCES[:3]], "audio": [audio, *[wave(SECOND)] * 3]}
    monkeypatch.setattr("task.named_dataset", lambda *_: Dataset.from_dict(rows, features=features))
    with pytest.raises(ValueError, match=message):
        recognition.main(asked(tmp_path, unpaired=0))
    assert not (tmp_path / "out" / "model").exists()


@pytest.fixture
def audio_folder(tmp_path, spoken):
    """Wavs and their `metadata.csv`."""
    folder = tmp_path / "spoken"
    folder.mkdir()
    lines = ["file_name,text"]
    for i, row in enumerate(spoken):
        (folder / f"{i}.wav").write_bytes(row["audio"]["bytes"])
        lines.append(f"{i}.wav,{row['text']}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_folder_of_audio_is_read_without_torchcodec(recognition, audio_folder, monkeypatch):
    monkeypatch.setattr("task.is_held_out", lambda text: text in SENTENCES[:2])
    options = recognition.parse_arguments([f"--dataset={audio_folder}", "--pairs=8"])
    pairs, further, held = recognition.load_data(options)
    assert (len(pairs), len(further), len(held)) == (8, 2, 2) and held["text"] == SENTENCES[:2]
    assert pairs["audio"][0] == str(audio_folder / "2.wav")


def test_what_is_wrong_in_a_folder_of_audio_is_named(recognition, synthesis, audio_folder, monkeypatch):
    monkeypatch.setattr("task.is_held_out", lambda text: text in SENTENCES[:2])
    table = audio_folder / "metadata.csv"
    good = table.read_text()
    for run in (recognition, synthesis):
        table.write_text(good + "0.wav,\n")
        options = run.parse_arguments([f"--dataset={audio_folder}"])
        with pytest.raises(ValueError, match="example 12, column 'text': source 0 must be text, got NoneType"):
            run.load_data(options)
        (audio_folder / "1.wav").write_bytes(b"no wave")
        table.write_text(good)
        with pytest.raises(ValueError, match="example 1, column 'audio': .*1.wav"):
            run.load_data(options)
        (audio_folder / "1.wav").write_bytes((audio_folder / "0.wav").read_bytes())
        table.write_text("\n".join(good.splitlines()[:1] + good.splitlines()[3:]))
        with pytest.raises(ValueError, match="0 held-out ones are too few: one text in ten is held out"):
            run.load_data(options)
        table.write_text(good)
    table.unlink()
    with pytest.raises(ValueError, match="must have a metadata.csv or metadata.jsonl, with the names of files"):
        recognition.load_data(options)


def test_a_recogniser_that_is_none_is_named_before_anything_is_trained(synthesis, tmp_path):
    with pytest.raises(ValueError, match="`--recogniser` must be the folder of a model, but .* has no config.json"):
        synthesis.main([f"--recogniser={tmp_path}"])


def test_a_language_that_espeak_does_not_know(few, recognition, tmp_path):
    with pytest.raises(ValueError, match="xx-klingon"):
        recognition.main(asked(tmp_path, unpaired=0, language="xx-klingon"))
