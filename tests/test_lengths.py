import pytest
import torch

from regen_hf.lengths import by_length

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
