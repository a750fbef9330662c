import doctest

import pytest
import torch

from regen_hf.losses import AdversarialLoss, adversarial


def small(**settings) -> AdversarialLoss:
    return AdversarialLoss(**{"width": 8, "num_layers": 2, **settings})


def images(mean: float = 0.0, batch: int = 2) -> torch.Tensor:
    return mean + 0.3 * torch.randn(batch, 3, 16, 16)


@pytest.mark.parametrize(("verdict", "generator", "hinge"), [
    (0.0, 0.0, 0.5 * (1 + 1)),
    (0.25, -0.05, 0.5 * (0.75 + 1.25)),
    (3.0, -0.6, 0.5 * (0 + 4)),
    (-3.0, 0.6, 0.5 * (4 + 0)),
])  # fmt: skip
def test_is_the_hinge_loss(verdict, generator, hinge):
    loss = small(weight=0.2)
    torch.nn.init.zeros_(loss.discriminator[-1].weight)
    torch.nn.init.constant_(loss.discriminator[-1].bias, verdict)
    output = loss(images(), images())
    assert output.terms["adversarial"].item() == pytest.approx(generator)
    assert output.terms["discriminator"].item() == pytest.approx(hinge)
    assert output.loss.item() == pytest.approx(generator + hinge)
    assert not any(term.requires_grad for term in output.terms.values())


def test_each_side_learns_from_its_own_term_alone():
    loss, target = small(weight=0.2), images().requires_grad_()
    reconstruction = images().requires_grad_()
    judge = loss.discriminator
    hinge = 0.5 * ((1 - judge(target)).relu().mean() + (1 + judge(reconstruction)).relu().mean())
    expected = torch.autograd.grad(hinge, list(judge.parameters()))
    wanted = torch.autograd.grad(-0.2 * judge(reconstruction).mean(), reconstruction)[0]
    loss(reconstruction, target.detach()).loss.backward()
    for parameter, gradient in zip(loss.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    assert all(gradient.abs().max() > 0 for gradient in expected[:-1])  # the two halves of the last bias cancel out
    torch.testing.assert_close(reconstruction.grad, wanted)
    assert wanted.abs().max() > 0


def test_starts_after_that_many_training_forwards():
    loss, reconstruction = small(start=2), images().requires_grad_()

    def gradient():
        loss.zero_grad()
        reconstruction.grad = None
        loss(reconstruction, images()).loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in loss.parameters())
        return reconstruction.grad.abs().max().item()

    assert gradient() == 0
    loss.eval()
    assert gradient() == gradient() == 0 and loss.forwards == 1  # evaluation counts nothing
    loss.train()
    assert gradient() == 0 and gradient() > 0
    loss.eval()
    assert gradient() > 0 and loss.forwards == 3


def test_the_state_dict_keeps_weights_and_count():
    loss, other = small(start=2), small(start=2)
    batch = images(), images()
    for _ in range(3):
        loss(*batch)
    other.load_state_dict(loss.state_dict())
    assert other.forwards == 3
    assert other(*batch).terms == loss(*batch).terms
    assert other(*batch).terms["adversarial"] != 0


def test_an_image_is_judged_by_itself():
    loss, batch = small(), images(batch=3)
    alone = torch.cat([loss.discriminator(image[None]) for image in batch])
    torch.testing.assert_close(loss.discriminator(batch), alone, rtol=1e-4, atol=1e-5)


def test_settings_have_their_effect():
    assert small(channels=1)(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)).loss.isfinite()
    found = [m for m in AdversarialLoss(width=32, num_layers=5).discriminator if isinstance(m, torch.nn.Conv2d)]
    assert [m.out_channels for m in found] == [32, 64, 128, 256, 256, 256, 1]
    assert [m.stride[0] for m in found] == [2, 2, 2, 2, 2, 1, 1]
    norms = [m for m in AdversarialLoss(width=32).discriminator if isinstance(m, torch.nn.GroupNorm)]
    assert [m.num_channels // m.num_groups for m in norms] == [16, 16, 16]
    assert AdversarialLoss(width=4).discriminator(torch.zeros(1, 3, 64, 64)).shape == (1, 1, 6, 6)


@pytest.mark.parametrize("width", [1, 5, 25, 64])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_takes_the_smallest_images_that_it_says(width, num_layers):
    loss, size = small(width=width, num_layers=num_layers), 3 * 2**num_layers
    image = torch.rand(1, 3, size, size + 1)
    loss(image, image).loss.backward()
    assert all(p.grad.isfinite().all() for p in loss.parameters())
    with pytest.raises(ValueError, match=f"`num_layers` is {num_layers}, which needs images of at least {size} by"):
        loss(image[:, :, :-1], image[:, :, :-1])


def test_tells_targets_from_reconstructions_after_some_steps():
    loss = small(weight=1.0)
    optimizer = torch.optim.Adam(loss.parameters(), 2e-3)
    for _ in range(60):
        output = loss(images(-0.5, 8), images(0.5, 8))
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert output.terms["discriminator"] < 0.3
    with torch.no_grad():
        assert loss.discriminator(images(0.5, 8)).mean() > 0.5
        assert loss.discriminator(images(-0.5, 8)).mean() < -0.5


def test_one_optimizer_moves_reconstructions_to_the_targets():
    loss, shift = small(weight=1.0), torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.Adam([*loss.parameters(), shift], 2e-3, betas=(0.5, 0.9))
    for _ in range(100):
        loss(images(0.0, 8) + shift, images(0.6, 8)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert shift.item() > 0.1


def test_runs_in_bfloat16():
    assert small().to(torch.bfloat16)(images(), images()).loss.isfinite()


def test_refuses_what_it_cannot_take():
    with pytest.raises(ValueError, match=r"`reconstruction` must have the shape \(batch, 3, .*got \(2, 1, 16, 16\)"):
        small()(torch.zeros(2, 1, 16, 16), torch.zeros(2, 1, 16, 16))
    with pytest.raises(ValueError, match=r"`target` must have the shape of `reconstruction`, \(2, 3, 16, 16\), got"):
        small()(images(), images(batch=1))
    for weight in (float("nan"), float("inf"), -1.0, "1", True):
        with pytest.raises(ValueError, match="`weight` must be a finite number of at least 0, got"):
            AdversarialLoss(weight=weight)
    with pytest.raises(ValueError, match="`num_layers` must be at least 1, got 0"):
        small(num_layers=0)
    with pytest.raises(ValueError, match="`width` must be at least 1, got 0"):
        small(width=0)
    for weight in (float("nan"), float("inf"), -1.0, True):
        with pytest.raises(ValueError, match=f"`weight` must be a finite number of at least 0, got {weight}"):
            AdversarialLoss(weight=weight)
    with pytest.raises(ValueError, match="`start` must be at least 0, got -1"):
        small(start=-1)


def test_example_runs():
    result = doctest.testmod(adversarial)
    assert result.attempted and not result.failed
