"""What passes between the parts: representations, losses, and the description of what fits where."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers.utils import ModelOutput


@dataclass
class Representation(ModelOutput):
    """A batch of targets Y, or of their abstractions Y′.

    Args:
        values: `(batch, *shape)`; float for continuous values (channels first, as in `(batch, channels, height,
            width)`), `torch.long` for discrete codes.
        mask: `(batch, *shape without channels)`, bool, true where `values` are real and false where they are padding.
            `None` means that nothing is padding.
    """

    values: torch.Tensor | None = None
    mask: torch.Tensor | None = None


def concatenate(parts: Sequence[Representation]) -> Representation:
    """Batches one after the other as one; where they have masks, padded at the end to the size of the largest."""
    if all(part.mask is None for part in parts):
        return Representation(torch.cat([part.values for part in parts]))

    def padded(tensors: list[torch.Tensor]) -> torch.Tensor:
        sizes = [max(each) for each in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
        ends = [[size - own for size, own in zip(sizes, tensor.shape[1:], strict=True)] for tensor in tensors]
        ends = [[side for end in reversed(each) for side in (0, end)] for each in ends]
        return torch.cat([nn.functional.pad(tensor, end) for tensor, end in zip(tensors, ends, strict=True)])

    return Representation(padded([part.values for part in parts]), padded([part.mask for part in parts]))


@dataclass
class RegenerationOutput(Representation):
    """The targets of [`RegenerationModel.generate`], and the representation they were decoded from if asked for."""

    representation: Representation | None = None


@dataclass
class LossOutput(ModelOutput):
    """What training minimises.

    Args:
        loss: a scalar.
        terms: the named scalars that `loss` is made of, detached, for logs and progress bars.
        reconstruction: `(batch, *shape)`, what the loss was measured on, with its gradient, for further losses;
            `None` where nothing is reconstructed.
    """

    loss: torch.Tensor | None = None
    terms: dict[str, torch.Tensor] | None = None
    reconstruction: torch.Tensor | None = None


@dataclass(frozen=True)
class RepresentationSpec:
    """What one part gives and another takes, without the batch dimension.

    Args:
        shape: size of each dimension, `None` where it varies.
        num_codes: the number of different codes, or `None` for continuous values.
    """

    shape: tuple[int | None, ...]
    num_codes: int | None = None

    def __str__(self) -> str:
        kind = "continuous values" if self.num_codes is None else f"codes out of {self.num_codes}"
        return f"{kind} of shape {self.shape}"

    def fits(self, other: "RepresentationSpec") -> bool:
        """Whether both describe the same values; a size of `None` fits every size."""
        return (
            self.num_codes == other.num_codes
            and len(self.shape) == len(other.shape)
            and all(a is None or b is None or a == b for a, b in zip(self.shape, other.shape, strict=True))
        )
