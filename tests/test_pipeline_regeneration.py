import numpy as np
import pytest
import tiny
import torch
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image
from transformers import BertConfig, ParakeetEncoderConfig, ParakeetFeatureExtractor, Wav2Vec2Config, pipeline

from regen_hf import (
    AudioModality,
    AutoregressiveGenerator,
    IdentityExtractor,
    RegenerationModel,
    RegenerationPipeline,
    RegenerationProcessor,
    RegressionGenerator,
)
from regen_hf.pipeline_regeneration import _real

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tiny.latent_model().save_pretrained(path)
    tiny.processor().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def pipe(folder):
    return pipeline("regeneration", model=str(folder))


QUICK = {"num_inference_steps": 2}
TEXTS = ["red heart", "blue dog", "green cat"]


def seeded():
    return torch.Generator().manual_seed(0)


def pixels(results):
    return np.stack([np.asarray(row["image"]).astype(int) for row in results])


def test_gives_a_picture_for_one_text(pipe):
    assert isinstance(pipe, RegenerationPipeline)
    result = pipe("red heart", **QUICK)
    assert set(result) == {"image"}
    assert isinstance(result["image"], Image.Image)
    assert result["image"].size == (16, 16)


def test_takes_lists_tuples_columns_and_generators(pipe):
    expected = pixels(pipe(TEXTS, generator=seeded(), **QUICK))
    column = Dataset.from_dict({"text": TEXTS})["text"]
    for inputs in (tuple(TEXTS), column, (text for text in TEXTS)):
        assert np.array_equal(pixels(pipe(inputs, generator=seeded(), **QUICK)), expected)
    assert pipe([]) == []


def test_batches_give_the_same_pictures_as_single_ones(pipe):
    single = pixels(pipe(TEXTS, generator=seeded(), **QUICK))
    batched = pixels(pipe(TEXTS, generator=seeded(), batch_size=2, **QUICK))
    assert abs(single - batched).max() <= 1


def test_generator_decides_the_picture(pipe):
    one, two = (pixels([pipe("red heart", generator=seeded(), **QUICK)]) for _ in range(2))
    other = pixels([pipe("red heart", generator=torch.Generator().manual_seed(1), **QUICK)])
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_repeats_and_shows_the_representation(pipe):
    results = pipe(TEXTS, num_return_sequences=3, return_representation=True, batch_size=2, generator=seeded(), **QUICK)
    assert [len(rows) for rows in results] == [3, 3, 3]
    flat = [row for rows in results for row in rows]
    assert all(row["representation"].shape == (4, 4, 4) for row in flat)
    assert len({row["image"].tobytes() for row in flat}) == 9
    assert isinstance(pipe("red heart", num_return_sequences=1, **QUICK), list)
    assert set(pipe("red heart", return_representation=True, **QUICK)) == {"image", "representation"}


def test_arguments_have_their_effect(pipe):
    plain = pixels([pipe("red heart", generator=seeded(), num_inference_steps=3)])
    for changed in ({"guidance": 9.0, "num_inference_steps": 3}, {"num_inference_steps": 9}):
        assert not np.array_equal(plain, pixels([pipe("red heart", generator=seeded(), **changed)]))


def test_arguments_given_at_creation_are_defaults(folder):
    created = pipeline("regeneration", model=str(folder), num_inference_steps=3)
    called = pipeline("regeneration", model=str(folder))
    expected = pixels([called("red heart", generator=seeded(), num_inference_steps=3)])
    assert np.array_equal(pixels([created("red heart", generator=seeded())]), expected)


