"""Autoencoders of diffusers: what each class calls the same things, said in one way for all."""

from typing import Any

import torch
from torch import nn

CHANNELS = ("in_channels", "audio_channels", "num_channels", "input_channels")
SIZES = ("sample_size", "image_size")


def channels_field(net: nn.Module) -> str | None:
    """What the autoencoder's config calls the channels of Y."""
    return next((field for field in CHANNELS if field in net.config), None)


def usual_shape(net: nn.Module) -> tuple[int | None, ...]:
    """The shape of Y that the autoencoder's config says: square images, or audio that lasts for any time."""
    channels = net.config.get(channels_field(net))
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


def latent_statistics(described: dict[str, Any], channels: int) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation of each channel of the latents of an autoencoder with this config.

    As diffusers' pipelines do it: `(latents - mean) / std * scaling_factor`, or with one `shift_factor`.
    """
    mean, std = described.get("latents_mean"), described.get("latents_std")
    scale, shift = described.get("scaling_factor") or 1.0, described.get("shift_factor") or 0.0
    if mean is None and (scale, shift) == (1.0, 0.0):
        return None
    mean = [shift] * channels if mean is None else list(mean)
    std = [1.0] * channels if std is None else list(std)
    if len(mean) != channels or any(isinstance(value, list | tuple) for value in mean):
        return None  # statistics of each place, which such an autoencoder applies itself
    return mean, [value / scale for value in std]


def encode(
    net: nn.Module, target: torch.Tensor, sampled: bool = False
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """The latents; their codes, where the net gives these; and where not, the latents' divergence from a unit Gaussian,
    averaged over all numbers.

    Args:
        sampled: whether latents are drawn from their distribution, of which the mean is taken otherwise.
    """
    if net.config.get("is_causal"):  # `decode` drops as many frames, and `forward` repeats the first one
        first = target[:, :, :1].expand(-1, -1, net.temporal_compression_ratio - 1, *[-1] * (target.ndim - 3))
        target = torch.cat([first, target], dim=2)
    encoded = net.encode(target)
    if isinstance(encoded, tuple) and not hasattr(encoded, "keys"):
        return *encoded, None
    if hasattr(encoded, "latent_dist"):
        posterior = encoded.latent_dist
        latents = posterior.sample() if sampled else posterior.mode()
        if hasattr(posterior, "logvar"):
            return latents, None, 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
    else:
        latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent
    return latents, None, 0.5 * latents.float().square().mean()


def quantize(net: nn.Module, latents: torch.Tensor) -> torch.Tensor:
    """The codes of latents, where `encode` gives none."""
    return net.quantize(latents)[2][2].reshape(len(latents), *latents.shape[2:])


def decode_codes(net: nn.Module, codes: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if hasattr(net, "quantize"):
        latents = net.quantize.embedding.weight[codes].movedim(-1, 1)
        return sample_of(net.decode(latents, force_not_quantize=True))
    return sample_of(net.decode(net.indices_to_latent(codes).to(dtype)))


def sample_of(decoded: Any) -> torch.Tensor:
    """What a net's `decode` gives, as a tensor."""
    return decoded if isinstance(decoded, torch.Tensor) else decoded.sample
