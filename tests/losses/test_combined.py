import doctest
import warnings

import pytest
import tiny
import torch
from transformers import ResNetBackbone, ResNetConfig

from regen_hf import AutoencoderExtractor, LossOutput
from regen_hf.losses import AdversarialLoss, ExtractorWithLosses, PerceptualLoss, combined


def perceptual(**settings) -> PerceptualLoss:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_indices=[0, 1, 2])
    return PerceptualLoss(ResNetBackbone(config), **settings)


def adversarial(**settings) -> AdversarialLoss:
    return AdversarialLoss(**{"width": 8, "num_layers": 2, **settings})


def target(batch: int = 4) -> torch.Tensor:
    return (torch.rand(batch, 3, 2, 2) * 2 - 1).repeat_interleave(8, 2).repeat_interleave(8, 3)


class Offset(torch.nn.Module):
    """The signed difference, so that swapped arguments would show."""

    def forward(self, reconstruction, target):
        loss = (reconstruction - target).mean()
        return LossOutput(loss=loss, terms={"squared": loss.detach()})


def test_reconstruction_is_what_the_extractors_own_loss_was_measured_on():
    output = tiny.autoencoder_extractor(tiny.tiny_autoencoder())(images := target())
    assert output.reconstruction.shape == images.shape and output.reconstruction.requires_grad
    squared = (output.reconstruction - images).square().mean()
    assert output.terms["squared"].item() == pytest.approx(squared.item())


def test_adds_each_loss_to_the_extractors_own():
    extractor = tiny.autoencoder_extractor(tiny.tiny_autoencoder())
    images = target()
    own = extractor(images)
    difference = (own.reconstruction - images).mean().item()
    output = ExtractorWithLosses(extractor, [Offset(), Offset()])(images)
    assert output.loss.item() == pytest.approx(own.loss.item() + 2 * difference, rel=1e-4)
    assert list(output.terms) == ["squared", "absolute", "divergence", "squared_2", "squared_3"]
    assert output.terms["squared"] == own.terms["squared"]
    assert output.terms["squared_3"].item() == pytest.approx(difference, rel=1e-4)
    assert output.loss.item() == pytest.approx(sum(term.item() for term in output.terms.values()), rel=1e-4)
    torch.testing.assert_close(output.reconstruction, own.reconstruction)


def test_further_losses_see_the_frames_that_were_learned_from():
    clips = AutoencoderExtractor.from_components(
        tiny.tiny_autoencoder(), (3, 4, 16, 16), frame_by_frame=True, learned_frames=2
    ).train()
    videos = torch.rand(2, 3, 4, 16, 16)
    torch.manual_seed(0)
    own = clips(videos)
    difference = (own.reconstruction - own.reconstruction_target).mean().item()
    torch.manual_seed(0)
    output = ExtractorWithLosses(clips, [Offset()])(videos)
    assert output.terms["squared_2"].item() == pytest.approx(difference, rel=1e-4)


def test_shares_the_parameters_of_the_extractor():
    extractor = tiny.autoencoder_extractor()
    module = ExtractorWithLosses(extractor, [adversarial()])
    shared = {id(parameter) for parameter in module.parameters()}
    assert {id(parameter) for parameter in extractor.parameters()} < shared


def test_everything_that_is_trained_gets_a_gradient():
    module = ExtractorWithLosses(tiny.autoencoder_extractor(), [perceptual(), adversarial(start=1)]).train()
    for _ in range(2):
        module.zero_grad()
        module(target=target()).loss.backward()
        without = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
        assert without == []
    assert all(p.grad is None for p in module.losses[0].parameters())


def test_the_losses_teach_the_extractor():
    extractor, images = tiny.autoencoder_extractor(tiny.tiny_autoencoder(), kl_weight=0.0), target()

    def gradient(*losses):
        extractor.zero_grad()
        ExtractorWithLosses(extractor, losses)(images).loss.backward()
        return torch.cat([p.grad.flatten() for p in extractor.parameters()])

    alone = gradient()
    for loss in (perceptual(), adversarial()):
        assert not torch.allclose(gradient(loss), alone)
    torch.testing.assert_close(gradient(perceptual(weight=0.0), adversarial(weight=0.0)), alone)


def test_overfits_one_batch_with_every_loss():
    extractor, images = tiny.autoencoder_extractor(), target()
    module = ExtractorWithLosses(extractor, [perceptual(), adversarial(weight=0.02, start=20)]).train()
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], 3e-3)
    squared, seen = [], []
    for _ in range(50):
        output = module(target=images)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        squared.append(output.terms["squared"].item())
        seen.append(output.terms["perceptual"].item())
    assert squared[-1] < 0.4 * squared[0]
    assert seen[-1] < 0.4 * seen[0]
    assert module.losses[1].forwards == 50


def test_the_state_dict_comes_back_whole():
    def make():
        return ExtractorWithLosses(tiny.autoencoder_extractor(), [perceptual(), adversarial(start=1)])

    module, other, images = make().train(), make(), target()
    module(images)
    other.load_state_dict(module.state_dict())
    assert other.losses[1].forwards == 1
    with torch.no_grad():
        assert other.eval()(images).terms == module.eval()(images).terms


def test_activation_checkpointing_is_the_extractors():
    extractor = tiny.autoencoder_extractor(tiny.kl())
    module, images = ExtractorWithLosses(extractor, [adversarial(weight=0.0)]), target()

    def gradient():
        module.zero_grad()
        torch.manual_seed(0)
        module(images).loss.backward()
        return torch.cat([p.grad.flatten() for p in extractor.parameters()])

    expected = gradient()
    assert module.supports_gradient_checkpointing
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module.activation_checkpointing_enable()
        assert extractor.is_activation_checkpointing
        torch.testing.assert_close(gradient(), expected)
        module.activation_checkpointing_disable()
    assert not extractor.is_activation_checkpointing
    assert not ExtractorWithLosses(tiny.downsample(), []).supports_gradient_checkpointing


def test_refuses_what_it_cannot_take():
    with pytest.raises(TypeError, match="`extractor` must be a PreTrainedExtractor, got Linear"):
        ExtractorWithLosses(torch.nn.Linear(1, 1), [])
    extractor = tiny.autoencoder_extractor()
    with pytest.raises(ValueError, match="`target_mask` (is not taken|has padding)"):
        ExtractorWithLosses(extractor, [])(target(), target_mask=torch.zeros(4, 16, 16, dtype=torch.bool))
    extractor.forward = lambda **batch: LossOutput(loss=torch.zeros(()))
    with pytest.raises(ValueError, match="the forward of AutoencoderExtractor gives none"):
        ExtractorWithLosses(extractor, [])(target())


def test_example_runs():
    result = doctest.testmod(combined)
    assert result.attempted and not result.failed
