import torch

from regen_hf.generators.autoregressive.code_order import IGNORED, Delayed, Interleaved

CODES = torch.tensor([[[0, 1, 2], [3, 4, 5]]])  # two codebooks, three places; the end is 6, the start 7
START, END = 7, 6


def test_interleaved_codes_follow_each_other_place_by_place():
    order = Interleaved(6, 2)
    read, predicted = order.tokens(CODES, None, ends=False)
    assert predicted.tolist() == [[[0, 3, 1, 4, 2, 5]]]
    assert read.tolist() == [[[START, 0, 3, 1, 4, 2]]]
    assert order.slots(torch.arange(6)).tolist() == [[1, 0, 1, 0, 1, 0]]  # of the start it does not matter
    assert [order.next_books(position) for position in range(3)] == [[0], [1], [0]]
    assert order.places(torch.arange(6)).tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(order.codes(predicted[:, 0]), CODES)
    assert (order.length(3), order.rows(4)) == (6, 4)


def test_delayed_codes_begin_one_step_after_the_codebook_before():
    order = Delayed(6, 2)
    read, predicted = order.tokens(CODES, None, ends=False)
    assert predicted.tolist() == [[[0, 1, 2, IGNORED], [IGNORED, 3, 4, 5]]]
    assert read.tolist() == [[[START, 0, 1, 2], [START, START, 3, 4]]]
    assert order.slots(torch.arange(2)).tolist() == [[0, 0], [1, 1]]
    assert order.next_books(2) == [0, 1]
    assert order.places(torch.arange(4)).tolist() == [0, 1, 2, 3]
    written = torch.tensor([[0, 1, 2, START], [START, 3, 4, 5]])
    assert torch.equal(order.codes(written), CODES)
    assert (order.length(3), order.rows(4)) == (4, 8)


def test_the_end_comes_after_the_last_real_place():
    mask = torch.tensor([[True, True, False]])
    read, predicted = Interleaved(6, 2).tokens(CODES, mask, ends=True)
    assert predicted.tolist() == [[[0, 3, 1, 4, END, IGNORED, IGNORED]]]
    assert read[..., :5].tolist() == [[[START, 0, 3, 1, 4]]]
    read, predicted = Delayed(6, 2).tokens(CODES, mask, ends=True)
    assert predicted.tolist() == [[[0, 1, END, IGNORED, IGNORED], [IGNORED, 3, 4, IGNORED, IGNORED]]]
    assert read.tolist() == [[[START, 0, 1, START, START], [START, START, 3, 4, START]]]


def test_generation_ends_between_places_only():
    processor = Interleaved(6, 2).processor(None)
    scores = processor(torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 8))
    assert scores[0, END] == -torch.inf
    assert processor(torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, 8))[0, END] == 0
    assert Interleaved(6, 1).processor(None) is None and Interleaved(6, 2).processor(3) is None


def allowed(processor, written: list[list[int]]) -> list[list[int]]:
    scores = processor(torch.tensor(written), torch.zeros(len(written), 8))
    return [row.isfinite().nonzero()[:, 0].tolist() for row in scores]


def test_delayed_generation_waits_and_ends_codebook_by_codebook():
    fixed, varying = Delayed(6, 2).processor(2), Delayed(6, 2).processor(None)
    free = [0, 1, 2, 3, 4, 5]
    assert allowed(fixed, [[START], [START]])[1] == [START]
    assert allowed(fixed, [[START, 0, 1], [START, START, 3]])[0] == [START]
    assert allowed(varying, [[START], [START]])[1] == [START]
    assert set(allowed(varying, [[START, 0], [START, START]])[1]) == {*free, START}
    ended = [[START, 0, 1, END], [START, START, 3, 4]]
    assert allowed(varying, ended)[1] == [END]
    assert END not in allowed(varying, [[START, 0, 1], [START, START, 3]])[1]
