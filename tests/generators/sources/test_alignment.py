import itertools

import pytest
import torch

from regen_hf.generators.sources.alignment import ctc_loss, expand, monotonic_alignment


def lengths_to_mask(lengths: list[int], size: int) -> torch.Tensor:
    return torch.arange(size) < torch.tensor(lengths)[:, None]


def best_by_trying_all(likelihood: torch.Tensor) -> list[int]:
    places, frames = likelihood.shape
    bounds = ([0, *cuts, frames] for cuts in itertools.combinations(range(1, frames), places - 1))
    found = max(bounds, key=lambda b: sum(likelihood[i, b[i] : b[i + 1]].sum() for i in range(places)))
    return [end - start for start, end in itertools.pairwise(found)]


def test_finds_the_likeliest_path_of_rows_of_any_length():
    torch.manual_seed(0)
    likelihood, sources, targets = torch.randn(6, 4, 7), [4, 3, 2, 1, 4, 2], [7, 5, 6, 3, 4, 2]
    found = monotonic_alignment(likelihood, lengths_to_mask(sources, 4), lengths_to_mask(targets, 7))
    for row, (places, frames) in enumerate(zip(sources, targets, strict=True)):
        assert found[row, :places].tolist() == best_by_trying_all(likelihood[row, :places, :frames])
        assert not found[row, places:].any()


def test_refuses_a_source_that_is_longer_than_its_target():
    with pytest.raises(ValueError, match="row 1 has 3 places in the source and 2 in the target"):
        monotonic_alignment(torch.zeros(2, 3, 4), lengths_to_mask([3, 3], 3), lengths_to_mask([4, 2], 4))


def test_expands_states_by_their_durations():
    hidden = torch.tensor([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [6.0]]])
    values, mask = expand(hidden, torch.tensor([[2, 0, 3], [1, 1, 0]]))
    assert values[..., 0].tolist() == [[1, 1, 3, 3, 3], [4, 5, 0, 0, 0]]
    assert mask.tolist() == [[True] * 5, [True, True, False, False, False]]


def test_ctc_is_the_sum_over_all_alignments():
    torch.manual_seed(0)
    logits, target = torch.randn(1, 3, 3), [0, 1]
    probabilities = logits[0].softmax(-1)
    total = 0.0
    for path in itertools.product(range(3), repeat=3):
        said = [code for code, _ in itertools.groupby(path) if code != 2]  # 2 is the blank
        if said == target:
            total += torch.stack([probabilities[i, code] for i, code in enumerate(path)]).prod()
    loss = ctc_loss(logits, torch.ones(1, 3).bool(), torch.tensor([target]))
    assert loss.item() == pytest.approx(-total.log().item() / 2, rel=1e-5)


def test_ctc_reads_no_padding_and_leaves_out_what_does_not_fit():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 5, 4), torch.tensor([[1, 2], [0, 3]])
    places, mask = lengths_to_mask([5, 3], 5), lengths_to_mask([2, 1], 2)
    loss = ctc_loss(logits, places, target, mask)
    other = logits.clone()
    other[1, 3:] = 9.0
    assert ctc_loss(other, places, target.where(mask, 1), mask).item() == pytest.approx(loss.item())
    alone = [
        ctc_loss(logits[i : i + 1, :n], places[i : i + 1, :n], target[i : i + 1, :m])
        for i, n, m in ((0, 5, 2), (1, 3, 1))
    ]
    assert loss.item() == pytest.approx(sum(alone).item() / 2, rel=1e-5)
    assert ctc_loss(logits[:1, :1], torch.ones(1, 1).bool(), target[:1]).item() == 0
