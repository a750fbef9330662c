import doctest
import json

import pytest
import tiny
import torch
from transformers import (
    BertModel,
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextImageProcessor,
    Dinov2Backbone,
    Dinov2Config,
    ResNetBackbone,
    ResNetConfig,
)
from transformers.modeling_outputs import BackboneOutput

from regen_hf.losses import PerceptualLoss, perceptual

CONFIG = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class PixelBackbone(ResNetBackbone):
    """Gives the pixels themselves as one stage, and ones as another, and keeps what it was given."""

    def forward(self, pixel_values, **kwargs):
        self.seen = pixel_values
        return BackboneOutput(feature_maps=(5 * pixel_values, torch.ones_like(pixel_values)))


def pixels(**settings) -> PerceptualLoss:
    backbone = PixelBackbone(ResNetConfig(**CONFIG))
    return PerceptualLoss(backbone, **{"image_mean": (0.5,) * 3, "image_std": (0.5,) * 3, **settings})


def resnet(**settings) -> ResNetBackbone:
    return ResNetBackbone(ResNetConfig(**CONFIG, out_features=["stem", "stage1", "stage2"], **settings))


def colour(*channels: float) -> torch.Tensor:
    return torch.tensor(channels).view(1, 3, 1, 1).expand(2, 3, 4, 4)


@pytest.fixture
def folder(tmp_path):
    resnet().save_pretrained(tmp_path)
    return tmp_path


def test_is_the_squared_distance_of_unit_features_averaged_over_stages():
    # the unit vectors of two axes are √2 apart; the second stage sees no difference
    output = pixels(weight=0.5)(colour(0.2, 0, 0), colour(0, 0.9, 0))
    assert output.loss.item() == pytest.approx(0.5 * (2 + 0) / 2, rel=1e-4)
    assert output.terms["perceptual"].item() == output.loss.item()
    assert not output.terms["perceptual"].requires_grad
    assert pixels()(colour(0.2, 0, 0), colour(0.9, 0, 0)).loss.item() == pytest.approx(0, abs=1e-4)
    assert pixels()(colour(-1, 0, 0), colour(1, 0, 0)).loss.item() == pytest.approx(0.1 * 4 / 2, rel=1e-4)


def test_images_are_normalised_as_the_backbone_expects():
    loss = pixels(image_mean=None, image_std=None)
    loss(colour(-1, 0, 1), colour(0, 0, 0))
    expected = [(0 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert loss.backbone.seen[0, :, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)


def test_a_name_brings_its_mean_and_deviation(folder):
    def statistics(**settings):
        loss = PerceptualLoss(str(folder), **settings)
        return [pytest.approx(loss.get_buffer(f"image_{name}").flatten().tolist()) for name in ("mean", "std")]

    processor = folder / "preprocessor_config.json"
    assert statistics() == [*IMAGENET]
    ConvNextImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]).save_pretrained(folder)
    assert statistics() == [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]
    assert statistics(image_mean=(0.7, 0.7, 0.7)) == [[0.7, 0.7, 0.7], [0.4, 0.5, 0.6]]
    processor.write_text(json.dumps({"do_normalize": False, "image_mean": [0.1, 0.2, 0.3]}))
    assert statistics() == [[0, 0, 0], [1, 1, 1]]
    processor.write_text(json.dumps({"do_normalize": True}))
    assert statistics() == [*IMAGENET]


def test_a_name_is_loaded_with_every_stage_and_its_weights(tmp_path):
    saved = resnet()
    saved.save_pretrained(tmp_path)
    target, reconstruction = torch.rand(2, 2, 3, 32, 32)
    loss = PerceptualLoss(str(tmp_path))
    assert loss.backbone.out_features == ["stem", "stage1", "stage2"]
    torch.testing.assert_close(loss(reconstruction, target).loss, PerceptualLoss(saved)(reconstruction, target).loss)


def test_a_name_is_loaded_in_full_precision(tmp_path):
    resnet().half().save_pretrained(tmp_path)
    assert PerceptualLoss(str(tmp_path)).backbone.dtype == torch.float32


