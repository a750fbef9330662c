"""Y′ = Y: the end-to-end baseline X→Y as a special case of regeneration."""

import torch

from ...parts.contracts import ExtractorConfig, RuleExtractor
from ...parts.outputs import Representation, RepresentationSpec


class IdentityExtractorConfig(ExtractorConfig):
    """
    Args:
        target_shape: the shape of Y, for example `[3, 32, 32]`.
        num_codes: the number of different codes, where Y is discrete.
        num_codebooks: how many codes stand at each place of Y, the first of its shape.
    """

    model_type = "regen_identity"

    target_shape: list[int] | tuple[int, ...] = (3, 32, 32)
    num_codes: int | None = None
    num_codebooks: int = 1

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec(tuple(self.target_shape), self.num_codes, self.num_codebooks)

    @property
    def representation_spec(self) -> RepresentationSpec:
        return self.target_spec

    @property
    def can_decode(self) -> bool:
        return True


class IdentityExtractor(RuleExtractor):
    """Leaves Y as it is, so that the prior learns X→Y end to end, as the baseline of every comparison.

    Example:
        >>> direct = IdentityExtractor(IdentityExtractorConfig(target_shape=[3, 8, 8]))
        >>> direct.encode(torch.ones(1, 3, 8, 8)).values.sum().item()
        192.0
    """

    config_class = IdentityExtractorConfig

    def encode(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> Representation:
        return Representation(values=target, mask=target_mask)

    def decode(self, representation: Representation) -> Representation:
        return representation
