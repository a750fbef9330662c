"""Y′ by rule: a smaller Y."""

import torch

from ...parts.contracts import ExtractorConfig, RuleExtractor
from ...parts.outputs import Representation, RepresentationSpec


class DownsampleExtractorConfig(ExtractorConfig):
    """
    Args:
        target_shape: the shape of Y, channels first, for example `[3, 32, 32]`.
        factor: how many values along each dimension become one.
    """

    model_type = "regen_downsample"

    target_shape: list[int] | tuple[int, ...] = (3, 32, 32)
    factor: int = 4

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if not 2 <= len(self.target_shape) <= 4:
            raise ValueError(f"`target_shape` must have 2 to 4 dimensions, got {tuple(self.target_shape)}.")
        if self.factor < 1 or any(size % self.factor for size in self.target_shape[1:]):
            raise ValueError(f"`factor` must divide every size of {tuple(self.target_shape[1:])}, got {self.factor}.")

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec(tuple(self.target_shape))

    @property
    def representation_spec(self) -> RepresentationSpec:
        channels, *grid = self.target_shape
        return RepresentationSpec((channels, *(size // self.factor for size in grid)))


class DownsampleExtractor(RuleExtractor):
    """Averages blocks of `factor` values along each dimension: a low-resolution image, clip or spectrogram.

    Example:
        >>> rule = DownsampleExtractor(DownsampleExtractorConfig(target_shape=[1, 4, 4], factor=2))
        >>> rule.encode(torch.arange(16.0).view(1, 1, 4, 4)).values.flatten().tolist()
        [2.5, 4.5, 10.5, 12.5]
    """

    config_class = DownsampleExtractorConfig

    def encode(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> Representation:
        if target_mask is not None:
            raise ValueError("`target_mask` is not taken: DownsampleExtractor reads targets of one size.")
        size = self.config.representation_spec.shape[1:]
        return Representation(values=torch.nn.functional.interpolate(target, size=size, mode="area"))
