"""Y′ of a whole dataset, made once."""

import contextlib
import functools
import itertools
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from ..modalities import Modality
from ..parts.contracts import PreTrainedExtractor
from ..parts.outputs import Representation, RepresentationSpec
from ..runtime.data_checks import check_columns
from ..runtime.files import check_output_folder, disk_errors_told, only_writer
from ..runtime.processes import processes
from .fingerprints import column_facts, fingerprint
from .layout import COLUMN, DESCRIPTION, OTHERWISE, read_json
from .representations import RepresentationCache
from .shards import (
    CacheWriter,
    ShardFile,
    as_it_is,
    dataset_batches,
    descriptions_in,
    naming,
    partial_of,
    real_values,
    stream_batches,
)


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
    overwrite: bool = False,
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
        overwrite: as [`write_cache`] takes it.
    """

    def encode(batch: dict[str, torch.Tensor]) -> Representation:
        return extractor.encode(**{name: tensor.to(extractor.device) for name, tensor in batch.items()})

    place = Path(os.path.realpath(folder))
    facts, known = column_facts(dataset, column), descriptions_in(place, partial_of(place))
    parts = fingerprint(extractor, modality, dataset, column, known)
    read = functools.partial(_as_target, modality, column)
    training = [module for module in extractor.modules() if module.training]
    extractor.eval()
    try:
        return write_cache(
            folder, modality.prepare_column(dataset, column), encode, extractor.config.representation_spec, parts,
            read=read, inputs=[column], columns=columns, batch_size=batch_size, num_workers=num_workers, facts=facts,
            overwrite=overwrite,
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
    facts: str | None = None,
    overwrite: bool = False,
    desc: str = "extract",
) -> RepresentationCache:
    """Writes what `encode` makes of a dataset, in bounded memory, shared among the processes of the run.

    What was begun is in the folder `.<name>.partial` beside `folder`, and the next call goes on with it; `folder` is
    there once everything is in it. Of a stream, the cache holds the examples of the first process, then those of the
    second, as `datasets.distributed.split_dataset_by_node` deals them out; only as many processes can go on with it.

    Args:
        folder: the cache, where every process sees it; one of the same `parts` that is there is read.
        dataset: a `datasets.Dataset` or `IterableDataset`.
        encode: makes a [`Representation`] of what `read` gave. Its mask `(batch, size)` says how much of the varying
            size is real.
        spec: what `encode` gives; one size at most may vary.
        parts: what the cache depends on, as digests by name.
        read: makes what `encode` takes of the columns `inputs`, each a list; by default it takes them as they are.
        inputs: all columns if `None`.
        columns: what to keep of each example in the cache's `dataset`.
        batch_size: how many examples are read and encoded at once.
        num_workers: how many processes call `read`; 0 for this one.
        facts: what is recorded of the data beside `parts`, to know it again without reading it.
        overwrite: write anew where there is a cache of something else, finished or begun. It is there until the new one
            is whole, and then its own files are replaced, and nothing else.
        desc: what the progress bar says.

    Raises:
        ValueError: if `folder` was made from other `parts`; for a Y′ that is not as `spec` says, that is NaN or
            infinite, or a code that is not in its range; for examples that cannot be read or encoded.
        FileExistsError: if `folder` holds something that is no cache.
        OSError: if another process writes to `folder`, or its disk is full, after which the same call goes on.

    Example:
        >>> from datasets import Dataset
        >>> from tempfile import mkdtemp
        >>> data, spec = Dataset.from_dict({"i": [0, 1, 2]}), RepresentationSpec((1,), num_codes=3)
        >>> def encode(batch):
        ...     return Representation(values=torch.tensor(batch["i"]).view(-1, 1))
        >>> write_cache(mkdtemp(), data, encode, spec, {"data": "the first three"})[[2, 0]].values.tolist()
        [[2], [0]]
    """
    from accelerate.utils import gather_object

    folder = Path(os.path.realpath(folder))
    _check_request(dataset, spec, inputs, columns, batch_size, num_workers)
    state, finished = processes(), _finished_cache(folder, spec, parts, columns, overwrite)
    if all(gather_object([finished is not None])):
        return finished
    job = CacheWriter(
        folder,
        dataset,
        spec,
        parts,
        read or as_it_is,
        inputs,
        tuple(columns),
        batch_size,
        num_workers,
        facts,
        overwrite,
    )
    with _alone(folder):
        state.wait_for_everyone()  # until the first of them is alone
        finished = _finished_cache(folder, spec, parts, columns, overwrite)  # of whom it may have waited for
        if finished is None:
            job.prepare()
            _write_shards(job, encode, desc)
            job.finish()
    return RepresentationCache(folder) if finished is None else finished


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other runs from writing the cache, and says what to do where its disk is full."""
    if not processes().is_main_process:
        yield
        return
    told = f"make room, and the same call or command goes on with what is in {partial_of(folder)}"
    check_output_folder(folder.parent)
    with disk_errors_told(folder, told), only_writer(folder.with_name(f".{folder.name}.lock"), folder):
        yield


def _write_shards(job: CacheWriter, encode: Callable[[Any], Representation], desc: str) -> None:
    """Writes the shards of this process that are not there yet."""
    done, schema = job.finished_shards(), job.schema()
    bar = tqdm(
        total=job.total, initial=sum(done.values()), desc=desc, unit="example", disable=not job.state.is_main_process
    )
    batches = stream_batches(job, done) if job.streams else dataset_batches(job, done)
    with bar, contextlib.closing(batches):
        for path, group in itertools.groupby(batches, key=operator.itemgetter(0)):
            with ShardFile(path, schema) as shard:
                for _, rows, batch, kept in group:
                    with naming(rows):
                        flat, sizes = real_values(encode(batch), job.spec, rows)
                    shard.add(flat, sizes, kept)
                    bar.update(len(rows))


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
    if dataset.column_names is not None:  # else it is a stream, of which no example is read before its turn
        check_columns(dataset, (*columns, *(inputs or ())))


def _finished_cache(
    folder: Path, spec: RepresentationSpec, parts: dict[str, str], columns: Sequence[str], overwrite: bool
) -> RepresentationCache | None:
    """The cache that is there, `None` if there is none or another that is to be overwritten."""
    try:
        if "shards" not in (read_json(folder / DESCRIPTION) or {}):
            if folder.exists() and any(folder.iterdir()):
                raise FileExistsError(f"`folder` {folder} holds something that is no cache: give another folder.")
            return None
        cache = RepresentationCache(folder)
        cache.check(parts)
        for column in columns:
            if column not in cache.dataset.column_names:
                raise ValueError(f"the cache in {folder} kept no column {column!r}: {OTHERWISE}")
        if cache.spec != spec:
            raise ValueError(f"the cache in {folder} holds {cache.spec}, not {spec}: {OTHERWISE}")
    except ValueError:
        if not overwrite:
            raise
        return None
    return cache
