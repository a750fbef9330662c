"""One class out of several as X."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import torch

from ..parts.settings import shown
from .base import Modality


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
        if twice := [name for name, count in Counter(listed).items() if count > 1]:
            raise ValueError(f"`names` must differ from each other, but {shown(twice[0])} is there twice.")
        self.names = listed
        self._ids = {name: i for i, name in enumerate(self.names)}

    @property
    def input_sizes(self) -> dict[str, tuple[int, int]]:
        return {"class_labels": (len(self.names), 1)}

    def check_feature(self, feature: Any, column: str) -> None:
        """Raises `ValueError` for a `ClassLabel` of more classes, or of other names for the same numbers. Names that
        are the numbers themselves say nothing."""
        from datasets import ClassLabel

        if not isinstance(feature, ClassLabel):
            return
        if feature.num_classes > len(self.names):
            raise ValueError(
                f"the column {column!r} has {feature.num_classes} classes, but the processor {len(self.names)}: "
                f"{_shown(feature.names)} and {_shown(self.names)}."
            )
        if any(names == [str(i) for i in range(len(names))] for names in (feature.names, self.names)):
            return
        for i, (theirs, own) in enumerate(zip(feature.names, self.names, strict=False)):
            if theirs != own:
                raise ValueError(f"class {i} of the column {column!r} is {theirs!r}, but {own!r} to the processor.")

    def as_source(self, examples: Sequence[str | int]) -> dict[str, torch.Tensor]:
        """`class_labels`, `(batch, 1)`, `torch.long`; an example is a class's name or its number."""
        return {"class_labels": torch.tensor([[self._id(i, label)] for i, label in enumerate(examples)])}

    def _id(self, position: int, label: str | int) -> int:
        if isinstance(label, str) and label in self._ids:
            return self._ids[label]
        if isinstance(label, Integral) and not isinstance(label, bool) and 0 <= label < len(self.names):
            return int(label)
        known = _shown(self.names)
        raise ValueError(
            f"source {position} must be a class name ({known}) or a number below {len(self.names)}, got {shown(label)}."
        )

    def to_dict(self) -> dict[str, Any]:
        return {"names": self.names}


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
