import pytest
import tiny
import torch

from regen_hf.stages.joint import JointModel

TEXT = {"input_ids": torch.tensor([[3, 4], [5, 0]]), "attention_mask": torch.tensor([[1, 1], [1, 0]])}
IMAGES = torch.rand(2, *tiny.IMAGE) * 2 - 1


@pytest.mark.parametrize(("make", "learning"), [
    (tiny.latent_model, {"extractor", "prior"}), (tiny.lowres_model, {"prior", "decoder_model"}),
])  # fmt: skip
def test_every_part_learns_its_own_loss(make, learning):
    model = make()
    output = JointModel(model)(target=IMAGES, **TEXT)
    output.loss.backward()
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None} == learning
    assert {name.split("_")[0] for name in output.terms} == {name.split("_")[0] for name in learning}
    torch.testing.assert_close(output.loss.detach(), sum(output.terms.values()))


def test_the_prior_does_not_pull_at_the_extractor():
    """Y′ that is easy to predict and says nothing would be the best for it."""
    model = tiny.latent_model()
    model.extractor.requires_grad_(False)
    output = JointModel(model)(target=IMAGES, **TEXT)
    output.loss.backward()
    assert all(p.grad is None for p in model.extractor.parameters())
    assert {name.split("_")[0] for name in output.terms} == {"prior"}


def test_activation_checkpointing_is_the_models():
    joint = JointModel(tiny.latent_model())
    joint.activation_checkpointing_enable()
    assert joint.model.is_activation_checkpointing
    joint.activation_checkpointing_disable()
    assert not joint.model.is_activation_checkpointing
