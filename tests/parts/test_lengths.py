import pytest
import torch

from regen_hf import Representation
from regen_hf.parts.lengths import by_length, masked_mean, random_segments

VALUES = torch.arange(24.0).view(3, 1, 8)


def halves(values: torch.Tensor) -> torch.Tensor:
    """Every second value, after the mean of all of them."""
    return values[..., ::2] + values.mean(-1, keepdim=True)


def mask(*lengths: int) -> torch.Tensor:
    return torch.arange(8) < torch.tensor(lengths)[:, None]


def test_without_a_mask_all_is_real():
    result = by_length(halves, VALUES)
    assert result.mask is None
    torch.testing.assert_close(result.values, halves(VALUES))


def test_each_row_is_as_it_is_alone_and_in_its_place():
    result = by_length(halves, VALUES, mask(5, 8, 2))
    assert result.mask.sum(-1).tolist() == [3, 4, 1]
    assert result.values[0, 0].tolist() == [2, 4, 6, 0]
    torch.testing.assert_close(result.values[1], halves(VALUES[1]))
    assert result.values[2, 0].tolist() == [32.5, 0, 0, 0]


def test_rows_of_one_length_go_together():
    shapes = []

    def count(values: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(values.shape))
        return values

    by_length(count, VALUES, mask(3, 8, 3))
    assert shapes == [(2, 1, 3), (1, 1, 8)]


def test_gradients_reach_what_is_real_alone():
    values = VALUES.clone().requires_grad_()
    by_length(lambda each: each, values, mask(3, 8, 0)).values.sum().backward()
    assert torch.equal(values.grad[:, 0].bool(), mask(3, 8, 0))


@pytest.mark.parametrize(
    "wrong", [~mask(3, 8, 2), mask(3, 8, 2)[:2], mask(3, 8, 2).float() * 2], ids=["suffix", "short", "float"]
)
def test_refuses_a_mask_that_is_none(wrong):
    with pytest.raises(ValueError, match="each row true first and then false"):
        by_length(halves, VALUES, wrong)
    with pytest.raises(ValueError, match="each row true first and then false"):
        random_segments(2, (Representation(VALUES, wrong), 1))


def test_pieces_begin_anywhere_that_is_real_and_end_there():
    drawn = [random_segments(3, (Representation(VALUES, mask(8, 5, 3)), 1))[0] for _ in range(200)]
    assert all(each.values.shape == (3, 1, 3) and each.mask.all() for each in drawn)
    found = [sorted({tuple(each.values[row, 0].tolist()) for each in drawn}) for row in range(3)]
    assert found[0] == [(i, i + 1, i + 2) for i in range(6)]
    assert found[1] == [(8, 9, 10), (9, 10, 11), (10, 11, 12)]
    assert found[2] == [(16, 17, 18)]


def test_pieces_of_what_belongs_together_are_of_one_place():
    frames, wave = torch.arange(12).view(2, 6), torch.arange(48.0).view(2, 1, 24)
    wave_mask = torch.arange(24) < torch.tensor([24, 15])[:, None]  # three frames and a part of one
    starts = set()
    for _ in range(100):
        codes, piece = random_segments(2, (Representation(frames), 1), (Representation(wave, wave_mask), 4))
        assert codes.values.dtype == torch.long and codes.values.shape == (2, 2)
        assert piece.values.shape == (2, 1, 8) and piece.mask.all()
        assert piece.values[:, 0].tolist() == [[4 * int(row[0]) + i for i in range(8)] for row in codes.values]
        starts.add((codes.values[0, 0].item(), codes.values[1, 0].item() - 6))
    assert starts == {(i, j) for i in range(5) for j in range(2)}


def test_pieces_of_what_is_shorter_are_padded():
    (piece,) = random_segments(10, (Representation(VALUES, mask(8, 2, 0)), 1))
    assert piece.values[:2, 0].tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 0, 0], [8, 9] + 8 * [0]]
    assert piece.mask.sum(-1).tolist() == [8, 2, 0]


def test_pieces_are_drawn_by_the_global_seed():
    def draw(seed: int) -> list:
        torch.manual_seed(seed)
        return random_segments(2, (Representation(VALUES), 1))[0].values.tolist()

    assert draw(0) == draw(0) and len({str(draw(seed)) for seed in range(8)}) > 1


def test_the_mean_is_of_what_is_no_padding():
    values = torch.tensor([[1.0, 2.0, 9.0], [4.0, 8.0, 9.0]])
    padding = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert masked_mean(values, padding) == 7 / 3 and masked_mean(values, padding.bool()) == 7 / 3
    assert masked_mean(values, None) == values.mean() and masked_mean(values, 0 * padding) == 0
