"""Y′ extracted once, kept on disk, read fast."""

import functools
import io
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..parts.outputs import Representation, RepresentationSpec
from ..runtime.files import remove_files
from .layout import COLUMN, DESCRIPTION, OTHERWISE, fixed_size, open_shards, read_description, storage_type

PARQUET_BYTES = 2**28  # what is held in memory of a cache while it is uploaded


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
        description = read_description(Path(folder, DESCRIPTION), folder)
        self._open(str(folder), description, open_shards(Path(folder), description["shards"]))

    def remove(self) -> None:
        """Removes the cache's own files, and its folder where nothing else is in it.

        Raises:
            ValueError: if the cache is no folder, but came from the Hub.
        """
        places = {Path(each["filename"]).resolve().parent for each in self.dataset.cache_files}
        if places != {Path(self.place).resolve()}:
            raise ValueError(f"the cache {self.place} is in no folder of its own, so that there is nothing to remove.")
        remove_files(Path(self.place), [*self.description["shards"], DESCRIPTION])

    def _open(self, place: str, description: dict[str, Any], dataset) -> None:
        self.place, self.description, self.dataset = place, description, dataset
        self.spec = RepresentationSpec(
            tuple(description["shape"]), description["num_codes"], description["num_codebooks"], description["rate"]
        )
        rows = sum(description["shards"].values())
        if len(dataset) != rows:
            raise ValueError(f"{place} is damaged: it has {len(dataset)} rows instead of {rows}.")
        _check_column(place, self.spec, dataset)
        chunks = [chunk for chunk in dataset.data.column(COLUMN).chunks if len(chunk)]
        ragged = None in self.spec.shape
        self._chunks = [_Ragged(place, self.spec, chunk) if ragged else _as_rows(chunk) for chunk in chunks]
        self._starts = np.cumsum([0, *map(len, chunks)])
        self._unchecked = set(range(len(chunks)))  # each when it is first read

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
            ValueError: for values that are NaN, infinite or no codes, in a shard that was damaged or made otherwise.
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
        if self._unchecked:
            for chunk in self._unchecked.intersection(numbers.tolist()):
                self._check_chunk(chunk)
                self._unchecked.discard(chunk)  # another thread may have, too
        found = [self._chunks[c][r] for c, r in zip(numbers.tolist(), inside.tolist(), strict=True)]
        values, mask = self._padded(found) if None in self.spec.shape else (self._stacked(found), None)
        return Representation(values=values.float() if self.spec.num_codes is None else values.long(), mask=mask)

    def _check_chunk(self, number: int) -> None:
        """Raises `ValueError` for what [`write_cache`] would not have kept: the shards may be somebody else's."""
        codes, chunk = self.spec.num_codes, self._chunks[number]
        values = chunk.values if isinstance(chunk, _Ragged) else chunk.reshape(-1)
        with np.errstate(over="ignore"):
            # NaN and infinity would be in the product, too, and to find none in it takes the least time
            if not values.size or (
                values.min() >= 0 and values.max() < codes if codes else np.isfinite(values @ values)
            ):
                return
        wrong = (values < 0) | (values >= codes) if codes else ~np.isfinite(values)
        if wrong.any():
            place = int(wrong.argmax())
            ends = chunk.offsets[1:] if isinstance(chunk, _Ragged) else np.arange(1, len(chunk) + 1) * chunk.shape[1]
            row = self._starts[number] + int(np.searchsorted(ends, place, side="right"))
            wanted = f"codes in [0, {codes})" if codes else "finite"
            raise ValueError(
                f"the cache in {self.place} is damaged: Y′ of row {row} must be {wanted}, got {values[place]}."
            )

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
                f"the cache in {self.place} was made from other {', '.join(differ)} than asked for: {OTHERWISE}"
            )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str = "Upload representations",
        commit_description: str | None = None,
        license: str | None = None,
    ) -> str:
        """Uploads the cache as a dataset: Parquet files, `representations.json` and, where there is none yet, a card.
        It is one commit, in place of what was uploaded before.

        Args:
            repo_id: `user/name`.
            private: whether only its owner sees a repository that is made for it.
            token, revision, create_pr, commit_message, commit_description: as `HfApi.create_commit` takes them.
            license: of the data, by its name on the Hub; the card names none unless it is given.

        Returns:
            the address of the commit.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

        api, data = HfApi(token=token), {"repo_type": "dataset", "revision": revision}
        repo_id = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True).repo_id
        if revision is not None and not revision.startswith("refs/pr/"):
            api.create_branch(repo_id, branch=revision, repo_type="dataset", exist_ok=True)
        there = api.list_repo_files(repo_id, **data)
        texts = {DESCRIPTION: json.dumps(self.description, indent=2)}
        if "README.md" not in there:
            texts["README.md"] = self._card(license)
        operations = [CommitOperationAdd(name, text.encode()) for name, text in texts.items()]
        for name, content in self._parquet_files():
            operations.append(CommitOperationAdd(name, content))
            api.preupload_lfs_files(repo_id, operations[-1:], **data, create_pr=create_pr)  # frees its memory
        names = {each.path_in_repo for each in operations}
        old = [name for name in there if re.fullmatch(r"data/train-[^/]*\.parquet", name) and name not in names]
        commit = api.create_commit(
            repo_id, [*operations, *map(CommitOperationDelete, old)], **data, create_pr=create_pr,
            commit_message=commit_message, commit_description=commit_description,
        )  # fmt: skip
        return commit.commit_url

    def _parquet_files(self) -> Iterator[tuple[str, bytes]]:
        """The rows as files of a bounded size, with what they refer to in them, under their names on the Hub."""
        import pyarrow.parquet
        from datasets.table import embed_table_storage

        count = max(1, math.ceil(self.dataset.data.nbytes / PARQUET_BYTES))
        for number in range(count):
            part = self.dataset.shard(count, number, contiguous=True).with_format("arrow")
            pyarrow.parquet.write_table(embed_table_storage(part[:]), sink := io.BytesIO())
            yield f"data/train-{number:05d}-of-{count:05d}.parquet", sink.getvalue()

    def _card(self, license: str | None) -> str:
        from huggingface_hub import DatasetCardData

        data = DatasetCardData(license=license, tags=["regeneration-learning", "regen_hf"])
        rows = "\n".join(f"| {name} | `{digest}` |" for name, digest in self.description["fingerprint"].items())
        return (
            f"---\n{data.to_yaml()}\n---\n\n# Representations\n\n{len(self):,} intermediate representations (Y′): "
            f"{self.spec}.\n\n```python\nfrom regen_hf import RepresentationCache\n\n"
            f'cache = RepresentationCache.from_hub("...")  # the name of this repository\n```\n\n'
            f"## Made from\n\n| what | digest |\n|---|---|\n{rows}\n"
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
        cache._open(repo_id, read_description(Path(path), repo_id), load_dataset(repo_id, split="train", **where))
        return cache


class _Ragged:
    """The rows of an Arrow array of lists, as views of its memory."""

    def __init__(self, place: str, spec: RepresentationSpec, chunk):
        values, offsets = chunk.values.to_numpy(), chunk.offsets.to_numpy()
        sizes = np.diff(offsets)
        if offsets[0] < 0 or offsets[-1] > len(values) or (sizes < 0).any():
            raise ValueError(f"the cache in {place} is damaged: the rows of a shard begin or end outside of it.")
        if (sizes % fixed_size(spec)).any():
            raise ValueError(f"the cache in {place} is damaged: it holds rows that are not {spec}.")
        self.values, self.offsets = values[offsets[0] : offsets[-1]], offsets - offsets[0]

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]


def _check_column(place: str, spec: RepresentationSpec, dataset) -> None:
    """Raises `ValueError` where what the shards hold is not what the description says."""
    from datasets import List, Value

    length = -1 if None in spec.shape else fixed_size(spec)
    wanted = List(Value(storage_type(spec)), length=length)
    if (found := dataset.features.get(COLUMN)) != wanted:
        raise ValueError(f"the cache in {place} is damaged: for {spec} its shards must hold {wanted}, got {found}.")
    if nulls := dataset.data.column(COLUMN).null_count:
        raise ValueError(f"the cache in {place} is damaged: {nulls} of its rows hold nothing.")


def _as_rows(chunk) -> np.ndarray:
    return chunk.flatten().to_numpy().reshape(len(chunk), -1)
