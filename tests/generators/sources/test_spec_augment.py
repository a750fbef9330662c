import pytest
import torch

from regen_hf.generators.sources.spec_augment import zero_spans


def test_spans_have_their_sizes():
    torch.manual_seed(0)
    mask = torch.arange(300) < torch.cat([torch.full((200,), 300), torch.full((200,), 20)])[:, None]
    times = (zero_spans(torch.ones(400, 300, 16), mask, 1, 0) == 0).all(2)
    assert times[:200].sum(1).max() == 25 and times[200:].sum(1).max() == 4 and not times[200:, 20:].any()
    assert times.sum(1).min() == 0 and times[:200].any(0).sum() > 280 and times[200:, :20].any(0).all()
    assert (times[:, 1:] & ~times[:, :-1]).sum(1).max() == 1, "one span"
    bins = (zero_spans(torch.ones(400, 10, 12), None, 0, 1) == 0).all(1)
    assert bins.sum(1).unique().tolist() == [0, 1, 2] and bins.any(0).all()
    with pytest.raises(ValueError, match=r"`padding_mask` must be \(batch, frames\) .*\(2, 16\), got \(2, 9\)"):
        zero_spans(torch.ones(2, 16, 9), torch.ones(2, 9), 1, 0)
