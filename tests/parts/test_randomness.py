import torch

from regen_hf.parts.randomness import row_generators


def drawn(generators):
    return [float(torch.rand((), generator=generator)) for generator in generators]


def test_each_row_draws_the_same_whatever_follows_it():
    three = drawn(row_generators(torch.Generator().manual_seed(3), 3))
    assert len(set(three)) == 3
    assert drawn(row_generators(torch.Generator().manual_seed(3), 2)) == three[:2]
    assert drawn(row_generators(torch.Generator().manual_seed(4), 2)) != three[:2]
