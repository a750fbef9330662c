"""What the rows of a dataset and the files behind them hold, and by what it is seen that they have not changed."""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np

from ..modalities.readers.columns import users_transform

ROWS = 1000  # that are read at once
NO_FILES = ("/proc/", "/sys/", "/dev/")  # what the system shows as files, which need not end
_READ: dict[str, str] = {}
"""The contents of what was read in this process, by its facts."""

PATH = re.compile(r"(?s)(.*[/\\].*|[^\n]*\.\w{1,5})")  # what a text must look like to be looked for as a file


def data_facts(dataset, columns: Collection[str] | None = None) -> str:
    """A digest of what can be told of a dataset without reading it.

    That is what `datasets` calls its fingerprint, and size, times and place on the disk of each file behind it. While
    they are the same, the contents are. When they differ, the contents may still be the same: a file may have been
    touched, or moved.

    Args:
        columns: those whose texts may be the paths of files that are read, all if `None`.
    """
    columns = _looked_at(dataset, columns)
    told = hashlib.sha256(reference(dataset).encode())
    for source in () if hasattr(dataset, "_fingerprint") else _sources(dataset):
        told.update((source if isinstance(source, str) else data_facts(source, columns)).encode())
    for path in sorted({*_cache_files(dataset), *_files_behind(dataset, columns)}):
        found = os.stat(path)
        told.update(json.dumps([path, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]).encode())
    return told.hexdigest()


def data_contents(dataset, columns: Collection[str] | None = None) -> str:
    """A digest of the contents of a dataset: its rows in their order, and the files that they, or a stream, refer to.

    Of a stream, the rows are told by its files, or by the datasets that it is made of. Of one from elsewhere, it can
    tell only the addresses of the files and its first example, and of any stream not what a `map` or `filter` makes of
    examples further on.

    Args:
        columns: as [`data_facts`] takes them; the rows are those of all columns.
    """
    columns = _looked_at(dataset, columns)
    if (facts := data_facts(dataset, columns)) not in _READ:
        told = hashlib.sha256()
        if hasattr(dataset, "_fingerprint"):
            _read_rows(dataset, told)
        else:
            told.update(reference(dataset).encode())
            for source in _sources(dataset):
                is_file = isinstance(source, str) and os.path.isfile(source)  # which may be in another folder now
                text = source if isinstance(source, str) else data_contents(source, columns)
                told.update((os.path.basename(source) if is_file else text).encode())
        for path in sorted(set(_files_behind(dataset, columns))):
            told.update(f"{os.path.basename(path)} {os.path.getsize(path)} ".encode())
            _read_file(path, told)
        _READ[facts] = told.hexdigest()
    return _READ[facts]


def reference(dataset) -> str:
    """How `datasets` tells a dataset from others, which is not by the contents of its files.

    A stream tells its name, configuration, version, splits, number of files and first example.
    """
    if hasattr(dataset, "_fingerprint"):
        return dataset._fingerprint
    from datasets.fingerprint import Hasher

    info = dataset.info
    splits = {name: split.num_examples for name, split in (info.splits or {}).items()}
    told = [info.builder_name, info.dataset_name, info.config_name, str(info.version), splits, str(dataset.split)]
    raw = dataset.decode(False) if dataset.features else dataset
    return json.dumps([*told, dataset.num_shards, Hasher.hash(next(iter(raw), None))])


def _read_rows(dataset, told) -> None:
    """Adds to a digest what the rows hold, in whatever way they are stored and cut into pieces."""
    import pyarrow
    from datasets.fingerprint import Hasher

    format = dataset.format
    if format["type"] is not None:  # it may hold a function, by which examples are transformed
        told.update(Hasher.hash([format["type"], format["format_kwargs"]]).encode())
    features = re.sub(r',? ?"decode": (true|false)', "", json.dumps(dataset.features.to_dict(), sort_keys=True))
    told.update(f"{features} {len(dataset)}".encode())
    for batch in dataset.with_format("arrow").iter(ROWS):
        batch = batch.replace_schema_metadata(None)
        step = ROWS if batch.nbytes < 2**30 else 1  # an array holds no more than twice as much
        for start in range(0, len(batch), step):
            rows = np.arange(start, min(start + step, len(batch)))
            sink = pyarrow.BufferOutputStream()
            with pyarrow.ipc.new_stream(sink, batch.schema) as stream:
                stream.write_table(batch.take(rows).combine_chunks())  # `take` leaves nothing of what is around them
            told.update(sink.getvalue())


