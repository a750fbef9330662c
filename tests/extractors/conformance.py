"""What every extractor must do. A new one is tested by

class TestMine(ExtractorConformance):
    def make(self):
        return MyExtractor(...)

    def target(self):
        return torch.rand(4, ...)
"""

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModel

from regen_hf import Representation


class ExtractorConformance:
    def make(self):
        raise NotImplementedError

    def target(self) -> torch.Tensor:
        """Four different targets."""
        raise NotImplementedError

    @pytest.fixture
    def extractor(self):
        return self.make().eval()

    def encode(self, extractor, target):
        with torch.no_grad():
            return extractor.encode(target).values

    def test_gives_what_its_config_says(self, extractor):
        spec, values = extractor.config.representation_spec, self.encode(extractor, self.target())
        assert values.shape[1:] == spec.shape
        assert extractor.config.target_spec.shape == self.target().shape[1:]
        if spec.num_codes is None:
            assert values.is_floating_point()
        else:
            assert values.dtype == torch.long
            assert values.min() >= 0 and values.max() < spec.num_codes

    def test_batched_equals_single(self, extractor):
        target = self.target()
        single = torch.cat([self.encode(extractor, row[None]) for row in target])
        torch.testing.assert_close(self.encode(extractor, target), single, rtol=1e-4, atol=1e-5)

    def test_leads_back_to_the_target_or_says_that_it_cannot(self, extractor):
        representation = Representation(self.encode(extractor, self.target()))
        if extractor.config.can_decode:
            with torch.no_grad():
                assert extractor.decode(representation).values.shape == self.target().shape
        else:
            with pytest.raises(NotImplementedError, match=f"{type(extractor).__name__} has no way back"):
                extractor.decode(representation)

    def test_reloads_with_equal_outputs(self, extractor, tmp_path):
        extractor.save_pretrained(tmp_path)
        reloaded, target = AutoModel.from_pretrained(tmp_path), self.target()
        assert type(reloaded) is type(extractor)
        torch.testing.assert_close(self.encode(reloaded, target), self.encode(extractor, target), rtol=1e-4, atol=1e-5)

    def test_config_survives_json(self, extractor, tmp_path):
        extractor.config.save_pretrained(tmp_path)
        reloaded = AutoConfig.from_pretrained(tmp_path)
        assert reloaded.representation_spec == extractor.config.representation_spec
        assert reloaded.target_spec == extractor.config.target_spec

    def test_runs_in_bfloat16(self, extractor):
        half = copy.deepcopy(extractor).to(torch.bfloat16)
        values = self.encode(half, self.target())
        assert values.shape[1:] == extractor.config.representation_spec.shape
        assert not values.is_floating_point() or torch.isfinite(values.float()).all()

    def test_learns_from_targets_alone_or_says_that_it_cannot(self, extractor):
        if not extractor.is_trainable:
            with pytest.raises(NotImplementedError, match="is a rule and has nothing to learn"):
                extractor(target=self.target())
            return
        optimizer, target = torch.optim.Adam(extractor.parameters(), 1e-2), self.target()
        losses = []
        for _ in range(30):
            output = extractor(target=target)
            output.loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(output.loss.item())
        assert output.loss.item() == pytest.approx(sum(term.item() for term in output.terms.values()), rel=1e-4)
        assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
