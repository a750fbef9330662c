"""What a kind of data must be able to do."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.utils import PROCESSOR_NAME

from ..parts.foreign_files import check_files


def padded(rows: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows `(..., length)` as `(batch, ..., length)`, with 0 after each row, and the mask `(batch, length)`, bool."""
    lengths = torch.tensor([row.shape[-1] for row in rows])
    values = rows[0].new_zeros(len(rows), *rows[0].shape[:-1], int(lengths.max()))
    for place, row in zip(values, rows, strict=True):
        place[..., : row.shape[-1]] = row
    return values, torch.arange(values.shape[-1]) < lengths[:, None]


def leave_undecoded(dataset, column: str, feature: type):
    """The `datasets.Dataset` with `column` as files, if that is a `feature` that datasets would decode."""
    if dataset.features is not None and isinstance(dataset.features[column], feature):
        return dataset.cast_column(column, feature(decode=False))
    return dataset


class Modality:
    """A kind of data as X, as Y, or as both.

    A subclass takes its settings as keyword arguments, returns them from `to_dict`, and defines `as_source` if it can
    be X and `as_target`, `from_target` and `save_samples` if it can be Y.
    """

    key: str
    """The name of this kind in what the pipeline returns, such as `"image"`."""

    rate: float | None = None
    """Values of the last dimension of a target per second, for data that extends in time."""

    def as_source(self, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Examples of X as the keyword arguments of a generator, each with a leading batch dimension."""
        raise NotImplementedError(f"{type(self).__name__} cannot be a source.")

    def as_target(self, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Examples of Y as `target`, and `target_mask` where they differ in size."""
        raise NotImplementedError(f"{type(self).__name__} cannot be a target.")

    def from_target(self, values: torch.Tensor, mask: torch.Tensor | None = None) -> list[dict[str, Any]]:
        """A batch of generated Y as one dictionary an example, under `key` and what belongs to it."""
        raise NotImplementedError(f"{type(self).__name__} cannot be a target.")

    def pieces(self, example: Any) -> list[Any]:
        """An example of X as one or more pieces, in order, which a model takes one by one."""
        return [example]

    def join(self, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Joins what [`Modality.from_target`] gave for each of the [`Modality.pieces`] of one source.

        Raises:
            ValueError: for several pieces, where this kind of data cannot be joined.
        """
        if len(results) != 1:
            raise ValueError(
                f"{type(self).__name__} cannot join what {len(results)} pieces of a source became: give a shorter one."
            )
        return results[0]

    def save_samples(self, samples: Sequence[dict[str, Any]], captions: Sequence[str], path: Path) -> Path:
        """Writes generated examples to look at or listen to, and returns `path` with the modality's own suffix."""
        raise NotImplementedError(f"{type(self).__name__} cannot be a target.")

    def prepare_column(self, dataset, column: str):
        """The `datasets.Dataset` with `column` as this modality wants to read it."""
        return dataset

    def to_dict(self) -> dict[str, Any]:
        """The settings, as the constructor takes them; JSON only."""
        return {}

    def save(self, folder: str) -> None:
        """Writes what does not fit into `to_dict`, such as a tokenizer."""

    @classmethod
    def load(cls, name_or_path: str, settings: dict[str, Any], subfolder: str = "", **kwargs) -> "Modality":
        """The reverse of `to_dict` and `save`; `kwargs` say where on the Hub (`revision`, `token`, ...)."""
        return cls(**settings)

    @staticmethod
    def load_described(name_or_path: str, described: dict[str, Any], subfolder: str = "", **kwargs) -> "Modality":
        """The modality that `described` names under `"modality"`, with the other entries as its settings.

        Raises:
            ValueError: if it names none of this library, or if its files lead out of their folder.
        """
        settings = dict(described) if isinstance(described, dict) else {}
        kind = settings.pop("modality", None)
        known = {modality.__name__: modality for modality in Modality.__subclasses__()}
        if os.path.isdir(name_or_path):
            check_files(name_or_path, subfolder=subfolder)
        if not isinstance(kind, str) or kind not in known:
            raise ValueError(
                f"{PROCESSOR_NAME} of {name_or_path} must name a modality, one of {', '.join(known)}; got {kind!r}."
            )
        return known[kind].load(name_or_path, settings, subfolder=subfolder, **kwargs)
