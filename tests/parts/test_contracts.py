import json
import math

import pytest
import tiny
import torch
from transformers import AutoConfig, AutoModel

from regen_hf import (
    AutoencoderExtractorConfig,
    AutoregressiveGeneratorConfig,
    DiffusionGenerator,
    DiffusionGeneratorConfig,
    DownsampleExtractor,
    DownsampleExtractorConfig,
    EncoderExtractorConfig,
    ExtractorConfig,
    GeneratorConfig,
    GriffinLimGeneratorConfig,
    RegenerationConfig,
    RegenerationModel,
)
from regen_hf.parts.contracts import check_settings


def test_unknown_settings_are_refused_with_the_nearest_name():
    check_settings(DownsampleExtractorConfig, {"factor": 2})
    with pytest.raises(TypeError, match="`facto` is no setting of DownsampleExtractorConfig; did you mean `factor`?"):
        DownsampleExtractor.from_components(facto=2)
    with pytest.raises(TypeError, match=r"`xyz` is no setting of DownsampleExtractorConfig\."):
        DownsampleExtractor.from_components(xyz=2)


def test_contracts_leave_the_specs_to_the_subclass():
    for config, names in (
        (ExtractorConfig(), ("target_spec", "representation_spec")),
        (GeneratorConfig(), ("target_spec",)),
    ):
        for name in names:
            with pytest.raises(NotImplementedError):
                getattr(config, name)
    assert ExtractorConfig().can_decode is False
    assert GeneratorConfig().source_spec is None


def test_classes_stay_library_classes():
    for cls in (RegenerationConfig, RegenerationModel, DiffusionGenerator):
        cls.register_for_auto_class("AutoModel")
        assert cls._auto_class is None


def test_missing_and_mismatched_weights_are_errors(tmp_path):
    from safetensors.torch import load_file, save_file

    tiny.diffusion_prior((4, 4, 4)).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    null = weights.pop("source_encoder.null")
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"has missing weights: source_encoder\.null"):
        AutoModel.from_pretrained(tmp_path)
    save_file({**weights, "source_encoder.null": torch.cat([null, null])}, file, metadata={"format": "pt"})
    with pytest.raises((ValueError, RuntimeError), match=r"source_encoder\.null|size mismatch|mismatched"):
        AutoModel.from_pretrained(tmp_path)


def test_a_rule_has_no_weights_but_a_dtype_and_a_device():
    rule = tiny.downsample()
    assert (rule.dtype, rule.device.type, rule.is_trainable) == (torch.float32, "cpu", False)
    assert tiny.autoencoder_extractor().is_trainable


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("config", "field"),
    [
        (AutoencoderExtractorConfig, "kl_weight"),
        (DiffusionGeneratorConfig, "source_noise"),
        (GriffinLimGeneratorConfig, "mel_floor"),
        (EncoderExtractorConfig, "image_mean"),
        (AutoregressiveGeneratorConfig, "alignment_weight"),
    ],
)
def test_a_setting_that_is_not_finite_is_refused_also_from_a_file(config, field, wrong, tmp_path):
    value = [wrong, 0.5, 0.5] if field == "image_mean" else wrong
    with pytest.raises(ValueError, match=f"`{field}` must be finite"):
        config(**{field: value})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": config.model_type, field: value}))
    with pytest.raises(ValueError, match=rf"`{field}(\.0)?` (must be finite|of config.json is NaN)"):
        AutoConfig.from_pretrained(tmp_path)