def test_runs_in_bfloat16(folder):
    half = pipeline("regeneration", model=str(folder), dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16
    assert half("red heart", **QUICK)["image"].size == (16, 16)


def test_saves_what_it_can_load(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    again = pipeline("regeneration", model=str(tmp_path))
    assert abs(pixels([again("red heart", generator=seeded(), **QUICK)])
               - pixels([pipe("red heart", generator=seeded(), **QUICK)])).max() <= 1  # fmt: skip
    assert [path.name for path in tmp_path.glob("*.py")] == ["regeneration_remote_code.py"]


def test_saving_takes_what_the_model_takes(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "a", variant="fp16", max_shard_size="1GB", is_main_process=True)
    assert (tmp_path / "a" / "model.fp16.safetensors").exists() and (tmp_path / "a" / "tokenizer.json").exists()
    ones = {name: torch.ones_like(value) for name, value in pipe.model.state_dict().items()}
    pipe.save_pretrained(tmp_path / "b", state_dict=ones)
    assert all((value == 1).all() for value in RegenerationModel.from_pretrained(tmp_path / "b").state_dict().values())
    pipe.save_pretrained(tmp_path / "c", is_main_process=False)
    assert not list((tmp_path / "c").glob("*.json"))
    for wrong, message in (("varian", "is no argument"), ("private", "has no effect without `push_to_hub=True`")):
        with pytest.raises(TypeError, match=f"`{wrong}` {message}"):
            pipe.save_pretrained(tmp_path / "d", **{wrong: True})
    with pytest.raises(TypeError, match="`variant` has no effect on what `push_to_hub` uploads"):
        pipe.save_pretrained(tmp_path / "d", push_to_hub=True, variant="fp16")
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("make", [tiny.code_model, tiny.lowres_model, tiny.direct_model])
def test_every_kind_of_representation_goes_through(make):
    pipe = RegenerationPipeline(model=make().eval(), processor=tiny.processor(), task="regeneration")
    assert [row["image"].size for row in pipe(TEXTS, batch_size=3)] == [(16, 16)] * 3


def test_refuses_bad_input_by_name(pipe):
    with pytest.raises(ValueError, match="source 0 must be text with at least one word, got ''"):
        pipe("")
    with pytest.raises(ValueError, match=r"must be text with at least one word, got '  \\n'"):
        pipe(["red heart", "  \n"])
    with pytest.raises(TypeError, match="source 0 must be text, got int: 3"):
        pipe(3)
    with pytest.raises(TypeError, match="guidence"):
        pipe("red heart", guidence=2.0)


def test_refuses_a_folder_without_its_parts(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no file named model\.safetensors"):
        pipeline("regeneration", model=str(tmp_path / "copy"))
    shutil.copytree(folder, tmp_path / "other")
    (tmp_path / "other" / "processor_config.json").unlink()
    with pytest.raises((OSError, ValueError, TypeError), match="(?i)processor"):
        pipeline("regeneration", model=str(tmp_path / "other"))
    with pytest.raises(OSError, match="no_such_folder"):
        pipeline("regeneration", model=str(tmp_path / "no_such_folder"))


def test_a_representation_comes_without_its_padding():
    values, mask = torch.arange(12).view(1, 2, 2, 3), torch.tensor([[[True, True, False], [True, True, True]]])
    assert _real(values, mask, 0).tolist() == [[0, 1], [3, 4]]
    assert _real(values, mask, 1).shape == _real(values, None, 0).shape == (2, 3)


PARAKEET = ParakeetEncoderConfig(
    hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, subsampling_factor=4,
    subsampling_conv_channels=8, num_mel_bins=16,
)  # fmt: skip
LAYER_NORM = Wav2Vec2Config(**{**tiny.wav2vec2().to_dict(), "feat_extract_norm": "layer"})
WAVES = [
    np.random.default_rng(i).normal(size=size).astype(np.float32) for i, size in enumerate((3200, 1700, 2500, 900))
]


def pipe_of(source, prior, target, **identity) -> RegenerationPipeline:
    model = RegenerationModel.from_components(IdentityExtractor.from_components(**identity), prior).eval()
    processor = RegenerationProcessor(source, target)
    return RegenerationPipeline(model=model, processor=processor, task="regeneration")


def echo(encoder, **settings) -> RegenerationPipeline:
    """Audio to audio of 8 samples."""
    torch.manual_seed(0)
    backbone = BertConfig(**{**tiny.bert().to_dict(), "max_position_embeddings": 512})
    prior = RegressionGenerator.from_components(backbone, (1, 8), encoder)
    return pipe_of(AudioModality(16000, **settings), prior, AudioModality(16000), target_shape=[1, 8])


def listener(**settings) -> RegenerationPipeline:
    """Audio to words."""
    torch.manual_seed(0)
    prior = AutoregressiveGenerator.from_components(tiny.gpt2(), (None,), 9, tiny.wav2vec2(), max_places=8)
    return pipe_of(AudioModality(16000, **settings), prior, tiny.text(), target_shape=[None], num_codes=9)


def features() -> ParakeetFeatureExtractor:
    return ParakeetFeatureExtractor(feature_size=16)


def assert_equal_audio(found: list[dict], expected: list[dict]) -> None:
    for row, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(row["audio"], other["audio"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "encoder, settings",
    [(tiny.wav2vec2(), {}), (LAYER_NORM, {"normalize": True}), (PARAKEET, {"feature_extractor": features()})],
    ids=["group norm", "layer norm", "features"],
)
def test_audio_of_different_lengths_in_one_batch(encoder, settings):
    pipe = echo(encoder, **settings)
    single = [pipe(wave) for wave in WAVES]
    with pytest.raises(AssertionError):
        assert_equal_audio(single[:-1], single[1:])
    assert_equal_audio(pipe(WAVES, batch_size=4), single)
    assert_equal_audio(pipe((wave for wave in WAVES), batch_size=3), single)


@pytest.mark.filterwarnings("error")
def test_long_audio_is_generated_in_pieces_and_joined():
    pipe = echo(tiny.wav2vec2(), max_seconds=0.1)
    pieces = [pipe.processor.source.pieces(wave) for wave in WAVES]
    assert [len(each) for each in pieces] == [3, 2, 2, 1]
    expected = [{"audio": np.concatenate([pipe(piece)["audio"] for piece in each])} for each in pieces]
    for batch_size in (1, 3, 16):
        assert_equal_audio(pipe(WAVES, batch_size=batch_size), expected)
    assert_equal_audio(pipe((wave for wave in WAVES), batch_size=3), expected)
    assert_equal_audio([pipe(WAVES[0], batch_size=2)], expected[:1])


def test_each_repetition_and_each_representation_has_all_pieces():
    pipe = listener(max_seconds=0.1)
    rows = pipe(WAVES, num_return_sequences=2, return_representation=True, batch_size=3, generator=seeded())
    assert [len(row) for row in rows] == [2, 2, 2, 2]
    for copy in rows[0]:
        assert len(copy["representation"]) == 3
        words = [pipe.processor.target.from_target(piece[None])[0]["text"] for piece in copy["representation"]]
        assert copy["text"] == " ".join(filter(None, words))
    assert rows[0][0]["text"] != rows[0][1]["text"]
    assert torch.is_tensor(rows[3][0]["representation"])


def test_a_folder_is_enough_to_hear(tmp_path):
    made = echo(PARAKEET, feature_extractor=features(), max_seconds=0.15)
    made.save_pretrained(tmp_path)
    again = pipeline("regeneration", model=str(tmp_path))
    path = AudioModality(16000).save_samples([{"audio": WAVES[0] / 8}], [""], tmp_path / "heard")
    read = AudioModality(16000).as_target([path])["target"][0]
    expected = made(read)
    assert expected["audio"].shape == (8 * len(made.processor.source.pieces(read)),) != (8,)
    for heard in (path, str(path), path.read_bytes(), {"audio": {"path": str(path), "bytes": None}, "text": "red"}):
        assert_equal_audio([again(heard)], [expected])


def test_chance_does_not_depend_on_batches_and_a_seed_is_enough(tmp_path):
    pipe = pipeline("regeneration", model=tiny.lowres_model().eval(), processor=tiny.processor())
    one_by_one = pixels(pipe(TEXTS, batch_size=1, generator=seeded(), **QUICK))
    assert abs(pixels(pipe(TEXTS, batch_size=3, generator=seeded(), **QUICK)) - one_by_one).max() <= 1
    assert abs(pixels(pipe(TEXTS, batch_size=2, generator=0, **QUICK)) - one_by_one).max() <= 1
    assert not np.array_equal(one_by_one[0], one_by_one[1])
    own = [torch.Generator().manual_seed(seed) for seed in (4, 5, 4)]
    listed = pixels(pipe(["red heart"] * 3, batch_size=2, generator=own, **QUICK))
    assert abs(listed[0] - listed[2]).max() <= 1 and not np.array_equal(listed[0], listed[1])
    with pytest.raises(ValueError, match="`generator` must have one for each of 1 rows, got 0"):
        pipe(TEXTS, batch_size=2, generator=[seeded()] * 2, **QUICK)
    with pytest.raises(TypeError, match="`guidance_scale` is not taken .*: `guidance` is"):
        pipe(TEXTS, guidance_scale=2.0)


def test_files_in_a_column_are_opened_by_the_modality(pipe):
    rows = Dataset.from_dict({"y": [{"bytes": b"%!PS-Adobe-3.0 EPSF-3.0\n", "path": None}]})
    with pytest.raises(TypeError, match="source 0 must be text, got dict"):
        pipe(rows.cast_column("y", ImageFeature())["y"], **QUICK)
