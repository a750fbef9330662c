import pytest
import tiny
import torch
from extractors.conformance import ExtractorConformance

from regen_hf import DownsampleExtractorConfig


class TestDownsample(ExtractorConformance):
    def make(self):
        return tiny.downsample()

    def target(self):
        return torch.rand(4, *tiny.IMAGE)


def test_averages_blocks():
    target = torch.zeros(1, *tiny.IMAGE)
    target[0, 0, 0, 0] = 16
    values = tiny.downsample().encode(target).values
    assert values[0, 0, 0, 0] == 1
    assert values.sum() == 1


def test_refuses_a_factor_that_does_not_divide():
    with pytest.raises(ValueError, match=r"`factor` must divide every size of \(16, 16\), got 3"):
        DownsampleExtractorConfig(target_shape=[3, 16, 16], factor=3)
