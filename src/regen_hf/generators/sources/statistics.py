"""What a generator knows of the values that it makes or reads."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import initialization as init

from ...parts.outputs import Representation


class ChannelStatistics(nn.Module):
    """Mean and standard deviation of each channel, fitted once on training data and stored in the checkpoint.

    Diffusion assumes values of unit variance; this is the one place where it is given and taken back.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def init_weights(self) -> None:
        """The identity, until `fit` is called."""
        init.zeros_(self.mean)
        init.ones_(self.std)

    @torch.no_grad()
    def fit(self, batches) -> None:
        """Measures batches of `(batch, channels, ...)`, one at a time; of a [`Representation`] what is no padding.

        Raises:
            ValueError: if there are none, or if they hold NaN or infinite values.
        """
        count, total, squares = 0, 0.0, 0.0
        for batch in batches:
            values, mask = (batch.values, batch.mask) if isinstance(batch, Representation) else (batch, None)
            flat = values.double().transpose(0, 1).flatten(1)
            flat = flat if mask is None else flat[:, mask.flatten()]
            count, total, squares = count + flat.shape[1], total + flat.sum(1), squares + flat.square().sum(1)
        if not count or not torch.isfinite(squares).all():
            raise ValueError(f"statistics need finite values, got {count} values, some of them NaN or infinite.")
        mean = total / count
        self.mean.copy_(mean)
        self.std.copy_((squares / count - mean.square()).clamp(min=1e-10).sqrt())

    def check_loaded(self, name: Any) -> None:
        """Raises `ValueError` for what `fit` does not find, where a checkpoint called `name` may be anybody's."""
        std = self.std.float()
        if not std.is_meta and (least := float(std.min())) < torch.finfo(torch.float32).tiny:
            raise ValueError(f"`{name}` must have a `std` above 0 in its statistics, got {least}.")

    @property
    def known(self) -> bool:
        """Whether they were measured or assigned: no longer the identity that they begin as."""
        return bool(self.mean.any() or (self.std != 1).any())

    @torch.no_grad()
    def assign(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Takes what is known, unless something was measured already; one number stands for every channel."""
        if not self.known:
            self.mean.copy_(torch.as_tensor(mean))
            self.std.copy_(torch.as_tensor(std))

    def normalize(self, values: torch.Tensor) -> torch.Tensor:
        """To zero mean and unit variance, in float32."""
        mean, std = self._shaped(values)
        return (values.float() - mean) / std

    def denormalize(self, values: torch.Tensor) -> torch.Tensor:
        """The reverse of `normalize`."""
        mean, std = self._shaped(values)
        return values.float() * std + mean

    def _shaped(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (1, -1) + (1,) * (values.ndim - 2)
        return self.mean.float().view(shape), self.std.float().view(shape)
