"""Reading every example once before work starts, so that a bad one is named and nothing is lost to it."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

from tqdm.auto import tqdm

from .processes import processes

AT_ONCE = 16  # a call for each example costs more than reading it, and a few of the largest still fit into memory

FAULTS = (ImportError, MemoryError, NameError, AttributeError, NotImplementedError)
"""Errors that tell of the code or of the machine, whatever the example: to leave that out would hide them."""


def is_stream(dataset) -> bool:
    """Whether a dataset is a `datasets.IterableDataset`, which has no length and is read in order."""
    from datasets import IterableDataset

    return isinstance(dataset, IterableDataset)


def check_columns(dataset, columns: Iterable[str]) -> None:
    """Raises `ValueError` for a column that the dataset does not have, with those that it has."""
    names = dataset.column_names or list(next(iter(dataset), {}))  # a stream may not know its columns
    for column in columns:
        if column not in names:
            raise ValueError(f"the dataset has no column {column!r}; its columns are {', '.join(names)}.")


def readable_examples(dataset, reads: dict[str, Callable[[list[Any]], Any]], on_bad_example: str = "raise"):
    """The dataset without the examples that cannot be read.

    Several processes share the work. A stream is checked while it is read.

    Args:
        reads: for each column what will read it: a function of a list of examples that raises an error if one of them
            is bad. It gets several at once, and where that fails, each by itself.
        on_bad_example: `"raise"` a `ValueError` that names the first bad example, with the error as its cause, or
            `"skip"` and count them. An error of `FAULTS`, which tells of code and not of an example, is raised as it is
            in both cases.
    """
    if on_bad_example not in ("raise", "skip"):
        raise ValueError(f"`on_bad_example` must be 'raise' or 'skip', got {on_bad_example!r}.")
    check_columns(dataset, reads)
    if is_stream(dataset):
        return dataset if on_bad_example == "raise" else dataset.filter(_Readable(reads))
    problems, cause = _problems(dataset, reads, first_only=on_bad_example == "raise")
    if problems and on_bad_example == "raise":
        raise ValueError("example {}{}".format(*problems[0])) from cause
    if len(problems) == len(dataset):
        first = "; ".join("example {}{}".format(*problem) for problem in problems[:1])
        raise ValueError(f"the dataset has no example that can be read; {first or 'it is empty'}") from cause
    if not problems:
        return dataset
    print(
        f"left out {len(problems)} of {len(dataset)} examples that cannot be read; the first is "
        "example {}{}".format(*problems[0])
    )
    bad = {row for row, _ in problems}
    return dataset.select([row for row in range(len(dataset)) if row not in bad])


def _problems(dataset, reads, first_only: bool) -> tuple[list[tuple[int, str]], Exception | None]:
    """The bad rows of all processes, in order, and the error of the first one of this process."""
    from accelerate.utils import gather_object

    state, own, cause, dataset = processes(), [], None, dataset.select_columns(list(reads))
    mine = range(state.process_index, len(dataset), state.num_processes)
    with tqdm(
        total=len(mine), desc="check examples", unit="example", leave=False, disable=not state.is_main_process
    ) as bar:
        for start in range(0, len(mine), AT_ONCE):
            rows = mine[start : start + AT_ONCE]
            if not _together(dataset, rows, reads):
                for row in rows:
                    if (problem := _problem(functools.partial(_alone, dataset, row), reads)) is not None:
                        own.append((row, problem[0]))
                        cause = cause or problem[1]
                        if first_only:
                            break
            if own and first_only:
                break
            bar.update(len(rows))
    return sorted(gather_object(own)), cause


def _together(dataset, rows: range, reads: dict[str, Callable[[list[Any]], Any]]) -> bool:
    """Whether some examples can be read at once; if not, whatever it was is told of each by itself."""
    try:
        return _problem(lambda: dataset[rows], reads) is None
    except Exception:
        return False


def _alone(dataset, row: int) -> dict[str, list[Any]]:
    return {column: [value] for column, value in dataset[row].items()}


def _problem(
    fetch: Callable[[], dict[str, list[Any]]], reads: dict[str, Callable[[list[Any]], Any]]
) -> tuple[str, Exception] | None:
    """The first column of some examples that cannot be read, and why, in words and as an error; `None` if all can.

    To fetch a row is a part of reading it: datasets opens files then.
    """
    place = ""
    try:
        examples = fetch()
        for column, read in reads.items():
            place = f", column {column!r}"
            read(examples[column])
    except FAULTS:
        raise
    except Exception as error:
        kind = "" if isinstance(error, TypeError | ValueError) else f"{type(error).__name__}: "
        return f"{place}: {kind}{error}", error
    return None


class _Readable:
    """Which examples of a stream can be read. Says how many cannot at the first one, the tenth, the hundredth, ..."""

    def __init__(self, reads: dict[str, Callable[[list[Any]], Any]]):
        self.reads, self.left_out = reads, 0

    def __call__(self, example: dict[str, Any]) -> bool:
        problem = _problem(lambda: {column: [value] for column, value in example.items()}, self.reads)
        if problem is None:
            return True
        self.left_out += 1
        if set(str(self.left_out)[1:]) <= {"0"} and str(self.left_out)[0] == "1":
            print(f"left out {self.left_out} examples of a stream that cannot be read; the last{problem[0]}")
        return False
