"""The order in which data is trained on: a function of the seed and the number of the batch, and of nothing else.

So a resumed run continues where it was killed without state to keep, and two processes see what one with twice the
batch would.
"""

import dataclasses
import itertools
import random
import signal
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy
import torch


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Which batches a process reads; as the arguments of [`Batches.endless`]."""

    batch_size: int
    seed: int
    start: int = 0
    process_index: int = 0
    num_processes: int = 1
    group: int = 0
    num_workers: int = 0


class EndlessBatches:
    """Data that is read a batch at a time, pass after pass."""

    def endless(
        self,
        batch_size: int,
        seed: int,
        *,
        start: int = 0,
        process_index: int = 0,
        num_processes: int = 1,
        group: int = 0,
        num_workers: int = 0,
    ) -> Iterator[dict[str, torch.Tensor]]:
        """One process's batches, pass after pass, from its batch `start` on.

        All processes together read the rows shuffle by shuffle; none is dropped or read twice in a pass.
        A stream is shuffled by its own seed.

        Args:
            group: if above 0, so many consecutive rows are of similar length; not for a stream.
            num_workers: processes that read; none for a stream.
        """
        return self._sampled(Sampling(batch_size, seed, start, process_index, num_processes, group, num_workers))


class Batches(EndlessBatches, torch.utils.data.Dataset):
    """A dataset that is read a batch at a time.

    Args:
        length: the number of rows.
        read: turns row numbers into a batch of tensors.
        lengths: the length of each row, for grouping rows of similar length.
    """

    def __init__(
        self,
        length: int,
        read: Callable[[list[int]], dict[str, torch.Tensor]],
        lengths: Sequence[int] | None = None,
    ):
        if length < 1:
            raise ValueError("there is no example to read: `length` must be at least 1.")
        self.length, self.read, self.lengths, self.seed = length, read, lengths, 0

    def __len__(self) -> int:
        return self.length

    def __getitems__(self, numbered: tuple[int, list[int]]) -> dict[str, torch.Tensor]:
        """A batch by `(number of the batch, row numbers)`; what reading draws at random depends on the number only."""
        seed_all(batch_seed(self.seed, "read", numbered[0]))
        return dict(self.read(numbered[1]))

    def loader(self, order: Iterable[tuple[int, list[int]]], num_workers: int = 0) -> Iterable[dict[str, torch.Tensor]]:
        """Batches in an order."""
        return torch.utils.data.DataLoader(
            self,
            batch_sampler=order,
            collate_fn=_as_it_is,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            worker_init_fn=_outlive_signals,
            generator=torch.Generator(),  # else every loader takes a number from the global one
        )

    def _sampled(self, sampling: Sampling) -> Iterator[dict[str, torch.Tensor]]:
        self.seed = sampling.seed
        return iter(self.loader(Order(self.length, sampling, self.lengths), sampling.num_workers))


class StreamedBatches(EndlessBatches):
    """A stream that is read a batch at a time; [`Batches`] for what has no length.

    A resumed run reads the stream again from its beginning up to where it was, which is exact even after `shuffle`.

    Args:
        dataset: a `datasets.IterableDataset`, shuffled as wanted; it is split by process.
        read: turns some examples, a list for each column, into a batch of tensors.
    """

    def __init__(self, dataset, read: Callable[[dict[str, list]], dict[str, torch.Tensor]]):
        self.dataset, self.read = dataset, read

    def _sampled(self, sampling: Sampling) -> Iterator[dict[str, torch.Tensor]]:
        for name, value in (("group_by_length", sampling.group), ("num_workers", sampling.num_workers)):
            if value:
                raise ValueError(f"`{name}` cannot be had for a stream.")
        size, examples = sampling.batch_size, self._examples(sampling.process_index, sampling.num_processes)
        examples = itertools.islice(examples, sampling.start * size, None)
        while True:
            batch = list(itertools.islice(examples, size))
            yield self.read({name: [example[name] for example in batch] for name in batch[0]})

    def _examples(self, process_index: int, num_processes: int) -> Iterator[dict[str, Any]]:
        from datasets.distributed import split_dataset_by_node

        dataset = self.dataset
        if num_processes > 1:
            dataset = split_dataset_by_node(dataset, process_index, num_processes)
        for number in itertools.count():
            dataset.set_epoch(number)
            example = None
            for example in dataset:
                yield example
            if example is None:
                raise ValueError(f"the stream has no example for process {process_index} of {num_processes}.")


class Order:
    """`(number, row numbers)` of one process's batches, without end."""

    def __init__(self, length: int, sampling: Sampling, lengths: Sequence[int] | None = None):
        if sampling.group and lengths is None:
            raise ValueError("`group_by_length` needs data that varies in length; here all of it has one size.")
        self.length, self.sampling, self.lengths = length, sampling, lengths

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        size, shuffles = self.sampling.batch_size, {}
        for own in itertools.count(self.sampling.start):
            number = own * self.sampling.num_processes + self.sampling.process_index
            positions = range(number * size, (number + 1) * size)
            for each in {position // self.length for position in positions} - shuffles.keys():
                shuffles[each] = self._shuffle(each)
            yield number, [shuffles[position // self.length][position % self.length] for position in positions]
            for past in [each for each in shuffles if each < positions[-1] // self.length]:
                del shuffles[past]

    def _shuffle(self, number: int) -> list[int]:
        """The rows of a pass."""
        generator = torch.Generator().manual_seed(batch_seed(self.sampling.seed, "pass", number))
        group = self.sampling.group
        if not group:
            return torch.randperm(self.length, generator=generator).tolist()
        from transformers.trainer_pt_utils import get_length_grouped_indices

        rows = get_length_grouped_indices(self.lengths, group, generator=generator)
        groups = [rows[i : i + group] for i in range(0, len(rows), group)]
        last = [groups.pop()] if len(groups[-1]) < group else []  # else it would shift all that follow
        groups = [groups[i] for i in torch.randperm(len(groups), generator=generator).tolist()] + last
        return [row for each in groups for row in each]


def batch_seed(seed: int, name: str, number: int) -> int:
    """A seed of 32 bits for one batch, unlike that of its neighbours."""
    return zlib.crc32(f"{seed} {name} {number}".encode())


def seed_all(seed: int) -> None:
    """Seeds everything that reading and noise may draw from; torch's seed is that of all devices."""
    random.seed(seed)
    numpy.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    if torch.accelerator.is_available():  # without one, `torch.manual_seed` spends a millisecond on it all the same
        torch.manual_seed(seed)


def _outlive_signals(worker: int) -> None:
    """Leaves it to the process that trains to stop, which then still needs what its workers read."""
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.SIG_IGN)


def _as_it_is(batch):
    return batch