def _cache_files(dataset) -> list[str]:
    return [os.path.abspath(each["filename"]) for each in getattr(dataset, "cache_files", ())]


def _looked_at(dataset, columns: Collection[str] | None) -> Collection[str] | None:
    """`columns`, or all of them where a function makes what is read, of whatever columns it likes."""
    if hasattr(dataset, "_fingerprint"):
        made = users_transform(dataset) is not None
    else:
        made = any(hasattr(each, "function") for each in _steps(dataset))
    return None if made else columns


def _files_behind(dataset, columns: Collection[str] | None) -> Iterator[str]:
    """The local files that the rows refer to, or that a stream reads."""
    if hasattr(dataset, "_fingerprint"):
        for name in dataset.data.column_names:
            if columns is None or name in columns:
                yield from _existing(path for chunk in dataset.data.column(name).chunks for path in _paths(chunk))
        return
    yield from _existing(source for source in _sources(dataset) if isinstance(source, str))
    if dataset.features is not None:
        dataset = dataset.decode(False)

    def behind(example: dict[str, Any]) -> Iterator[str]:
        return _existing(_named([value for name, value in example.items() if columns is None or name in columns]))

    if any(True for example in dataset.take(1) for _ in behind(example)):  # else they are not read for it
        for example in dataset:
            yield from behind(example)


def _sources(stream) -> list[Any]:
    """What a stream reads: the paths or addresses of files, and datasets."""
    found = [leaf for each in _steps(stream) for leaf in _leaves(getattr(each, "kwargs", {}))]
    return sorted(each for each in found if isinstance(each, str)) + [e for e in found if not isinstance(e, str)]


def _steps(stream) -> Iterator[Any]:
    """What a stream is made of, from its end to what it reads."""
    waiting = [stream._ex_iterable]
    while waiting:
        if (each := waiting.pop()) is not None:
            yield each
            waiting += [getattr(each, "ex_iterable", None), *getattr(each, "ex_iterables", ())]


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, str | os.PathLike):
        return [os.fspath(value)]
    if hasattr(value, "_fingerprint"):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [leaf for each in values for leaf in _leaves(each)]


def _paths(array) -> Iterator[str]:
    """The texts in an Arrow array of whatever kind that may be paths; bytes in it are not read."""
    from pyarrow import types

    if hasattr(array, "storage"):
        array = array.storage
    kind = array.type
    if types.is_struct(kind):
        names = [kind.field(i).name for i in range(kind.num_fields)]
        if {"bytes", "path"} <= set(names):  # as datasets has pictures and sounds: one of both
            array, names = array.filter(array.field("bytes").is_null()), ["path"]
        for name in names:
            yield from _paths(array.field(name))
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        yield from _paths(array.flatten())
    elif types.is_string(kind) or types.is_large_string(kind):
        for start in range(0, len(array), ROWS):
            yield from filter(None, array.slice(start, ROWS).to_pylist())


def _named(value: Any) -> Iterator[str]:
    """The texts in an example that may be paths."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict) and {"bytes", "path"} <= value.keys():
        yield from [value["path"]] if value["bytes"] is None and value["path"] else []
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _named(each)


def _existing(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        name = name.rsplit("::", 1)[-1]  # of something within an archive, the archive
        looks_like_one = len(name) < 4096 and "\0" not in name and PATH.fullmatch(name)
        if looks_like_one and os.path.isfile(name) and not os.path.realpath(name).startswith(NO_FILES):
            yield os.path.abspath(name)


def _read_file(path: str, told) -> None:
    with open(path, "rb") as file:
        while piece := file.read(2**20):
            told.update(piece)
