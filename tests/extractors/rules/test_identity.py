import tiny
import torch
from extractors.conformance import ExtractorConformance


class TestIdentity(ExtractorConformance):
    def make(self):
        return tiny.identity()

    def target(self):
        return torch.rand(4, *tiny.IMAGE)


def test_changes_nothing():
    target = torch.rand(2, *tiny.IMAGE)
    assert torch.equal(tiny.identity().encode(target).values, target)
