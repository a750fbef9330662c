import json

import pytest
import tiny
import torch
from PIL import Image
from transformers import AutoProcessor

from regen_hf import ImageModality, LabelModality, RegenerationProcessor


def test_makes_a_batch_of_both_sides():
    batch = tiny.processor()(source=["red heart"], target=[Image.new("RGB", (8, 8), "red")])
    assert set(batch) == {"input_ids", "attention_mask", "target"}
    assert batch["target"].shape == (1, 3, 16, 16)


@pytest.mark.parametrize("source", [tiny.text, lambda: LabelModality(["cat", "dog"])])
def test_reloads_alike(source, tmp_path):
    processor = RegenerationProcessor(source(), ImageModality(16))
    processor.save_pretrained(tmp_path)
    tiny.latent_model().config.save_pretrained(tmp_path)
    for reloaded in (RegenerationProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert isinstance(reloaded, RegenerationProcessor)
        assert reloaded.to_dict() == processor.to_dict()
        example = ["red cat"] if processor.source.key == "text" else ["dog"]
        for name, value in processor(source=example).items():
            assert torch.equal(value, reloaded(source=example)[name])


def test_loads_no_class_that_is_not_a_modality(tmp_path):
    processor = tiny.processor()
    processor.save_pretrained(tmp_path)
    path = tmp_path / "processor_config.json"
    for name in ("Modality", "__loader__", "os", None, ["TextModality"], {}):
        described = json.loads(path.read_text())
        described["target"]["modality"] = name
        path.write_text(json.dumps(described))
        with pytest.raises(ValueError, match=r"processor_config\.json of .* must name a modality, one of Audio"):
            RegenerationProcessor.from_pretrained(tmp_path)


def test_refuses_what_is_no_modality():
    with pytest.raises(TypeError, match="`source` must be a Modality of regen_hf, got str"):
        RegenerationProcessor("text", ImageModality(16))


TEXT = {"modality": "LabelModality", "names": ["a"]}


@pytest.mark.parametrize("source, message", [
    ([], "must name a modality"),
    (["LabelModality"], "must describe a modality by a mapping, got \\['LabelModality'\\]"),
    ({"modality": ["LabelModality"]}, "must name a modality, one of .*got \\['LabelModality'\\]"),
    ({"modality": "Modality"}, "must name a modality"),
    ({"modality": "LabelModality"}, "describes no LabelModality: missing a required argument: 'names'"),
    ({**TEXT, "shell": 1}, "describes no LabelModality: got an unexpected keyword argument 'shell'"),
    ({"modality": "ImageModality", "size": 10**6}, "`size` must be at most 16,384"),
    ({"modality": "ImageModality", "size": "8"}, "`size` must be a whole number"),
    ({"modality": "VideoModality", "size": 8, "num_frames": float("nan")}, "num_frames` of .* is NaN"),
    ({"modality": "CombinedModality", "parts": {"../../x": TEXT}}, "the name of a part must be one as Python has them"),
    ({"modality": "CombinedModality", "parts": [TEXT]}, "must have `parts` by name"),
    ({"modality": "CombinedModality", "parts": {"a": TEXT}, "b": 1}, "must have `parts` by name"),
    ({"modality": "CombinedModality"}, "must have `parts` by name"),
])  # fmt: skip
def test_a_configuration_of_somebody_else_is_checked(tmp_path, source, message):
    described = {"processor_class": "RegenerationProcessor", "source": source, "target": {"modality": "ImageModality"}}
    (tmp_path / "processor_config.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match=message):
        RegenerationProcessor.from_pretrained(tmp_path)


@pytest.mark.parametrize("begin, end", [("[", "]"), ('{"modality": "CombinedModality", "parts": {"a": ', "}}")])
def test_a_configuration_that_is_too_deep_is_named(tmp_path, begin, end):
    text = f'{{"source": {begin * 50_000}1{end * 50_000}}}'
    (tmp_path / "processor_config.json").write_text(text)
    with pytest.raises(ValueError, match="processor_config.json of .* is nested too deeply"):
        RegenerationProcessor.from_pretrained(tmp_path)
