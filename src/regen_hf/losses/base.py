"""What every loss on images asks of them."""

import math

import torch


def check_weight(weight: float) -> None:
    """Raises `ValueError` unless it is a finite number of at least 0."""
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 <= weight < math.inf:
        raise ValueError(f"`weight` must be a finite number of at least 0, got {weight!r}.")


def check_images(reconstruction: torch.Tensor, target: torch.Tensor, channels: int) -> None:
    """Raises `ValueError` unless both are `(batch, channels, height, width)` of one shape."""
    if reconstruction.ndim != 4 or reconstruction.shape[1] != channels:
        raise ValueError(
            f"`reconstruction` must have the shape (batch, {channels}, height, width), "
            f"got {tuple(reconstruction.shape)}."
        )
    if target.shape != reconstruction.shape:
        raise ValueError(
            f"`target` must have the shape of `reconstruction`, {tuple(reconstruction.shape)}, "
            f"got {tuple(target.shape)}."
        )
