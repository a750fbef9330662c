"""One class out of several as X."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import torch

from .base import Modality
from .readers.opening import shown


class LabelModality(Modality):
    """
    Args:
        names: the name of each class, in the order of their numbers.

    Example:
        >>> LabelModality(["cat", "dog"]).as_source(["dog", 0])["class_labels"].tolist()
        [[1], [0]]
    """

    key = "label"

    def __init__(self, names: Sequence[str]):
        if isinstance(names, str | Mapping) or not isinstance(names, Iterable) or not (listed := list(names)):
            raise ValueError(f"`names` must be a list with at least one class name, got {shown(names)}.")
        if wrong := [each for each in listed if not isinstance(each, str)]:
            raise ValueError(f"`names` must be texts, got {shown(wrong[0])}.")
        self.names = listed
        self._ids = {name: i for i, name in enumerate(self.names)}

    def as_source(self, examples: Sequence[str | int]) -> dict[str, torch.Tensor]:
        """`class_labels`, `(batch, 1)`, `torch.long`; an example is a class's name or its number."""
        return {"class_labels": torch.tensor([[self._id(i, label)] for i, label in enumerate(examples)])}

    def _id(self, position: int, label: str | int) -> int:
        if isinstance(label, str) and label in self._ids:
            return self._ids[label]
        if isinstance(label, Integral) and not isinstance(label, bool) and 0 <= label < len(self.names):
            return int(label)
        known = ", ".join(map(repr, self.names[:5])) + (", ..." if len(self.names) > 5 else "")
        raise ValueError(
            f"source {position} must be a class name ({known}) or a number below {len(self.names)}, got {shown(label)}."
        )

    def to_dict(self) -> dict[str, Any]:
        return {"names": self.names}
