"""Options that several commands have, as documented dataclasses; each is a group of `--help`."""

import dataclasses
import json
from typing import Any

from ..parts.settings import shown


@dataclasses.dataclass
class ModelArguments:
    """The model.

    Args:
        model: Hub name or folder of a regenerator.
        trust_remote_code: allow the model's repository to run code of its own.
    """

    model: str
    trust_remote_code: bool = False


@dataclasses.dataclass
class DataArguments:
    """The data.

    Args:
        dataset: Hub name of a dataset, or a folder: one of `save_to_disk`, or one of files that `load_dataset` reads.
        dataset_config: its configuration, where it has several.
        split: its split, or a part of it such as `train[:90%]`.
    """

    dataset: str
    dataset_config: str | None = None
    split: str = "train"


def refuse_unused(arguments: Any, condition: str, *names: str) -> None:
    """Raises `ValueError` for what was given though it has no effect without another argument."""
    for field in dataclasses.fields(arguments):
        value = getattr(arguments, field.name)
        if field.name in names and value != field.default and not getattr(arguments, condition):
            raise ValueError(f"`{field.name}` is {value!r}, which has no effect without `{condition}`.")


def mapping(name: str, value: dict | str | None) -> dict[str, Any] | None:
    """A section of the file, or JSON from the command line."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"`{name}` must be a mapping, as JSON, got {shown(value)}: {error}") from error
    if not isinstance(value, dict | None):
        raise ValueError(f"`{name}` must be a mapping, as JSON, got {shown(value)}.")
    return value
