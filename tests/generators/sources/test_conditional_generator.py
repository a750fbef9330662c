import pytest
import tiny
import torch

from regen_hf import CTCGenerator, DiffusionGeneratorConfig, MaskedGeneratorConfig
from regen_hf.generators.sources.conditional_generator import ConditionalGeneratorConfig


def test_what_describes_a_representation_needs_its_shape():
    with pytest.raises(ValueError, match="`source_num_codes` describes a source representation, which needs"):
        ConditionalGeneratorConfig(source_num_codes=5)


def test_a_stride_is_a_setting_of_those_that_have_it():
    assert "source_stride" not in ConditionalGeneratorConfig().to_dict()
    assert (
        MaskedGeneratorConfig(source_shape=[None], source_num_codes=3, source_stride=2).to_dict()["source_stride"] == 2
    )
    with pytest.raises(ValueError, match="`source_stride` is no setting of DiffusionGeneratorConfig"):
        DiffusionGeneratorConfig(source_shape=[2, 4, 4], source_stride=2)


def test_arguments_come_before_settings_and_those_before_defaults():
    config = DiffusionGeneratorConfig(generation={"guidance": 3.0})
    assert config.generation_settings() == {"guidance": 3.0, "num_inference_steps": 20}
    assert config.generation_settings(guidance=1.0, num_inference_steps=None)["guidance"] == 1.0
    assert "generation_defaults" not in config.to_dict()


def test_codes_have_no_statistics_but_their_source_may():
    settings = {"representation_encoder": tiny.bert(), "source_shape": [2, None]}
    generator = CTCGenerator.from_components(num_codes=5, **settings)
    generator.assign_statistics(0.5, 2.0)
    generator.fit_statistics([], [torch.tensor([[[1.0, 3.0], [10.0, 10.2]]])])
    assert generator.statistics is None
    torch.testing.assert_close(generator.source_encoder.statistics.mean, torch.tensor([2.0, 10.1]))
