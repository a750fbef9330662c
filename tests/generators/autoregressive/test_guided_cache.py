import pytest
import tiny
import torch
from transformers import AutoModel

from regen_hf.generators.autoregressive.guided_cache import PairedCache, cache_of, paired
from regen_hf.generators.sources.condition import Condition


def test_rows_stand_beside_those_that_guide_them():
    one, two = (Condition.of(torch.full((2, 3, 4), value), torch.ones(2, 3).long()) for value in (1.0, 2.0))
    both = paired(one, two)
    assert both.hidden[:, 0, 0].tolist() == both.pooled[:, 0].tolist() == [1, 2, 1, 2]
    assert both.mask.shape == (4, 3)


@pytest.mark.parametrize("config", [tiny.llama, tiny.lfm2])
def test_beams_are_reordered_in_pairs(config):
    model = AutoModel.from_config(config()).eval()
    cache, ids = cache_of(model, False, 2.0), torch.arange(8).view(4, 2)
    assert isinstance(cache, PairedCache) and not isinstance(cache_of(model, False, 1.0), PairedCache)

    def keys() -> torch.Tensor:
        return cache.self_attention_cache.layers[-2 if config is tiny.lfm2 else -1].keys.clone()

    with torch.no_grad():
        model(input_ids=ids, past_key_values=cache.self_attention_cache, use_cache=True)
    before = keys()
    cache.reorder_cache(torch.tensor([1, 1]))
    assert torch.equal(keys(), before[[2, 3, 2, 3]]) and not torch.equal(before[0], before[2])
