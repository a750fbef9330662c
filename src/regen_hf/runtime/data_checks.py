"""Reading every example once before work starts, so that a bad one is named and nothing is lost to it."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from tqdm.auto import tqdm

from .processes import processes

AT_ONCE = 16  # a call for each example costs more than reading it, and a few of the largest still fit into memory


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
        reads: for each column what will read it: a function of a list of examples that raises `ValueError` or
            `TypeError` if one of them is bad. It gets several at once, and where that fails, each by itself.
        on_bad_example: `"raise"` a `ValueError` that names the first bad example, or `"skip"` and count them.
    """
    if on_bad_example not in ("raise", "skip"):
        raise ValueError(f"`on_bad_example` must be 'raise' or 'skip', got {on_bad_example!r}.")
    check_columns(dataset, reads)
    if is_stream(dataset):
        if on_bad_example == "raise":
            return dataset
        return dataset.filter(lambda example: not _problem(_alone(example), reads))
    problems = _problems(dataset, reads, first_only=on_bad_example == "raise")
    if problems and on_bad_example == "raise":
        raise ValueError("example {}, column {}".format(*problems[0]))
    if len(problems) == len(dataset):
        first = "; ".join("example {}, column {}".format(*problem) for problem in problems[:1])
        raise ValueError(f"the dataset has no example that can be read; {first or 'it is empty'}")
    if not problems:
        return dataset
    print(
        f"left out {len(problems)} of {len(dataset)} examples that cannot be read; the first is "
        "example {}, column {}".format(*problems[0])
    )
    bad = {row for row, _ in problems}
    return dataset.select([row for row in range(len(dataset)) if row not in bad])


def _problems(dataset, reads, first_only: bool) -> list[tuple[int, str]]:
    """The bad rows of all processes, in order."""
    from accelerate.utils import gather_object

    state, own, dataset = processes(), [], dataset.select_columns(list(reads))
    mine = range(state.process_index, len(dataset), state.num_processes)
    with tqdm(
        total=len(mine), desc="check examples", unit="example", leave=False, disable=not state.is_main_process
    ) as bar:
        for start in range(0, len(mine), AT_ONCE):
            rows = mine[start : start + AT_ONCE]
            if not _together(dataset, rows, reads):
                found = ((row, problem) for row in rows if (problem := _problem(_alone(dataset[row]), reads)))
                own += itertools.islice(found, 1 if first_only else None)
            if own and first_only:
                break
            bar.update(len(rows))
    return sorted(gather_object(own))


def _together(dataset, rows: range, reads: dict[str, Callable[[list[Any]], Any]]) -> bool:
    """Whether some examples can be read at once; if not, whatever it was is told of each by itself."""
    try:
        return not _problem(dataset[rows], reads)
    except Exception:
        return False


def _alone(example: dict[str, Any]) -> dict[str, list[Any]]:
    return {column: [value] for column, value in example.items()}


def _problem(examples: dict[str, list[Any]], reads: dict[str, Callable[[list[Any]], Any]]) -> str:
    """The first column of some examples that cannot be read, and why; "" if all can."""
    for column, read in reads.items():
        try:
            read(examples[column])
        except (TypeError, ValueError) as error:
            return f"{column!r}: {error}"
    return ""
