"""What passes between the parts: representations, losses, and the description of what fits where."""

from dataclasses import dataclass

import torch
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
    """

    loss: torch.Tensor | None = None
    terms: dict[str, torch.Tensor] | None = None


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
