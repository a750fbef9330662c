"""Writing a cache of Y′: rows to shards, shared among processes, resumed after a crash."""

import contextlib
import dataclasses
import itertools
import json
import math
import os
import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..parts.outputs import Representation, RepresentationSpec
from ..runtime.files import check_output_folder, remove_files, take_place
from ..runtime.processes import processes
from .layout import COLUMN, DESCRIPTION, SHARD, count_rows, fixed_size, read_json, storage_type

PLAN = "plan.json"
OWN = rf"({SHARD})(\.\d+\.tmp)?|{PLAN}(\.tmp)?|{DESCRIPTION}"  # what is in the folder of a cache that is being written
FREE = ("processes", "shard_rows", "facts")  # in which the plan of a cache may differ from that of one that was begun
SHARD_ROWS, SHARD_BYTES = 4096, 2**28  # what an interruption can lose
CHUNK_BYTES = 2**24  # what is held in memory before it is written
VARYING_SIZE = 1024  # what a size that varies counts for


@dataclasses.dataclass
class CacheWriter:
    """One cache to write, and the part of this process in it."""

    folder: Path
    dataset: Any
    spec: RepresentationSpec
    parts: dict[str, str]
    read: Callable[[dict[str, list]], Any]
    inputs: Sequence[str] | None
    columns: tuple[str, ...]
    batch_size: int
    num_workers: int
    facts: str | None = None
    overwrite: bool = False

    def __post_init__(self):
        self.state = processes()
        self.partial = partial_of(self.folder)
        self.streams = not hasattr(self.dataset, "__len__")
        self.row_bytes = np.dtype(storage_type(self.spec)).itemsize * math.prod(
            n or VARYING_SIZE for n in self.spec.shape
        )
        self.shard_rows = max(1, min(SHARD_ROWS, SHARD_BYTES // self.row_bytes))
        if not self.streams and self.state.num_processes > 1:  # each gets several, also of little data
            self.shard_rows = min(self.shard_rows, max(64, len(self.dataset) // (4 * self.state.num_processes)))
        self.plan = {
            **dataclasses.asdict(self.spec), "shape": list(self.spec.shape), "fingerprint": self.parts,
            "facts": self.facts, "columns": list(self.columns), "shard_rows": self.shard_rows,
            "rows": None if self.streams else len(self.dataset),
            "processes": self.state.num_processes if self.streams else None,  # which put the rows where they are
        }  # fmt: skip

    def prepare(self) -> None:
        """Makes the folder of what is unfinished.

        Raises:
            ValueError: if there is something unfinished of another cache, unless it is to be overwritten.
            FileExistsError: if there is something that is no cache.
        """
        found = self._begun()
        same = all(found.get(name) == value for name, value in self.plan.items() if name not in FREE)
        if same:  # begun, perhaps, by another number of processes
            self.shard_rows = self.plan["shard_rows"] = found["shard_rows"]
        if same and found["processes"] != self.plan["processes"]:
            raise ValueError(
                f"{self.partial} was begun by {found['processes']} processes, but this run has "
                f"{self.state.num_processes}: go on with {found['processes']}, or delete it."
            )
        if found and not same and not self.overwrite:
            raise ValueError(
                f"{self.partial} holds what was begun of another cache: ask for that one to go on with it, or pass "
                "`overwrite=True` (`--overwrite`) to begin anew in its place."
            )
        self.state.wait_for_everyone()  # all have looked before anything changes
        if self.state.is_main_process:
            if not same:
                remove_files(self.partial, own_files(self.partial))
            unknown = same or self.streams or None in self.spec.shape
            check_output_folder(self.partial, 0 if unknown else self.row_bytes * len(self.dataset))
            remove_files(self.partial, [name for name in own_files(self.partial) if name.endswith(".tmp")])
            self.partial.mkdir(exist_ok=True)
            self._write_plan(self.plan)
        self.state.wait_for_everyone()

    def _begun(self) -> dict[str, Any]:
        """The plan of what is unfinished, empty where nothing is."""
        if self.partial.is_symlink():
            raise FileExistsError(f"{self.partial} is a link, which is not written through: move it away.")
        found = read_json(self.partial / PLAN) or read_json(self.partial / DESCRIPTION) or {}
        begun = isinstance(found.get("shard_rows"), int) and "fingerprint" in found and "processes" in found
        others = sorted(path.name for path in self.partial.glob("*") if path.name != f"{PLAN}.tmp")
        if others and not begun:
            raise FileExistsError(
                f"{self.partial} holds {others[0]}, which is of no cache that was begun: move it away, or give another "
                "folder."
            )
        return found

    def _write_plan(self, plan: dict[str, Any]) -> None:
        scratch = self.partial / f"{PLAN}.tmp"
        scratch.unlink(missing_ok=True)  # a link would be written through
        scratch.write_text(json.dumps(plan, indent=2), encoding="utf-8")
        os.replace(scratch, self.partial / PLAN)

    def shard(self, number: int) -> Path:
        process = f"{self.state.process_index:05d}-" if self.streams else ""
        return self.partial / f"shard-{process}{number:05d}.arrow"

    def shards(self) -> Iterator[tuple[Path, range]]:
        """The rows of each shard of this process, where the dataset says how many there are."""
        count = len(self.dataset)
        for number in range(self.state.process_index, math.ceil(count / self.shard_rows), self.state.num_processes):
            start = number * self.shard_rows
            yield self.shard(number), range(start, min(start + self.shard_rows, count))

    @property
    def total(self) -> int | None:
        return None if self.streams else sum(len(rows) for _, rows in self.shards())

    def finished_shards(self) -> dict[Path, int]:
        """The shards of this process that are there, and how many rows they hold."""
        if not self.streams:
            return {path: len(rows) for path, rows in self.shards() if count_rows(path) == len(rows)}
        counted = ((path, count_rows(path)) for path in map(self.shard, itertools.count()))
        return dict(itertools.takewhile(lambda pair: pair[1] is not None, counted))

    def schema(self):
        """The `pyarrow.Schema` of a shard, in which `datasets` finds the features."""
        from datasets import Features, List, Value

        kept = {column: self.dataset.features[column] for column in self.columns}
        length = -1 if None in self.spec.shape else fixed_size(self.spec)
        return Features({COLUMN: List(Value(storage_type(self.spec)), length=length), **kept}).arrow_schema

    def finish(self) -> None:
        """Waits for every process, then gives the folder its description and its name."""
        self.state.wait_for_everyone()
        if self.state.is_main_process:
            paths = [path for path in self.partial.iterdir() if re.fullmatch(SHARD, path.name)]
            paths.sort(key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])
            shards = {path.name: count_rows(path) for path in paths}
            if not sum(shards.values()):
                raise ValueError("`dataset` has no examples.")
            if not self.streams and sum(shards.values()) != len(self.dataset):
                raise ValueError(
                    f"{self.partial} has {sum(shards.values())} of {len(self.dataset)} rows: the processes did not "
                    "have the same dataset. A transform that `datasets` cannot hash is another in every process."
                )
            self._write_plan({**self.plan, "shards": shards})
            os.replace(self.partial / PLAN, self.partial / DESCRIPTION)
            take_place(self.partial, self.folder, own_files(self.folder))
        self.state.wait_for_everyone()


def partial_of(folder: Path) -> Path:
    """Where a cache is until it is whole."""
    return folder.with_name(f".{folder.name}.partial")


def descriptions_in(*folders: Path) -> list[dict[str, Any]]:
    """What caches in these folders, whole or begun, say of themselves."""
    found = [read_json(folder / name) for folder in folders for name in (DESCRIPTION, PLAN) if folder.is_dir()]
    return [each for each in found if each and isinstance(each.get("fingerprint"), dict)]


def own_files(folder: Path) -> list[str]:
    """The files of a cache, whole or begun, by their names; nothing else that is there."""
    return sorted(path.name for path in folder.glob("*") if re.fullmatch(OWN, path.name))


def dataset_batches(job: CacheWriter, done: dict[Path, int]) -> Iterator[tuple]:
    """The shard, the rows, what `read` made of them, and a `pyarrow.Table` of the columns to keep."""
    left = (rows for path, rows in job.shards() if path not in done)
    loader = torch.utils.data.DataLoader(
        _Reader(job.dataset, job.inputs, job.columns, job.read),
        batch_size=None,
        sampler=(rows[i : i + job.batch_size] for rows in left for i in range(0, len(rows), job.batch_size)),
        num_workers=job.num_workers,
        collate_fn=as_it_is,
        generator=torch.Generator(),  # else it draws from the global one
    )
    for rows, batch, kept in loader:
        with naming(rows):
            if isinstance(batch, _Failed):  # raised here: a loader whose worker raised would take seconds to stop
                raise batch.error
        yield job.shard(rows.start // job.shard_rows), rows, batch, kept


@dataclasses.dataclass
class _Failed:
    error: Exception


class _Reader(torch.utils.data.Dataset):
    """Reads rows of a dataset; maps its files again now and then, as what was read of them counts as memory in use."""

    def __init__(self, dataset, inputs: Sequence[str] | None, columns: Sequence[str], read: Callable):
        self.inputs, self.columns, self.read = inputs or dataset.column_names, columns, read
        self.most = max(1024, len(dataset) // 256)  # mapping takes longer the more there is
        self._use(dataset)

    def _use(self, dataset) -> None:
        self.dataset, self.count = dataset, 0
        self.examples = dataset.select_columns(list(self.inputs))
        self.kept = dataset.select_columns(list(self.columns)).with_format("arrow")

    def __getitem__(self, rows: range) -> tuple[range, Any, Any]:
        if self.count >= self.most and self.dataset.cache_files:
            plain = pickle.dumps(self.dataset.with_format(None))  # a format may hold what cannot be pickled
            self._use(pickle.loads(plain).with_format(**self.dataset.format))
        self.count += len(rows)
        kept = self.kept[rows.start : rows.stop].take(np.arange(len(rows))) if self.columns else None  # not mapped
        try:
            return rows, self.read(self.examples[rows.start : rows.stop]), kept
        except (TypeError, ValueError) as error:
            if torch.utils.data.get_worker_info() and type(error) not in (TypeError, ValueError):
                error = ValueError(str(error))  # what cannot be pickled would never arrive
            return rows, _Failed(error), None


def as_it_is(batch):
    return batch


def stream_batches(job: CacheWriter, done: dict[Path, int]) -> Iterator[tuple]:
    """As `dataset_batches`, of the examples of a stream after those that are in finished shards."""
    from datasets import Dataset, Features
    from datasets.distributed import split_dataset_by_node

    features, stream = job.dataset.features, job.dataset
    if job.columns:
        stream = stream.decode(False)  # what is kept must not be decoded and encoded again
    part = split_dataset_by_node(stream, job.state.process_index, job.state.num_processes)
    row = sum(done.values())
    examples = itertools.islice(part, row, None)  # `skip` would skip before the split where it deals out examples
    for path in map(job.shard, itertools.count(len(done))):
        for begun in range(0, job.shard_rows, job.batch_size):
            found = list(itertools.islice(examples, min(job.batch_size, job.shard_rows - begun)))
            if not found:
                return
            rows = range(row, row + len(found))
            batch = {name: [example[name] for example in found] for name in found[0]}
            table = None
            if job.columns:
                kept = {column: batch[column] for column in job.columns}
                table = Dataset.from_dict(kept, features=Features({c: features[c] for c in kept})).data.table
                batch = features.decode_batch(batch)
            with naming(rows):
                inputs = job.read({name: batch[name] for name in job.inputs or batch})
            yield path, rows, inputs, table
            row = rows.stop


@contextlib.contextmanager
def naming(rows: range) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ValueError(f"examples {rows.start} to {rows.stop - 1}: {error}") from error


def real_values(representation: Representation, spec: RepresentationSpec, rows: range) -> tuple[np.ndarray, np.ndarray]:
    """What is not padding, all examples concatenated, and how many values each has."""
    values, codes = representation.values, spec.num_codes
    found = RepresentationSpec(tuple(values.shape[1:]), codes, spec.num_codebooks)
    if len(values) != len(rows) or not spec.fits(found) or values.is_floating_point() != (codes is None):
        raise ValueError(f"Y′ must be {len(rows)} times {spec}, got {values.dtype} of shape {tuple(values.shape)}.")
    values = (values.float() if codes is None else values).cpu().numpy()
    real = [row.reshape(-1) for row in _trimmed(values, representation.mask, spec, rows)]
    flat, sizes = np.concatenate(real), np.array([row.size for row in real])
    bad = ~np.isfinite(flat) if codes is None else (flat < 0) | (flat >= codes)
    if bad.any():
        first = int(bad.argmax())
        row = rows[int(np.searchsorted(np.cumsum(sizes), first, side="right"))]
        wanted = "finite" if codes is None else f"codes in [0, {codes})"
        raise ValueError(f"Y′ of example {row} must be {wanted}, got {flat[first]}.")
    return flat.astype(storage_type(spec), copy=False), sizes


def _trimmed(
    values: np.ndarray, mask: torch.Tensor | None, spec: RepresentationSpec, rows: range
) -> Iterable[np.ndarray]:
    """Each row without its padding."""
    if mask is None:
        return values
    if None not in spec.shape:
        if not mask.all():
            raise ValueError(f"the mask of Y′ says that some of it is padding, but all of it must be {spec}.")
        return values
    varies = spec.shape.index(None)
    size = values.shape[1 + varies]
    if tuple(mask.shape) != (len(values), size):
        raise ValueError(f"the mask of Y′ must have the shape {(len(values), size)}, got {tuple(mask.shape)}.")
    mask = mask.bool().cpu().numpy()
    lengths = mask.sum(1)
    holes = (mask != (np.arange(size) < lengths[:, None])).any(1)
    if holes.any():
        raise ValueError(f"the mask of Y′ of example {rows[int(holes.argmax())]} is false before it is true.")
    return [row[(slice(None),) * varies + (slice(n),)] for row, n in zip(values, lengths, strict=True)]


class ShardFile:
    """One file of rows, which gets its name once it is whole."""

    def __init__(self, path: Path, schema):
        import pyarrow

        self.arrow, self.path, self.schema = pyarrow, path, schema
        self.scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # another run may be at the same shard
        self.waiting, self.bytes = [], 0

    def __enter__(self) -> "ShardFile":
        self.scratch.unlink(missing_ok=True)  # a link would be written through
        self.file = open(self.scratch, "wb")
        self.stream = self.arrow.ipc.new_stream(self.file, self.schema)
        return self

    def add(self, flat: np.ndarray, sizes: np.ndarray, kept) -> None:
        kind, values = self.schema.field(COLUMN).type, self.arrow.array(flat)
        if self.arrow.types.is_fixed_size_list(kind):
            lists = self.arrow.FixedSizeListArray.from_arrays(values, type=kind)
        else:
            offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
            lists = self.arrow.ListArray.from_arrays(offsets, values, type=kind)
        columns = [] if kept is None else kept.columns
        self.waiting.append(self.arrow.Table.from_arrays([lists, *columns], schema=self.schema))
        self.bytes += self.waiting[-1].nbytes
        if self.bytes >= CHUNK_BYTES:
            self._flush()

    def _flush(self) -> None:
        self.stream.write_table(self.arrow.concat_tables(self.waiting).combine_chunks())
        self.waiting, self.bytes = [], 0

    def __exit__(self, *error) -> None:
        try:
            if error[0] is None:
                self._finish()
        finally:
            self.file.close()
            self.scratch.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self.waiting:
            self._flush()
        self.stream.close()
        self.file.flush()
        os.fsync(self.file.fileno())
        os.replace(self.scratch, self.path)
