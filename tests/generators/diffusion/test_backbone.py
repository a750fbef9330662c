import pytest
import tiny
import torch
from diffusers import FluxTransformer2DModel

from regen_hf import DiffusionGenerator, DiffusionGeneratorConfig
from regen_hf.generators.diffusion.backbone import Backbone

SHAPE = (4, 4, 4)


def test_reads_the_widths_of_conditions():
    def widths(net, shape=SHAPE):
        backbone = Backbone(net, DiffusionGeneratorConfig(target_shape=shape))
        return backbone.hidden_width, backbone.pooled_width

    assert widths(tiny.sd3(SHAPE)) == (16, 24)
    assert widths(tiny.unet(SHAPE)) == (16, None)
    assert widths(tiny.dit(SHAPE)) == (None, None)
    assert widths(tiny.prior_transformer(), (16,)) == (16, 16)
    assert widths(tiny.stable_audio(), (4, 8)) == (24, 20)
    assert widths(tiny.wan(), (4, 2, 4, 4)) == (28, None)


def test_refuses_a_backbone_that_does_not_fit():
    with pytest.raises(ValueError, match=r"in_channels 4, but target_shape \(8, 4, 4\) needs in_channels 8"):
        DiffusionGenerator.from_components(tiny.sd3(SHAPE), (8, 4, 4), tiny.bert())
    with pytest.raises(ValueError, match=r"sample_size 4, but target_shape is \(4, 8, 8\)"):
        DiffusionGenerator.from_components(tiny.sd3(SHAPE), (4, 8, 8), tiny.bert())
    with pytest.raises(ValueError, match=r"in_channels 4.*source_shape \(3, 4, 4\) stacked .* in_channels 7"):
        DiffusionGenerator.from_components(tiny.dit(SHAPE), SHAPE, source_shape=[3, 4, 4])
    with pytest.raises(ValueError, match="takes no encoder_hidden_states"):
        DiffusionGenerator.from_components(tiny.dit(SHAPE), SHAPE, tiny.bert())
    with pytest.raises(ValueError, match="num_embeds_ada_norm 5, but num_classes 7 needs 7"):
        DiffusionGenerator.from_components(tiny.dit(SHAPE), SHAPE, num_classes=7)
    flux = FluxTransformer2DModel(
        in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=16, pooled_projection_dim=16, axes_dims_rope=(2, 2, 4),
    )  # fmt: skip
    with pytest.raises(ValueError, match="FluxTransformer2DModel cannot take what"):
        DiffusionGenerator.from_components(flux, SHAPE, tiny.bert())


def test_a_backbone_hides_no_classes_by_itself():
    generator = DiffusionGenerator.from_components(tiny.dit(SHAPE), SHAPE, num_classes=5, condition_dropout=0.0).train()
    given = (torch.zeros(1, *SHAPE), torch.ones(1), None, None, torch.tensor([[2]]), torch.zeros(1, dtype=torch.bool))
    condition = generator.source_encoder(class_labels=given[4])
    outputs = [generator._denoise(given[0], given[1], condition, *given[3:]) for _ in range(50)]
    assert all(torch.equal(outputs[0], output) for output in outputs)


def test_a_source_of_any_length_needs_a_mask():
    described = {"source_shape": [None], "source_num_codes": 7}
    with pytest.raises(ValueError, match=r"SD3Transformer2DModel takes no mask .* whole numbers, got \(None,\)"):
        DiffusionGenerator.from_components(tiny.sd3(SHAPE), SHAPE, **described)
    assert DiffusionGenerator.from_components(tiny.unet(SHAPE), SHAPE, **described)


def test_a_unet_takes_other_sizes_than_that_of_its_config():
    generator = DiffusionGenerator.from_components(tiny.unet(SHAPE), (4, 8, 8), tiny.bert()).eval()
    assert generator.generate(input_ids=torch.tensor([[2]]), num_inference_steps=1).values.shape == (1, 4, 8, 8)
