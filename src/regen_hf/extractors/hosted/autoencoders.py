"""Autoencoders of diffusers: what each class calls the same things, said in one way for all."""

from typing import Any

import torch
from torch import nn

CHANNELS = ("in_channels", "audio_channels", "num_channels", "input_channels")
SIZES = ("sample_size", "image_size")


def usual_shape(net: nn.Module) -> tuple[int | None, ...]:
    """The shape of Y that the autoencoder's config says: square images, or audio that lasts for any time."""
    channels = next((net.config[field] for field in CHANNELS if field in net.config), None)
    size = next((net.config[field] for field in SIZES if net.config.get(field)), None)
    if channels and hasattr(net, "hop_length"):
        return channels, None
    if channels and isinstance(size, int):
        return channels, size, size
    raise ValueError(f"`target_shape` is missing, and the config of {type(net).__name__} says none.")


def codebook_size(net: nn.Module) -> int:
    if hasattr(net, "quantize"):
        return net.config["num_vq_embeddings"]
    if hasattr(net, "regularization"):
        return net.regularization.codebook_size
    raise ValueError(f"`kind` is 'codes', but {type(net).__name__} does not quantise: it has latents only.")


def sample_of(decoded: Any) -> torch.Tensor:
    return decoded if isinstance(decoded, torch.Tensor) else decoded.sample
