import pytest
import tiny
from pairs import broken, pairs
from runs import arguments, run

from regen_hf import ImageModality, RegenerationProcessor, extract, train_regenerator
from regen_hf.stages.data import RunData


def test_a_broken_image_is_named_before_training(tmp_path):
    with pytest.raises(ValueError, match=r"example 5, column 'image': .*broken\.png is no readable image"):
        run(tmp_path / "out", dataset=broken(tmp_path))
    assert not (tmp_path / "out" / "model").exists()


def test_a_broken_image_can_be_left_out(tmp_path, capsys):
    run(tmp_path / "out", dataset=broken(tmp_path), on_bad_example="skip")
    assert "left out 1 of 24 examples that cannot be read; the first is example 5" in capsys.readouterr().out
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()


def test_bad_arguments_are_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match="the dataset has no column 'caption'; its columns are text, image"):
        run(tmp_path, source_column="caption")
    with pytest.raises(ValueError, match="the dataset has no column 'picture'"):
        run(tmp_path, target_column="picture")
    with pytest.raises(ValueError, match="`on_bad_example` must be 'raise' or 'skip', got 'ignore'"):
        run(tmp_path, on_bad_example="ignore")
    empty = pairs().map(lambda row: {"text": ""})
    with pytest.raises(ValueError, match="example 0, column 'text': source 0 must be text with at least one word"):
        run(tmp_path, dataset=empty)
    with pytest.raises(ValueError, match="no example that can be read"):
        run(tmp_path, dataset=empty, on_bad_example="skip")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written to"):
        run(tmp_path / "file" / "out")
    assert not list(tmp_path.glob("**/*.safetensors"))


def test_pictures_of_another_size_are_refused_before_training(tmp_path):
    processor = RegenerationProcessor(tiny.text(), ImageModality(32))
    with pytest.raises(ValueError, match=r"gives targets of shape \(3, 32, 32\), but AutoencoderExtractor reads .*16"):
        train_regenerator(
            tiny.latent_model(), processor, pairs(), tmp_path, source_column="text", target_column="image",
            prior=arguments(),
        )  # fmt: skip
    assert not list(tmp_path.glob("**/*.safetensors"))


def test_representations_extracted_elsewhere_are_used_if_they_match(tmp_path):
    model, dataset = tiny.latent_model(), pairs()
    prepared = tiny.processor().target.prepare_column(dataset, "image")
    cache = extract(model.extractor, tiny.processor().target, prepared, "image", tmp_path / "cache")
    run(tmp_path / "run", model=model, dataset=dataset, extractor=None, representations=cache)
    assert not (tmp_path / "run" / "representations").exists()
    with pytest.raises(ValueError, match=r"weights"):
        run(tmp_path / "other", dataset=dataset, extractor=None, representations=cache)


def test_datasets_say_how_many_examples_they_have_and_which():
    few, stream = pairs().select(range(3)), pairs().to_iterable_dataset()
    data = RunData(few, "text", "image", unpaired=stream)
    assert data.sizes == {"pairs": 3, "unpaired": None}
    found, facts = data.contents({})
    assert list(found) == list(facts) == ["dataset", "validation", "unpaired"] and found["validation"] is None
    assert found["dataset"] not in (few._fingerprint, found["unpaired"])
    begun = {"identity": dict.fromkeys(found, "read before"), "facts": facts}
    assert data.contents(begun)[0]["dataset"] == "read before"
    begun = {"identity": {"dataset": few._fingerprint}}  # as older versions had it
    assert data.contents(begun)[0]["dataset"] == few._fingerprint
    begun["facts"] = {"dataset": "other"}
    assert data.contents(begun) == (found, facts)
    assert data.columns == ["text", "image"]


def test_x_and_y_may_be_one_column():
    data = RunData(pairs().select_columns(["image"]), "image", "image")
    processor = RegenerationProcessor(ImageModality(16), ImageModality(16))
    assert data.columns == ["image"]
    assert len(data.checked(tiny.latent_model(), processor, "raise").pairs) == 24
