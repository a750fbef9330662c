"""A source as a generator sees it: hidden states and which of them are real."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Condition:
    """What the source says: `hidden` `(batch, length, width)`, its `mask` `(batch, length)`, and their mean."""

    hidden: torch.Tensor
    mask: torch.Tensor
    pooled: torch.Tensor

    @classmethod
    def of(cls, hidden: torch.Tensor, mask: torch.Tensor) -> "Condition":
        """With the mean of what is no padding."""
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return cls(hidden, mask, (hidden * weights).sum(1) / weights.sum(1).clamp(min=1))

    def check_places(self, places: int) -> None:
        """Raises `ValueError` unless there is one for each of the target's."""
        if (found := self.hidden.shape[1]) != places:
            raise ValueError(f"the source has {found} places by its `source_stride`, but the target {places}.")

    def in_front(self) -> "Condition":
        """With the real places of each row before its padding, in their order."""
        return self._ordered((self.mask == 0).int())

    def at_the_end(self) -> "Condition":
        """With the real places of each row after its padding, in their order, and without what is padding in all."""
        ordered = self._ordered((self.mask != 0).int())
        longest = max(1, int((self.mask != 0).sum(1).max()))
        return Condition(ordered.hidden[:, -longest:], ordered.mask[:, -longest:], self.pooled)

    def _ordered(self, keys: torch.Tensor) -> "Condition":
        order = keys.argsort(dim=1, stable=True)
        return Condition(self.hidden.take_along_dim(order[..., None], 1), self.mask.gather(1, order), self.pooled)

    def strided(self, stride: int) -> "Condition":
        """With one place for each `stride` of them, the mean of those that are no padding.

        Raises:
            ValueError: for padding that is not at the end.
        """
        if (self.mask[:, 1:] > self.mask[:, :-1]).any():
            raise ValueError("the mask of the source must be true first and then false, for `source_stride`.")
        missing = -self.hidden.shape[1] % stride
        mask = nn.functional.pad(self.mask, (0, missing)).unflatten(1, (-1, stride))
        hidden = nn.functional.pad(self.hidden, (0, 0, 0, missing)).unflatten(1, (-1, stride))
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return Condition((hidden * weights).sum(2) / weights.sum(2).clamp(min=1), mask.amax(2), self.pooled)

    def map(self, function) -> "Condition":
        """The same with `function` applied to each tensor."""
        return Condition(function(self.hidden), function(self.mask), function(self.pooled))
