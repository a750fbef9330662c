"""What passes between the parts: representations, losses, and the description of what fits where."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.utils import ModelOutput


@dataclass
class Representation(ModelOutput):
    """A batch of targets Y, or of their abstractions Y′.

    Args:
        values: `(batch, *shape)`; float for continuous values (channels first, as in `(batch, channels, height,
            width)`), `torch.long` for discrete codes.
        mask: `(batch, *shape without channels or codebooks)`, bool, true where `values` are real and false where they
            are padding. `None` means that nothing is padding.
        scores: `(batch,)`, the log-probability of each row, where the generator that made it knows it.
    """

    values: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    scores: torch.Tensor | None = None


def concatenate(parts: Sequence[Representation]) -> Representation:
    """Several batches as one; where they have masks, padded at the end to the size of the largest."""
    if all(part.mask is None for part in parts):
        return Representation(torch.cat([part.values for part in parts]))

    def padded(tensors: list[torch.Tensor]) -> torch.Tensor:
        sizes = [max(each) for each in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
        ends = [[size - own for size, own in zip(sizes, tensor.shape[1:], strict=True)] for tensor in tensors]
        ends = [[side for end in reversed(each) for side in (0, end)] for each in ends]
        return torch.cat([nn.functional.pad(tensor, end) for tensor, end in zip(tensors, ends, strict=True)])

    return Representation(padded([part.values for part in parts]), padded([part.mask for part in parts]))


class Repeatable:
    """What `make` iterates over, as often as it is asked for."""

    def __init__(self, make: Callable[[], Iterable[Any]]):
        self.make = make

    def __iter__(self) -> Iterator[Any]:
        return iter(self.make())


@dataclass
class RegenerationOutput(Representation):
    """The targets of [`RegenerationModel.generate`], and what they were decoded from if asked for.

    Args:
        representation: Y′.
        representations: Y′ and, in a chain, what each further link decoded it to on the way to Y.
    """

    representation: Representation | None = None
    representations: tuple[Representation, ...] | None = None


@dataclass
class LossOutput(ModelOutput):
    """What training minimises.

    Args:
        loss: a scalar.
        terms: the named scalars that `loss` is made of, detached, for logs and progress bars.
        reconstruction: `(batch, *shape)`, what the loss was measured on, with its gradient, for further losses;
            `None` where nothing is reconstructed.
        reconstruction_target: what that is to be like, where it is not the whole target.
    """

    loss: torch.Tensor | None = None
    terms: dict[str, torch.Tensor] | None = None
    reconstruction: torch.Tensor | None = None
    reconstruction_target: torch.Tensor | None = None

    @classmethod
    def of(cls, terms: dict[str, torch.Tensor], **others: torch.Tensor | None) -> "LossOutput":
        """The sum of named terms; `others` are the remaining fields."""
        return cls(loss=sum(terms.values()), terms={name: term.detach() for name, term in terms.items()}, **others)


@dataclass(frozen=True)
class RepresentationSpec:
    """What one part gives and another takes, without the batch dimension.

    Args:
        shape: size of each dimension, `None` where it varies. Channels come first; so do codebooks.
        num_codes: the number of different codes, or `None` for continuous values.
        num_codebooks: how many codes stand for the same place, each from a codebook of its own with `num_codes` codes;
            more than one are the first dimension of `shape`.
        rate: how many values of the last dimension make a second, for what lasts; `None` for anything else.
    """

    shape: tuple[int | None, ...]
    num_codes: int | None = None
    num_codebooks: int = 1
    rate: float | None = None

    def __post_init__(self):
        if self.num_codebooks > 1 and self.shape[0] != self.num_codebooks:
            raise ValueError(f"the first of `shape` must be num_codebooks {self.num_codebooks}, got {self.shape}.")

    def __str__(self) -> str:
        said = [] if self.num_codes is None else [f"vocabulary {self.num_codes}"]
        said += [f"{self.num_codebooks} codebooks"] if self.num_codebooks > 1 else []
        shape = tuple(self.shape)
        sizes = " × ".join("any length" if size is None else str(size) for size in shape)
        said += [{(): "one value", (None,): "any length"}.get(shape, f"shape {sizes}")]
        rate = "" if self.rate is None else f" at {self.rate:g} a second"
        return f"{'continuous values' if self.num_codes is None else 'codes'} ({', '.join(said)}){rate}"

    def fits(self, other: "RepresentationSpec") -> bool:
        """Whether both describe the same values; a size or a rate of `None` fits every other."""
        return (
            (self.num_codes, self.num_codebooks) == (other.num_codes, other.num_codebooks)
            and len(self.shape) == len(other.shape)
            and all(a is None or b is None or a == b for a, b in zip(self.shape, other.shape, strict=True))
            and (self.rate is None or other.rate is None or math.isclose(self.rate, other.rate, rel_tol=1e-6))
        )
