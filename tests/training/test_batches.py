import itertools

import pytest
import torch
from datasets import Dataset

from regen_hf import Batches, StreamedBatches
from regen_hf.training.batches import batch_seed

ROWS = Batches(10, lambda rows: {"rows": torch.tensor(rows)}, lengths=[row % 5 for row in range(10)])


def rows(count, batches=ROWS, **settings):
    settings = {"batch_size": 4, "seed": 0, **settings}
    found = itertools.islice(batches.endless(**settings), count)
    return [batch["rows"].tolist() for batch in found]


def flat(batches):
    return list(itertools.chain.from_iterable(batches))


def test_every_row_comes_once_in_each_pass():
    found = flat(rows(10))
    for start in range(0, 40, 10):
        assert sorted(found[start : start + 10]) == list(range(10))
    assert found[:10] != found[10:20]
    assert found != flat(rows(10, seed=1))


def test_starts_anywhere():
    assert rows(5, start=7) == rows(12)[7:]
    assert rows(3, start=10**6) == rows(3, start=10**6)


def test_processes_share_what_one_with_a_larger_batch_would_read():
    one = rows(6, batch_size=8)
    two = [rows(6, num_processes=2, process_index=i) for i in range(2)]
    assert one == [first + second for first, second in zip(*two, strict=True)]
    small = Batches(3, ROWS.read)
    assert sorted(flat(rows(3, small, batch_size=1))) == [0, 1, 2]
    assert len(rows(1, small, batch_size=8)[0]) == 8  # a batch may be larger than a pass


def test_groups_are_of_similar_length():
    many = Batches(100, lambda rows: {"rows": torch.tensor(rows)}, lengths=[row % 5 for row in range(100)])
    grouped = rows(25, many, group=4)
    assert sorted(flat(grouped)) == list(range(100))
    spread = [len({row % 5 for row in batch}) for batch in grouped]
    assert sum(spread) < 40 < sum(len({row % 5 for row in batch}) for batch in rows(25, many))
    with pytest.raises(ValueError, match="`group_by_length` needs data that varies in length"):
        rows(1, Batches(3, ROWS.read), group=4)


def test_an_empty_dataset_is_refused():
    with pytest.raises(ValueError, match="`length` must be at least 1"):
        Batches(0, ROWS.read)


def stream(shards=2):
    dataset = Dataset.from_dict({"row": list(range(10))}).to_iterable_dataset(num_shards=shards)
    return StreamedBatches(dataset, lambda examples: {"rows": torch.tensor(examples["row"])})


def test_a_stream_goes_on_where_it_was_even_when_shuffled():
    streamed = stream()
    streamed.dataset = streamed.dataset.shuffle(seed=0, buffer_size=4)
    found = rows(10, streamed)
    everything = flat(found)
    for start in range(0, 40, 10):
        assert sorted(everything[start : start + 10]) == list(range(10))
    assert everything[:10] != everything[10:20]  # each pass has its own shuffle
    assert rows(4, streamed, start=6) == found[6:]


def test_a_stream_is_split_by_process():
    two = [flat(rows(5, stream(), batch_size=1, num_processes=2, process_index=i)) for i in range(2)]
    assert sorted(two[0] + two[1]) == list(range(10))


def test_what_a_stream_cannot_do_is_refused():
    for name in ("group", "num_workers"):
        with pytest.raises(ValueError, match="cannot be had for a stream"):
            rows(1, stream(), **{name: 2})
    with pytest.raises(ValueError, match="the stream has no example for process 0 of 1"):
        rows(1, StreamedBatches(stream().dataset.filter(lambda example: False), None))


def test_seeds_of_neighbours_differ():
    assert len({batch_seed(0, "noise", number) for number in range(1000)}) == 1000
    assert batch_seed(0, "noise", 1) != batch_seed(1, "noise", 1) != batch_seed(0, "pass", 1)
