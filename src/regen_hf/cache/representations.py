"""Y′ extracted once, kept on disk, read fast."""

import functools
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..parts.outputs import Representation, RepresentationSpec

COLUMN, DESCRIPTION = "representation", "representations.json"


class RepresentationCache(torch.utils.data.Dataset):
    """The Y′ of every example of a dataset, in its order, memory-mapped from disk.

    Args:
        folder: a finished cache; [`extract`] and [`write_cache`] make one.

    Attributes:
        description: what the cache was made from, as its `representations.json` holds it.
        spec: the shape and kind of Y′.
        dataset: the `datasets.Dataset` of the flat Y′, in the column `representation`, and of the columns kept with it.

    Raises:
        FileNotFoundError: if `folder` holds no finished cache.
        ValueError: if a file of the cache is missing or damaged.
    """

    def __init__(self, folder: str | os.PathLike):
        description = _description(Path(folder, DESCRIPTION), folder)
        self._open(str(folder), description, _open_shards(Path(folder), description["shards"]))

    def _open(self, place: str, description: dict[str, Any], dataset) -> None:
        self.place, self.description, self.dataset = place, description, dataset
        self.spec = RepresentationSpec(
            tuple(description["shape"]), description["num_codes"], description["num_codebooks"], description["rate"]
        )
        rows = sum(description["shards"].values())
        if len(dataset) != rows:
            raise ValueError(f"{place} is damaged: it has {len(dataset)} rows instead of {rows}.")
        chunks = [chunk for chunk in dataset.data.column(COLUMN).chunks if len(chunk)]
        self._chunks = [_Ragged(chunk) if None in self.spec.shape else _as_rows(chunk) for chunk in chunks]
        self._starts = np.cumsum([0, *map(len, chunks)])

    def __getstate__(self) -> dict[str, Any]:
        return {"place": self.place, "description": self.description, "dataset": self.dataset}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._open(**state)  # a worker process maps the files again, where pickling the views would copy them

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, rows: Sequence[int] | slice) -> Representation:
        """The Y′ of some examples: float32 for continuous values, `torch.long` for codes.

        Args:
            rows: the numbers of the examples, in any order.

        Returns:
            `values` `(batch, *spec.shape)`. Where a size varies, it is the longest of the batch, `values` are zero
            beyond the length of an example, and `mask` `(batch, longest)` says where they are not.

        Raises:
            IndexError: for a row that is not there.
            TypeError: for a single int, which has no batch.
        """
        if isinstance(rows, slice):
            rows = range(*rows.indices(len(self)))
        asked = np.asarray(rows)
        if asked.ndim != 1 or (asked.size and asked.dtype.kind not in "iu"):
            raise TypeError(f"`rows` must be a list of ints or a slice, got {rows!r}.")
        rows = np.where(asked < 0, asked + len(self), asked).astype(np.int64)
        if rows.size and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"`rows` must be in [0, {len(self)}), got {asked.min()} to {asked.max()}.")
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        inside = rows - self._starts[numbers]
        found = [self._chunks[c][r] for c, r in zip(numbers.tolist(), inside.tolist(), strict=True)]
        values, mask = self._padded(found) if None in self.spec.shape else (self._stacked(found), None)
        return Representation(values=values.float() if self.spec.num_codes is None else values.long(), mask=mask)

    def _stacked(self, found: list[np.ndarray]) -> torch.Tensor:
        flat = np.empty((len(found), math.prod(self.spec.shape)), storage_type(self.spec))
        for i, row in enumerate(found):
            flat[i] = row
        return torch.from_numpy(flat).view(-1, *self.spec.shape)

    def _padded(self, found: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        shape = list(self.spec.shape)
        varies = shape.index(None)
        lengths = np.array([len(row) for row in found], dtype=np.int64) // fixed_size(self.spec)
        shape[varies] = int(lengths.max(initial=0))
        values = np.zeros((len(found), *shape), storage_type(self.spec))
        for i, (row, length) in enumerate(zip(found, lengths, strict=True)):
            shape[varies] = length
            values[(i, *[slice(None)] * varies, slice(length))] = row.reshape(shape)
        mask = np.arange(values.shape[1 + varies]) < lengths[:, None]
        return torch.from_numpy(values), torch.from_numpy(mask)

    @functools.cached_property
    def lengths(self) -> np.ndarray | None:
        """How long each Y′ is, `(len(self),)` int64, or `None` where all have one shape; to make batches of a kind."""
        if None not in self.spec.shape:
            return None
        sizes = np.concatenate([np.diff(chunk.offsets) for chunk in self._chunks])
        return sizes.astype(np.int64) // fixed_size(self.spec)

    def batches(self, batch_size: int = 1024) -> Iterator[Representation]:
        """Every Y′ once, in order."""
        for start in range(0, len(self), batch_size):
            yield self[start : start + batch_size]

    def check(self, parts: dict[str, str]) -> None:
        """Raises `ValueError` if this was made from anything else than `parts`, and says which of them differ."""
        found = self.description["fingerprint"]
        differ = sorted(name for name in found.keys() | parts.keys() if found.get(name) != parts.get(name))
        if differ:
            raise ValueError(
                f"the cache in {self.place} was made from other {', '.join(differ)} than asked for: delete it to "
                "extract again, or give another folder."
            )

    def push_to_hub(self, repo_id: str, **kwargs) -> str:
        """Uploads the cache as a dataset, `representations.json` beside its Parquet files.

        Args:
            repo_id: `user/name`.
            kwargs: of `datasets.Dataset.push_to_hub` (`private`, `token`, `revision`, `create_pr`, ...), but for
                `config_name` and `split`.

        Returns:
            the address of the commit.
        """
        from huggingface_hub import HfApi

        commit = self.dataset.push_to_hub(repo_id, config_name="default", split="train", **kwargs)
        return HfApi(token=kwargs.get("token")).upload_file(
            path_or_fileobj=json.dumps(self.description, indent=2).encode(),
            path_in_repo=DESCRIPTION,
            repo_id=commit.repo_url.repo_id,
            repo_type="dataset",
            revision=commit.pr_revision or kwargs.get("revision"),
            commit_message="Describe the representations",
        )

    @classmethod
    def from_hub(cls, repo_id: str, revision: str | None = None, token: str | None = None) -> "RepresentationCache":
        """What `push_to_hub` uploaded; raises `FileNotFoundError` if the repository describes no representations."""
        from datasets import load_dataset
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        where = {"revision": revision, "token": token}
        try:
            path = hf_hub_download(repo_id, DESCRIPTION, repo_type="dataset", **where)
        except EntryNotFoundError as error:
            raise FileNotFoundError(f"the dataset {repo_id} holds no {DESCRIPTION} that can be read.") from error
        cache = cls.__new__(cls)
        cache._open(repo_id, _description(Path(path), repo_id), load_dataset(repo_id, split="train", **where))
        return cache


class _Ragged:
    """The rows of an Arrow array of lists, as views of its memory."""

    def __init__(self, chunk):
        self.values, self.offsets = chunk.values.to_numpy(), chunk.offsets.to_numpy()

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]


