"""A discriminator that learns alongside the extractor to tell its reconstructions from targets."""

import math

import torch
from torch import nn
from torch.func import functional_call

from ..parts.outputs import LossOutput
from .base import check_images, check_weight


class AdversarialLoss(nn.Module):
    """PatchGAN (Isola et al., 2017) with the hinge loss (Lim and Ye, 2017), as in VQGAN (Esser et al., 2021).

    With D the discriminator, `loss` is `weight * -D(reconstruction)`, which reaches the reconstruction alone, plus
    `(max(0, 1 - D(target)) + max(0, 1 + D(reconstruction))) / 2`, which reaches D alone. So one forward, one backward
    and one optimizer over all parameters train both. D learns from the first forward on.

    Args:
        channels: of the images.
        weight: of the reconstruction's term; D's own has none.
        width: channels of D's first layer; each further one has twice as many, at most 8 times `width`.
        num_layers: layers that halve the image, at least 1.
        start: forwards in training mode before the reconstruction's term counts, which gives D and the extractor time
            to learn. They are counted in the state dict.

    Raises:
        ValueError: if `width` or `num_layers` is below 1, or `start` below 0.

    Example:
        >>> loss = AdversarialLoss(width=8, num_layers=2, start=1)
        >>> image = torch.rand(2, 3, 16, 16) * 2 - 1
        >>> [bool(loss(-image, image).terms["adversarial"] == 0) for forward in range(2)]
        [True, False]
    """

    def __init__(self, channels: int = 3, weight: float = 0.1, width: int = 64, num_layers: int = 3, start: int = 0):
        super().__init__()
        check_weight(weight)
        for name, value, least in (("width", width, 1), ("num_layers", num_layers, 1), ("start", start, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"`{name}` must be at least {least}, got {value!r}.")
        self.channels, self.weight, self.num_layers, self.start = channels, weight, num_layers, start
        self.discriminator = _make_discriminator(channels, width, num_layers)
        self.register_buffer("forwards", torch.zeros((), dtype=torch.long))

    def forward(self, reconstruction: torch.Tensor, target: torch.Tensor) -> LossOutput:
        """
        Args:
            reconstruction, target: `(batch, channels, height, width)`, float.

        Raises:
            ValueError: if they are not that, or too small for `num_layers`.
        """
        check_images(reconstruction, target, self.channels)
        self._check_size(reconstruction)
        frozen = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        terms = {
            "adversarial": -self.weight * (self.forwards >= self.start) * self._judge(reconstruction, frozen).mean(),
            "discriminator": 0.5 * (1 - self._judge(target)).relu().mean()
            + 0.5 * (1 + self._judge(reconstruction.detach())).relu().mean(),
        }
        if self.training:
            self.forwards += 1
        return LossOutput.of(terms)

    def _judge(self, images: torch.Tensor, weights: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
        """One number a patch, in float32: above 0 for what looks like a target; with `weights` instead of D's own."""
        images = images.to(next(self.discriminator.parameters()).dtype)
        return functional_call(self.discriminator, weights or {}, (images,)).float()

    def _check_size(self, images: torch.Tensor) -> None:
        least, size = 3 * 2**self.num_layers, tuple(images.shape[2:])
        if min(size) < least:
            raise ValueError(
                f"`num_layers` is {self.num_layers}, which needs images of at least {least} by {least} pixels, got "
                f"{size[0]} by {size[1]}."
            )


def _make_discriminator(channels: int, width: int, num_layers: int) -> nn.Sequential:
    """`num_layers` convolutions that halve the image, and two that judge each patch of what is left."""
    layers = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    widths = [width * min(2**n, 8) for n in range(num_layers + 1)]
    for n in range(num_layers):
        stride = 2 if n < num_layers - 1 else 1
        layers += [
            nn.Conv2d(widths[n], widths[n + 1], 4, stride=stride, padding=1, bias=False),
            # and no batch norm, by which an image would be judged by what it is batched with
            nn.GroupNorm(math.gcd(max(1, widths[n + 1] // 16), widths[n + 1]), widths[n + 1]),
            nn.LeakyReLU(0.2),
        ]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, stride=1, padding=1))