def test_a_classifier_serves_as_a_backbone(tmp_path):
    config = ConvNextConfig(hidden_sizes=[8, 8], depths=[1, 1], num_stages=2)
    ConvNextForImageClassification(config).save_pretrained(tmp_path)
    loss = PerceptualLoss(str(tmp_path))
    assert loss.backbone.out_features == ["stem", "stage1", "stage2"]
    assert loss(torch.zeros(1, 3, 16, 16), torch.rand(1, 3, 16, 16)).loss > 0


def test_identical_images_are_no_distance_apart_and_shifted_ones_are():
    loss, target = PerceptualLoss(resnet()), torch.rand(2, 3, 32, 32) * 2 - 1
    assert loss(target, target).loss.item() == 0
    near, far = (loss(target + shift * torch.rand_like(target), target).loss for shift in (0.1, 1.0))
    assert 0 < near < far
    torch.testing.assert_close(loss(target[:1], target[1:]).loss, loss(target, target.flip(0)).loss)


def test_gradient_reaches_the_reconstruction_alone():
    loss = PerceptualLoss(resnet())
    target = torch.rand(2, 3, 32, 32).requires_grad_()
    reconstruction = torch.rand(2, 3, 32, 32).requires_grad_()
    loss(reconstruction, target).loss.backward()
    assert reconstruction.grad.abs().max() > 0
    assert target.grad is None
    assert all(not p.requires_grad and p.grad is None for p in loss.parameters())


def test_features_of_zero_give_a_finite_gradient():
    reconstruction = torch.zeros(2, 3, 4, 4).requires_grad_()
    pixels()(reconstruction, colour(0.0, 1.0, 0.0)).loss.backward()
    assert torch.isfinite(reconstruction.grad).all()


def test_the_backbone_stays_as_in_use_while_the_rest_trains():
    parent = torch.nn.Sequential(PerceptualLoss(resnet())).train()
    before = {name: tensor.clone() for name, tensor in parent.state_dict().items()}
    parent[0](torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32))
    assert parent[0].training and not any(module.training for module in parent[0].backbone.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in parent.state_dict().items())


def test_runs_in_bfloat16():
    loss = PerceptualLoss(resnet()).to(torch.bfloat16)
    assert torch.isfinite(loss(torch.zeros(1, 3, 32, 32), torch.rand(1, 3, 32, 32).bfloat16()).loss)


def test_refuses_what_it_cannot_take(tmp_path):
    loss = PerceptualLoss(resnet())
    with pytest.raises(ValueError, match=r"`reconstruction` must have the shape \(batch, 3, .*got \(2, 1, 8, 8\)"):
        loss(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8))
    with pytest.raises(ValueError, match=r"`target` must have the shape of `reconstruction`, .*got \(1, 3, 8, 9\)"):
        loss(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9))
    dinov2 = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    with pytest.raises(ValueError, match="Dinov2Backbone cannot take images of 8 by 9 pixels"):
        PerceptualLoss(Dinov2Backbone(Dinov2Config(**dinov2)))(torch.zeros(1, 3, 8, 9), torch.zeros(1, 3, 8, 9))
    flat = PerceptualLoss(Dinov2Backbone(Dinov2Config(**dinov2, reshape_hidden_states=False)))
    with pytest.raises(ValueError, match="`backbone` must give maps .*, which Dinov2Backbone does not"):
        flat(torch.zeros(1, 3, 28, 28), torch.zeros(1, 3, 28, 28))
    with pytest.raises(TypeError, match="`backbone` must be a name or a transformers backbone.* got Linear"):
        PerceptualLoss(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"`image_std` must be 3 numbers, got \(0.5,\)"):
        PerceptualLoss(resnet(), image_std=(0.5,))
    BertModel(tiny.bert()).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="transformers has no backbone for BertConfig"):
        PerceptualLoss(str(tmp_path))


def test_refuses_a_checkpoint_without_its_weights(folder):
    BertModel(tiny.bert()).save_pretrained(folder)
    resnet().config.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"lacks \d+ weights, such as embedder.embedder.convolution.weight"):
        PerceptualLoss(str(folder))


def test_reads_no_pickle(folder):
    (folder / "model.safetensors").unlink()
    torch.save(resnet().state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        PerceptualLoss(str(folder))


def test_runs_no_code_of_a_repository(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}))
    (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match="trust_remote_code"):
        PerceptualLoss(str(folder))
    assert not (folder / "ran").exists()


def test_example_runs():
    result = doctest.testmod(perceptual)
    assert result.attempted and not result.failed
