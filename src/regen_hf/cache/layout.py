"""What the files of a cache may say and hold; they may be somebody else's."""

import json
import math
import os
import re
from pathlib import Path
from typing import Any

from ..parts.outputs import RepresentationSpec
from ..parts.settings import shown

COLUMN, DESCRIPTION = "representation", "representations.json"
SHARD = r"shard-(\d+-)?\d+\.arrow"
OTHERWISE = "pass `overwrite=True` (`--overwrite`) to extract again in its place, or give another folder."


def fixed_size(spec: RepresentationSpec) -> int:
    return math.prod(size for size in spec.shape if size is not None)


def storage_type(spec: RepresentationSpec) -> str:
    if spec.num_codes is None:
        return "float32"
    return next(kind for kind, bits in (("int16", 15), ("int32", 31), ("int64", 63)) if spec.num_codes <= 2**bits)


def read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: it must be a mapping, got {type(found).__name__}.")
    return found


def read_description(path: Path, place: str | os.PathLike) -> dict[str, Any]:
    description = read_json(path) or {}
    if "shards" not in description:
        raise FileNotFoundError(f"{place} holds no finished cache of representations.")
    for key, (good, wanted) in DESCRIBED.items():
        if not good(value := description.get(key)):
            raise ValueError(f"{path} is damaged: `{key}` must be {wanted}, got {shown(value)}.")
    books, shape = description["num_codebooks"], description["shape"]
    if books > 1 and shape[:1] != [books]:
        raise ValueError(f"{path} is damaged: `num_codebooks` must be the first of `shape` {shape}, got {books}.")
    return description


def _is_count(value: Any, least: int = 1) -> bool:
    return type(value) is int and least <= value < 2**63


def _is_shape(value: Any) -> bool:
    sizes = [1 if size is None else size for size in value] if isinstance(value, list) and len(value) <= 8 else [0]
    return all(map(_is_count, sizes)) and math.prod(sizes) < 2**31


def _are_shards(value: Any) -> bool:
    names = isinstance(value, dict) and all(re.fullmatch(SHARD, name) for name in value)
    return names and bool(value) and all(_is_count(rows, 0) for rows in value.values())


DESCRIBED = {
    "shards": (_are_shards, "names of files such as 'shard-00000.arrow' with their numbers of rows"),
    "shape": (_is_shape, "a list of sizes, null where one varies"),
    "num_codes": (lambda value: value is None or _is_count(value), "null or a number of codes"),
    "num_codebooks": (_is_count, "a number of codebooks"),
    "rate": (
        lambda value: value is None or (type(value) in (int, float) and 0 < value < 1e12), "null or a number above 0",
    ),
    "fingerprint": (
        lambda value: isinstance(value, dict) and all(isinstance(each, str) for each in value.values()),
        "digests by name",
    ),
}  # fmt: skip
"""What must be so of the keys of a description, which may be somebody else's."""


def open_shards(folder: Path, shards: dict[str, int]):
    from datasets import Dataset, concatenate_datasets

    for name, rows in shards.items():
        if (folder / name).is_symlink() and (folder / name).resolve().parent != folder.resolve():
            raise ValueError(f"the cache in {folder} is damaged: {name} is a link that leads out of it.")
        if (found := count_rows(folder / name)) != rows:
            problem = "cannot be read" if found is None else f"has {found} rows instead of {rows}"
            raise ValueError(f"the cache in {folder} is damaged: {name} {problem}; {OTHERWISE}")
    return concatenate_datasets([Dataset.from_file(str(folder / name)) for name in shards])


def count_rows(path: Path) -> int | None:
    """How many rows a shard holds, or `None` where there is no whole shard.

    Raises:
        ValueError: where it is compressed, which none is that is written here: it may unpack to any size.
    """
    import pyarrow

    try:
        with pyarrow.memory_map(str(path)) as file:
            if any(map(_is_compressed, pyarrow.ipc.MessageReader.open_stream(file))):
                raise ValueError(f"{path} is damaged: a shard must not be compressed.")
            file.seek(0)
            return sum(batch.num_rows for batch in pyarrow.ipc.open_stream(file))
    except (OSError, pyarrow.ArrowInvalid):
        return None


def _is_compressed(message) -> bool:
    """Whether the rows of a `pyarrow.ipc.Message` are, which pyarrow does not say before it has unpacked them.

    Source: https://github.com/apache/arrow/blob/main/format/Message.fbs, as flatbuffers.
    """
    if message.type == "schema":
        return False
    data = message.metadata.to_pybytes()
    rows = _field(data, int.from_bytes(data[:4], "little"), 2)  # `header`
    if message.type == "dictionary":
        rows = _field(data, rows, 1)  # `data`
    return bool(_field(data, rows, 3))  # `compression`


def _field(data: bytes, table: int, number: int) -> int:
    """Where a field of a table of flatbuffers is, which is a table itself; 0 where the table has none."""
    fields = table - int.from_bytes(data[table : table + 4], "little", signed=True)
    place = 4 + 2 * number
    if place >= int.from_bytes(data[fields : fields + 2], "little"):
        return 0
    shift = int.from_bytes(data[fields + place : fields + place + 2], "little")
    return shift and table + shift + int.from_bytes(data[table + shift : table + shift + 4], "little")
