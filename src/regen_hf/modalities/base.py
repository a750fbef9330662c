"""What a kind of data must be able to do."""

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.utils import PROCESSOR_NAME

from ..parts.foreign_files import check_files
from ..parts.settings import Argument, shown
from .readers.columns import leave_undecoded


def padded(rows: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows `(..., length)` as `(batch, ..., length)`, with 0 after each row, and the mask `(batch, length)`, bool."""
    lengths = torch.tensor([row.shape[-1] for row in rows])
    values = rows[0].new_zeros(len(rows), *rows[0].shape[:-1], int(lengths.max()))
    for place, row in zip(values, rows, strict=True):
        place[..., : row.shape[-1]] = row
    return values, torch.arange(values.shape[-1]) < lengths[:, None]


def whole_number(name: str, value: Any, most: int) -> int:
    """A setting that is a count; a configuration may be somebody else's, and memory and time go by it.

    Raises:
        ValueError: for anything but a whole number from 1 to `most`.
    """
    Argument(int, 1, most).check(name, value)
    return int(value)


def truth(name: str, value: Any) -> bool:
    """A setting that is true or false; raises `ValueError` for anything else."""
    Argument(bool).check(name, value)
    return value


def with_ending(path: str | os.PathLike, ending: str) -> Path:
    """The path with `ending`, unless it has it; what follows another dot in its name stays, as in `guidance2.5`."""
    path = Path(path)
    return path if path.name.endswith(ending) else path.with_name(f"{path.name}{ending}")


class Modality:
    """A kind of data as X, as Y, or as both.

    A subclass takes its settings as keyword arguments, returns them from `to_dict`, and defines `as_source` if it can
    be X and `as_target`, `from_target` and `save_samples` if it can be Y.
    """

    key: str
    """The name of this kind in what the pipeline returns, such as `"image"`."""

    rate: float | None = None
    """Values of the last dimension of a target per second, for data that extends in time."""

    num_codes: int | None = None
    """How many different codes a target is made of, for data that is codes."""

    @property
    def input_sizes(self) -> dict[str, tuple[int, int]]:
        """For each input of [`Modality.as_source`] that is whole numbers how many different ones there are, and how
        many of them stand in a row."""
        return {}

    def check_feature(self, feature: Any, column: str) -> None:
        """Raises `ValueError` where the `datasets` feature of a column says that its values mean something else."""

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
        """The `datasets.Dataset` with `column` as files, which are opened when they are needed and by the modality, so
        that one that is broken can be named, and that none is opened in a format that is not read here."""
        return leave_undecoded(dataset, column)

    def to_dict(self) -> dict[str, Any]:
        """The settings, as the constructor takes them; JSON only."""
        return {}

    def save(self, folder: str) -> None:
        """Writes what does not fit into `to_dict`, such as a tokenizer."""

    @classmethod
    def load(cls, name_or_path: str, settings: dict[str, Any], subfolder: str = "", **kwargs) -> "Modality":
        """The reverse of `to_dict` and `save`; `kwargs` say where on the Hub (`revision`, `token`, ...)."""
        return cls._made(settings)

    @classmethod
    def _made(cls, settings: dict[str, Any], **held: Any) -> "Modality":
        """With the settings of a configuration, and what files of their own hold.

        Raises:
            ValueError: for a setting that there is not, or that is missing.
        """
        try:
            inspect.signature(cls).bind(**held, **settings)
        except TypeError as error:
            raise ValueError(f"{PROCESSOR_NAME} describes no {cls.__name__}: {error}.") from error
        return cls(**held, **settings)

    @staticmethod
    def load_described(name_or_path: str, described: dict[str, Any], subfolder: str = "", **kwargs) -> "Modality":
        """The modality that `described` names under `"modality"`, with the other entries as its settings.

        Raises:
            ValueError: if it names none of this library, or settings that it does not have, or if its files lead out
                of their folder.
        """
        place = f"{PROCESSOR_NAME} of {name_or_path}"
        if not isinstance(described, Mapping):
            raise ValueError(f"{place} must describe a modality by a mapping, got {shown(described)}.")
        settings = dict(described)
        kind = settings.pop("modality", None)
        known = {modality.__name__: modality for modality in Modality.__subclasses__()}
        if os.path.isdir(name_or_path):
            check_files(name_or_path, subfolder=subfolder)
        if not isinstance(kind, str) or kind not in known:
            raise ValueError(f"{place} must name a modality, one of {', '.join(known)}; got {shown(kind)}.")
        return known[kind].load(name_or_path, settings, subfolder=subfolder, **kwargs)