def _as_rows(chunk) -> np.ndarray:
    return chunk.flatten().to_numpy().reshape(len(chunk), -1)


def fixed_size(spec: RepresentationSpec) -> int:
    return math.prod(size for size in spec.shape if size is not None)


def storage_type(spec: RepresentationSpec) -> str:
    if spec.num_codes is None:
        return "float32"
    return next(kind for kind, bits in (("int16", 15), ("int32", 31), ("int64", 63)) if spec.num_codes <= 2**bits)


def read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _description(path: Path, place: str | os.PathLike) -> dict[str, Any]:
    description = read_json(path) or {}
    if "shards" not in description:
        raise FileNotFoundError(f"{place} holds no finished cache of representations.")
    return description


def _open_shards(folder: Path, shards: dict[str, int]):
    from datasets import Dataset, concatenate_datasets

    for name, rows in shards.items():
        if (found := count_rows(folder / name)) != rows:
            problem = "cannot be read" if found is None else f"has {found} rows instead of {rows}"
            raise ValueError(f"the cache in {folder} is damaged: {name} {problem}; delete the cache to extract again.")
    return concatenate_datasets([Dataset.from_file(str(folder / name)) for name in shards])


def count_rows(path: Path) -> int | None:
    """How many rows a shard holds, or `None` where there is no whole shard."""
    import pyarrow

    try:
        with pyarrow.memory_map(str(path)) as file:
            return sum(batch.num_rows for batch in pyarrow.ipc.open_stream(file))
    except (OSError, pyarrow.ArrowInvalid):
        return None
