"""Y′ extracted once, kept on disk, read fast."""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import math
import operator
import os
import pickle
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from .contracts import PreTrainedExtractor
from .files import check_output_folder
from .modalities import Modality
from .outputs import Representation, RepresentationSpec

COLUMN, DESCRIPTION, PLAN = "representation", "representations.json", "plan.json"
SHARD_ROWS, SHARD_BYTES = 4096, 2**28  # what an interruption can lose
CHUNK_BYTES = 2**24  # what is held in memory before it is written
VARYING_SIZE = 1024  # what a size that varies counts for


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
        self.spec = RepresentationSpec(tuple(description["shape"]), description["num_codes"])
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
        flat = np.empty((len(found), math.prod(self.spec.shape)), _storage(self.spec))
        for i, row in enumerate(found):
            flat[i] = row
        return torch.from_numpy(flat).view(-1, *self.spec.shape)

    def _padded(self, found: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        shape = list(self.spec.shape)
        varies = shape.index(None)
        lengths = np.array([len(row) for row in found], dtype=np.int64) // _fixed_size(self.spec)
        shape[varies] = int(lengths.max(initial=0))
        values = np.zeros((len(found), *shape), _storage(self.spec))
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
        return sizes.astype(np.int64) // _fixed_size(self.spec)

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


def _fixed_size(spec: RepresentationSpec) -> int:
    return math.prod(size for size in spec.shape if size is not None)


def _storage(spec: RepresentationSpec) -> str:
    if spec.num_codes is None:
        return "float32"
    return next(kind for kind, bits in (("int16", 15), ("int32", 31), ("int64", 63)) if spec.num_codes <= 2**bits)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _description(path: Path, place: str | os.PathLike) -> dict[str, Any]:
    description = _read_json(path) or {}
    if "shards" not in description:
        raise FileNotFoundError(f"{place} holds no finished cache of representations.")
    return description


def _open_shards(folder: Path, shards: dict[str, int]):
    from datasets import Dataset, concatenate_datasets

    for name, rows in shards.items():
        if (found := _count_rows(folder / name)) != rows:
            problem = "cannot be read" if found is None else f"has {found} rows instead of {rows}"
            raise ValueError(f"the cache in {folder} is damaged: {name} {problem}; delete the cache to extract again.")
    return concatenate_datasets([Dataset.from_file(str(folder / name)) for name in shards])


def _count_rows(path: Path) -> int | None:
    """How many rows a shard holds, or `None` where there is no whole shard."""
    import pyarrow

    try:
        with pyarrow.memory_map(str(path)) as file:
            return sum(batch.num_rows for batch in pyarrow.ipc.open_stream(file))
    except (OSError, pyarrow.ArrowInvalid):
        return None


def fingerprint(extractor: PreTrainedExtractor, modality: Modality, dataset, column: str) -> dict[str, str]:
    """What the Y′ of a dataset depends on: the extractor's weights and configuration, the preprocessing, the data.

    A stream can tell only its name, configuration, version, splits, number of files and first example. A change that
    leaves these as they were, such as other examples further on or another `map` or `filter`, is not seen.
    """
    weights = hashlib.sha256()
    for name, tensor in sorted(extractor.state_dict().items()):
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    described = extractor.config.to_dict()
    for name in ("_name_or_path", "transformers_version", "dtype"):
        described.pop(name, None)
    text = {"configuration": described, "preprocessing": {type(modality).__name__: modality.to_dict()}}
    parts = {k: hashlib.sha256(json.dumps(v, sort_keys=True, default=str).encode()) for k, v in text.items()}
    data = f"{dataset._fingerprint} {column}" if hasattr(dataset, "_fingerprint") else _stream_text(dataset, column)
    parts |= {"weights": weights, "data": hashlib.sha256(data.encode())}
    return {name: digest.hexdigest() for name, digest in sorted(parts.items())}


def _stream_text(dataset, column: str) -> str:
    from datasets.fingerprint import Hasher

    info = dataset.info
    splits = {name: split.num_examples for name, split in (info.splits or {}).items()}
    told = [info.builder_name, info.dataset_name, info.config_name, str(info.version), splits, str(dataset.split)]
    raw = dataset.decode(False) if dataset.features else dataset
    return json.dumps([*told, dataset.num_shards, column, Hasher.hash(next(iter(raw), None))])


def cache_name(parts: dict[str, str]) -> str:
    """16 hex digits that stand for `parts`: a name for the folder of a cache."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def extract(
    extractor: PreTrainedExtractor,
    modality: Modality,
    dataset,
    column: str,
    folder: str | os.PathLike,
    *,
    columns: Sequence[str] = (),
    batch_size: int = 64,
    num_workers: int = 0,
) -> RepresentationCache:
    """Encodes every Y of a dataset once, on `extractor.device`, and keeps the result; see [`write_cache`].

    Args:
        extractor: makes Y′.
        modality: how Y becomes a tensor.
        dataset: a `datasets.Dataset` or `IterableDataset` with the targets in `column`.
        folder: the cache; one of the same [`fingerprint`] that is there is read.
        columns: what to keep of each example beside its Y′.
        batch_size: how many examples are encoded at once.
        num_workers: how many processes read and preprocess.
    """

    def encode(batch: dict[str, torch.Tensor]) -> Representation:
        return extractor.encode(**{name: tensor.to(extractor.device) for name, tensor in batch.items()})

    parts = fingerprint(extractor, modality, dataset, column)
    read = functools.partial(_as_target, modality, column)
    training = [module for module in extractor.modules() if module.training]
    extractor.eval()
    try:
        return write_cache(
            folder, dataset, encode, extractor.config.representation_spec, parts,
            read=read, inputs=[column], columns=columns, batch_size=batch_size, num_workers=num_workers,
        )  # fmt: skip
    finally:
        for module in training:
            module.training = True


def _as_target(modality: Modality, column: str, batch: dict[str, list]) -> dict[str, torch.Tensor]:
    return modality.as_target(batch[column])


@torch.no_grad()
def write_cache(
    folder: str | os.PathLike,
    dataset,
    encode: Callable[[Any], Representation],
    spec: RepresentationSpec,
    parts: dict[str, str],
    *,
    read: Callable[[dict[str, list]], Any] | None = None,
    inputs: Sequence[str] | None = None,
    columns: Sequence[str] = (),
    batch_size: int = 64,
    num_workers: int = 0,
    desc: str = "extract",
) -> RepresentationCache:
    """Writes what `encode` makes of a dataset, in bounded memory, shared among the processes of the run.

    What was begun is in the folder `.<name>.partial` beside `folder`, and the next call goes on with it; `folder` is
    there once everything is in it. Of a stream, the cache holds the examples of the first process, then those of the
    second, as `datasets.distributed.split_dataset_by_node` deals them out.

    Args:
        folder: the cache; one of the same `parts` that is there is read.
        dataset: a `datasets.Dataset` or `IterableDataset`.
        encode: makes a [`Representation`] of what `read` gave. Its mask `(batch, size)` says how much of the varying
            size is real.
        spec: what `encode` gives; one size at most may vary.
        parts: what the cache depends on, as digests by name.
        read: makes what `encode` takes from columns of some examples, `num_workers` processes at a time.
        inputs: the columns that `read` takes; all if `None`.
        columns: what to keep of each example in the cache's `dataset`.
        batch_size: how many examples are encoded at once.
        desc: what the progress bar says.

    Raises:
        ValueError: if `folder` was made from other `parts`; for a Y′ that is not as `spec` says, that is NaN or
            infinite, or a code that is not in its range; for examples that cannot be read or encoded.
        FileExistsError: if `folder` holds something else.
    """
    folder = Path(os.path.abspath(folder))
    _check_request(dataset, spec, inputs, columns, batch_size, num_workers)
    if (finished := _finished_cache(folder, spec, parts, columns)) is not None:
        return finished
    job = _Job(folder, dataset, spec, parts, read or _as_it_is, inputs, tuple(columns), batch_size, num_workers)
    job.prepare()
    done, schema = job.finished_shards(), job.schema()
    bar = tqdm(
        total=job.total, initial=sum(done.values()), desc=desc, unit="example", disable=not job.state.is_main_process
    )
    batches = _stream_batches(job, done) if job.streams else _dataset_batches(job, done)
    with bar, contextlib.closing(batches):
        for path, group in itertools.groupby(batches, key=operator.itemgetter(0)):
            with _Shard(path, schema) as shard:
                for _, rows, batch, kept in group:
                    with _naming(rows):
                        flat, sizes = _real_values(encode(batch), spec, rows)
                    shard.add(flat, sizes, kept)
                    bar.update(len(rows))
    job.finish()
    return RepresentationCache(folder)


def _check_request(dataset, spec: RepresentationSpec, inputs, columns, batch_size: int, num_workers: int) -> None:
    from datasets import Dataset, IterableDataset

    if not isinstance(dataset, Dataset | IterableDataset):
        raise TypeError(f"`dataset` must be a datasets.Dataset or IterableDataset, got {type(dataset).__name__}.")
    if isinstance(dataset, Dataset) and not len(dataset):
        raise ValueError("`dataset` has no examples.")
    if isinstance(dataset, IterableDataset) and num_workers:
        raise ValueError(f"`num_workers` must be 0 for a stream, which this process reads itself; got {num_workers}.")
    if isinstance(dataset, IterableDataset) and columns and dataset.features is None:
        raise ValueError("`columns` must be () for a stream without features; `dataset.cast` gives it some.")
    if spec.shape.count(None) > 1:
        raise ValueError(f"`spec` may have one size that varies, got {spec}.")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
    if COLUMN in columns:
        raise ValueError(f"`columns` may not have {COLUMN!r}, which is where Y′ goes: rename it.")
    for column in (*columns, *(inputs or ())) if dataset.column_names is not None else ():
        if column not in dataset.column_names:
            found = ", ".join(dataset.column_names)
            raise ValueError(f"the dataset has no column {column!r}; its columns are {found}.")


def _finished_cache(
    folder: Path, spec: RepresentationSpec, parts: dict[str, str], columns: Sequence[str]
) -> RepresentationCache | None:
    if "shards" not in (_read_json(folder / DESCRIPTION) or {}):
        if folder.exists() and any(folder.iterdir()):
            raise FileExistsError(f"`folder` {folder} holds something that is no cache: give another folder.")
        return None
    cache = RepresentationCache(folder)
    cache.check(parts)
    for column in columns:
        if column not in cache.dataset.column_names:
            raise ValueError(f"the cache in {folder} kept no column {column!r}: delete it, or give another folder.")
    if cache.spec != spec:
        raise ValueError(f"the cache in {folder} holds {cache.spec}, not {spec}: delete it, or give another folder.")
    return cache


@dataclasses.dataclass
class _Job:
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

    def __post_init__(self):
        from accelerate import PartialState
        from accelerate.utils import parse_flag_from_env

        self.state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))  # as Accelerator makes it
        self.partial = self.folder.with_name(f".{self.folder.name}.partial")
        self.streams = not hasattr(self.dataset, "__len__")
        self.row_bytes = np.dtype(_storage(self.spec)).itemsize * math.prod(n or VARYING_SIZE for n in self.spec.shape)
        self.shard_rows = max(1, min(SHARD_ROWS, SHARD_BYTES // self.row_bytes))
        self.plan = {
            "shape": list(self.spec.shape), "num_codes": self.spec.num_codes, "fingerprint": self.parts,
            "columns": list(self.columns), "shard_rows": self.shard_rows,
            "rows": None if self.streams else len(self.dataset),
            "processes": self.state.num_processes if self.streams else None,  # which put the rows where they are
        }  # fmt: skip

    def prepare(self) -> None:
        """Makes the folder of what is unfinished, and throws away what is unfinished of something else."""
        found = _read_json(self.partial / PLAN) or _read_json(self.partial / DESCRIPTION) or {}
        same = all(found.get(name) == value for name, value in self.plan.items() if name != "processes")
        if same and found["processes"] != self.plan["processes"]:
            raise ValueError(
                f"{self.partial} was begun by {found['processes']} processes, but this run has "
                f"{self.state.num_processes}: go on with {found['processes']}, or delete it."
            )
        self.state.wait_for_everyone()  # all have looked before anything changes
        if self.state.is_main_process:
            if not same:
                shutil.rmtree(self.partial, ignore_errors=True)
            check_output_folder(self.partial, 0 if self.streams or same else self.row_bytes * len(self.dataset))
            for left in self.partial.glob("*.tmp"):
                left.unlink()
            self._write_plan(self.plan)
        self.state.wait_for_everyone()

    def _write_plan(self, plan: dict[str, Any]) -> None:
        scratch = self.partial / f"{PLAN}.tmp"
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
            return {path: len(rows) for path, rows in self.shards() if _count_rows(path) == len(rows)}
        counted = ((path, _count_rows(path)) for path in map(self.shard, itertools.count()))
        return dict(itertools.takewhile(lambda pair: pair[1] is not None, counted))

    def schema(self):
        """The `pyarrow.Schema` of a shard, in which `datasets` finds the features."""
        from datasets import Features, List, Value

        kept = {column: self.dataset.features[column] for column in self.columns}
        length = -1 if None in self.spec.shape else _fixed_size(self.spec)
        return Features({COLUMN: List(Value(_storage(self.spec)), length=length), **kept}).arrow_schema

    def finish(self) -> None:
        """Waits for every process, then gives the folder its description and its name."""
        self.state.wait_for_everyone()
        if self.state.is_main_process:
            paths = sorted(self.partial.glob("shard-*.arrow"), key=lambda p: [int(n) for n in p.stem.split("-")[1:]])
            shards = {path.name: _count_rows(path) for path in paths}
            if not sum(shards.values()):
                raise ValueError("`dataset` has no examples.")
            self._write_plan({**self.plan, "shards": shards})
            os.replace(self.partial / PLAN, self.partial / DESCRIPTION)
            os.replace(self.partial, self.folder)
        self.state.wait_for_everyone()


def _dataset_batches(job: _Job, done: dict[Path, int]) -> Iterator[tuple]:
    """The shard, the rows, what `read` made of them, and a `pyarrow.Table` of the columns to keep."""
    left = (rows for path, rows in job.shards() if path not in done)
    inputs = job.dataset.column_names if job.inputs is None else list(job.inputs)
    loader = torch.utils.data.DataLoader(
        _Reader(_Mapped(job.dataset.select_columns(inputs)), job.read),
        batch_size=None,
        sampler=(rows[i : i + job.batch_size] for rows in left for i in range(0, len(rows), job.batch_size)),
        num_workers=job.num_workers,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # else it draws from the global one
    )
    kept = _Mapped(job.dataset.select_columns(list(job.columns)).with_format("arrow"))
    for rows, batch, error in loader:
        with _naming(rows):
            if error is not None:  # raised here, as a loader whose worker raised would take seconds to stop
                raise error
        table = kept[rows].take(np.arange(len(rows))) if job.columns else None  # a copy, which holds no mapping
        yield job.shard(rows.start // job.shard_rows), rows, batch, table


class _Mapped:
    """Rows of a dataset, whose files are mapped again now and then: what was read of them counts as memory in use."""

    def __init__(self, dataset):
        self.dataset, self.count = dataset, 0
        self.most = max(1024, len(dataset) // 256)  # mapping takes longer the more there is

    def __getitem__(self, rows: range):
        if self.count >= self.most and self.dataset.cache_files:
            format, plain = self.dataset.format, self.dataset.with_format(None)
            self.dataset, self.count = pickle.loads(pickle.dumps(plain)).with_format(**format), 0
        self.count += len(rows)
        return self.dataset[rows.start : rows.stop]


class _Reader(torch.utils.data.Dataset):
    def __init__(self, examples: _Mapped, read: Callable[[dict[str, list]], Any]):
        self.examples, self.read = examples, read

    def __getitem__(self, rows: range) -> tuple[range, Any, Exception | None]:
        try:
            return rows, self.read(self.examples[rows]), None
        except (TypeError, ValueError) as error:
            if torch.utils.data.get_worker_info() and type(error) not in (TypeError, ValueError):
                return rows, None, ValueError(str(error))  # what cannot be pickled would never arrive
            return rows, None, error


def _as_it_is(batch):
    return batch


def _stream_batches(job: _Job, done: dict[Path, int]) -> Iterator[tuple]:
    """As `_dataset_batches`, of the examples of a stream after those that are in finished shards."""
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
            with _naming(rows):
                inputs = job.read({name: batch[name] for name in job.inputs or batch})
            yield path, rows, inputs, table
            row = rows.stop


@contextlib.contextmanager
def _naming(rows: range) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ValueError(f"examples {rows.start} to {rows.stop - 1}: {error}") from error


def _real_values(
    representation: Representation, spec: RepresentationSpec, rows: range
) -> tuple[np.ndarray, np.ndarray]:
    """What is not padding, one example after the other, and how many values each has."""
    values, codes = representation.values, spec.num_codes
    found = RepresentationSpec(tuple(values.shape[1:]), codes)
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
    return flat.astype(_storage(spec), copy=False), sizes


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


class _Shard:
    """One file of rows, which gets its name once it is whole."""

    def __init__(self, path: Path, schema):
        import pyarrow

        self.arrow, self.path, self.schema = pyarrow, path, schema
        self.scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # another run may be at the same shard
        self.waiting, self.bytes = [], 0

    def __enter__(self) -> "_Shard":
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
        if error[0] is None and self.waiting:
            self._flush()
        self.stream.close()
        os.fsync(self.file.fileno())
        self.file.close()
        if error[0] is None:
            os.replace(self.scratch, self.path)
        else:
            self.scratch.unlink()
