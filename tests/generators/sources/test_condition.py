import torch

from regen_hf.generators.sources.condition import Condition


def test_a_stride_takes_the_mean_of_what_is_no_padding():
    hidden, mask = torch.arange(10.0).view(2, 5, 1), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    found = Condition.of(hidden, mask).strided(2)
    assert found.hidden[..., 0].tolist() == [[0.5, 2.5, 4.0], [5.5, 7.0, 0.0]]
    assert found.mask.tolist() == [[1, 1, 1], [1, 1, 0]]


def test_padding_that_all_rows_have_takes_no_place():
    mask = torch.tensor([[0, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    hidden = torch.arange(10.0).view(2, 5, 1)
    found = Condition.of(hidden, mask).at_the_end()
    assert found.mask.tolist() == [[1, 1], [0, 1]]
    assert found.hidden[0, :, 0].tolist() == [1, 2] and found.hidden[1, 1, 0] == 5
    assert Condition.of(hidden, torch.zeros(2, 5).long()).at_the_end().hidden.shape == (2, 1, 1)
