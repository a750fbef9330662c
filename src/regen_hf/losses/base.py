"""What every loss on images asks of them."""

import torch


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
