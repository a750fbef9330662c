import pytest
import torch

from regen_hf import Representation
from regen_hf.generators.sources.statistics import ChannelStatistics


def test_statistics_in_parts_are_those_of_the_whole():
    values = torch.randn(50, 3, 5) * torch.tensor([1.0, 10.0, 0.1]).view(3, 1) + 4
    whole, parts = ChannelStatistics(3), ChannelStatistics(3)
    whole.fit([values])
    parts.fit(values.split(7))
    torch.testing.assert_close(whole.mean, values.mean((0, 2)))
    torch.testing.assert_close(whole.std, values.std((0, 2), correction=0))
    torch.testing.assert_close(parts.state_dict(), whole.state_dict())
    with pytest.raises(ValueError, match="got 0 values"):
        whole.fit([])


def test_a_constant_channel_does_not_divide_by_zero():
    statistics = ChannelStatistics(1)
    statistics.fit([torch.full((4, 1, 2), 7.0)])
    assert torch.isfinite(statistics.normalize(torch.full((1, 1, 2), 7.0))).all()


def test_padding_does_not_count():
    statistics = ChannelStatistics(2)
    values, mask = torch.full((1, 2, 5), 100.0), torch.tensor([[True, True, False, False, False]])
    values[0, :, :2] = torch.tensor([[1.0, 3.0], [5.0, 5.0]])
    statistics.fit([Representation(values, mask)])
    assert statistics.mean.tolist() == [2.0, 5.0]


def test_what_is_known_does_not_replace_what_was_measured():
    statistics = ChannelStatistics(2)
    statistics.assign([1.0, 2.0], [3.0, 4.0])
    assert statistics.mean.tolist() == [1.0, 2.0] and statistics.std.tolist() == [3.0, 4.0]
    statistics.assign(7.0, 7.0)
    assert statistics.mean.tolist() == [1.0, 2.0]
    one = ChannelStatistics(2)
    one.assign(0.0, 5.5)
    assert one.std.tolist() == [5.5, 5.5]
