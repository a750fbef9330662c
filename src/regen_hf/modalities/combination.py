"""Several kinds of data together as X: a text and a voice, a picture and a class."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..parts.settings import shown
from .base import Modality


class CombinedModality(Modality):
    """Dictionaries with an entry for each part.

    Args:
        parts: a modality for each name, for example `text=TextModality(...), voice=LabelModality(...)`. Each must be
            of a kind that the generator tells from the others: one text, one class, one image, one audio.

    Example:
        >>> from regen_hf import LabelModality, TextModality
        >>> both = CombinedModality(text=TextModality.from_words(["red cat"]), voice=LabelModality(["low", "high"]))
        >>> {k: v.tolist() for k, v in both.as_source([{"text": "cat", "voice": "high"}]).items()}
        {'input_ids': [[2, 0]], 'attention_mask': [[1, 0]], 'class_labels': [[1]]}
    """

    key = "combined"

    def __init__(self, **parts: Modality):
        if not parts:
            raise ValueError("`parts` must have at least one modality.")
        for name, part in parts.items():
            if not isinstance(part, Modality):
                raise TypeError(f"`{name}` must be a Modality of regen_hf, got {type(part).__name__}.")
            _check_name(name)
        self.parts = parts

    @property
    def input_sizes(self) -> dict[str, tuple[int, int]]:
        return {name: size for part in self.parts.values() for name, size in part.input_sizes.items()}

    def check_feature(self, feature: Any, column: str) -> None:
        for name, part in self.parts.items():
            if isinstance(feature, Mapping) and name in feature:
                part.check_feature(feature[name], f"{column}.{name}")

    def as_source(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """What the parts give, together.

        Raises:
            TypeError: for anything but a dictionary.
            ValueError: for one that lacks an entry, or if two parts give the same input.
        """
        for i, example in enumerate(examples):
            if not isinstance(example, Mapping):
                raise TypeError(f"source {i} must be a dictionary with {self._names()}, got {type(example).__name__}.")
            if missing := self.parts.keys() - example.keys():
                raise ValueError(f"source {i} has no {sorted(missing)[0]!r}: it must have {self._names()}.")
        batch: dict[str, torch.Tensor] = {}
        for name, part in self.parts.items():
            given = part.as_source([example[name] for example in examples])
            if both := batch.keys() & given.keys():
                raise ValueError(f"`{name}` gives {sorted(both)[0]!r}, and so does another of {self._names()}.")
            batch |= given
        return batch

    def _names(self) -> str:
        return " and ".join(map(repr, self.parts))

    def to_dict(self) -> dict[str, Any]:
        return {
            "parts": {name: {"modality": type(part).__name__, **part.to_dict()} for name, part in self.parts.items()}
        }

    def save(self, folder: str) -> None:
        for name, part in self.parts.items():
            part.save(os.path.join(folder, "parts", name))

    @classmethod
    def load(cls, name_or_path: str, settings: dict[str, Any], subfolder: str = "", **kwargs) -> "CombinedModality":
        described = settings.get("parts")
        if settings.keys() != {"parts"} or not isinstance(described, Mapping):
            raise ValueError(f"a combination of {name_or_path} must have `parts` by name, got {shown(settings)}.")
        for name in described:
            _check_name(name)  # before it is a folder
        places = {name: "/".join(filter(None, (subfolder, "parts", name))) for name in described}
        return cls(
            **{
                name: Modality.load_described(name_or_path, each, places[name], **kwargs)
                for name, each in described.items()
            }
        )


def _check_name(name: str) -> None:
    if not name.isidentifier():  # it is the name of a folder as well
        raise ValueError(f"the name of a part must be one as Python has them, got {shown(name)}.")
