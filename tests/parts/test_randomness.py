import pytest
import torch

from regen_hf.parts.randomness import row_generators


def drawn(generators):
    return [float(torch.rand((), generator=generator)) for generator in generators]


def test_each_row_draws_the_same_whatever_follows_it():
    three = drawn(row_generators(torch.Generator().manual_seed(3), 3))
    assert len(set(three)) == 3
    assert drawn(row_generators(torch.Generator().manual_seed(3), 2)) == three[:2]
    assert drawn(row_generators(torch.Generator().manual_seed(4), 2)) != three[:2]


def test_a_seed_is_its_generator_and_a_list_is_itself():
    assert drawn(row_generators(3, 2)) == drawn(row_generators(torch.Generator().manual_seed(3), 2))
    own = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    assert row_generators(own, 2) == own


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([torch.Generator()] * 3, ValueError, "`generator` must have one for each of 2 rows, got 3"),
        (True, TypeError, "`generator` must be a torch.Generator, .* got True"),
        ("7", TypeError, "`generator` must be a torch.Generator, .* got '7'"),
        (1.5, TypeError, "`generator` must be a torch.Generator, .* got 1.5"),
    ],
)
def test_refuses_what_leads_nothing(given, error, message):
    with pytest.raises(error, match=message):
        row_generators(given, 2)
