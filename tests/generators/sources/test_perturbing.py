import torch

from regen_hf.generators.sources.perturbing import perturb

CODES = torch.arange(1000).expand(200, -1)


def test_perturbs_twice_the_share_at_most_and_the_share_on_average():
    torch.manual_seed(0)
    made = perturb(CODES, None, 0.1, 5000)
    right = torch.stack([torch.isin(CODES[0], row[own]) for row, own in zip(made.values, made.mask, strict=True)])
    lost = 1 - right.double().mean(1)  # replaced or dropped: 0.8 of the share
    assert 0.07 < lost.mean() < 0.09
    assert lost.max() < 0.19 and lost.min() < 0.01


def test_replaces_drops_and_puts_in():
    torch.manual_seed(0)
    made = perturb(torch.zeros(300, 100, dtype=torch.long), None, 0.1, 9)
    lengths = made.mask.sum(1).double()
    assert 98 < lengths.mean() < 100  # more is dropped than put in
    assert lengths.min() < 100 < lengths.max()
    assert set(made.values[made.mask].tolist()) == set(range(9))
    assert made.values.shape[1] == lengths.max()


def test_padding_stays_padding_and_something_is_left():
    torch.manual_seed(0)
    mask = torch.arange(6) < torch.tensor([1, 6, 3])[:, None]
    for _ in range(50):
        made = perturb(torch.full((3, 6), 7), mask, 0.45, 8)
        assert (made.mask.sum(1) >= 1).all()
        assert (made.mask.sum(1) <= 2 * mask.sum(1)).all()
        assert not made.values[~made.mask].any()
        assert torch.equal(made.mask, made.mask.sort(dim=1, descending=True, stable=True).values)


def test_a_share_of_nothing_changes_nothing():
    made = perturb(CODES, None, 0.0, 5000)
    assert torch.equal(made.values, CODES) and made.mask.all()
