import pytest
import tiny
import torch
from transformers import AutoModel

from regen_hf.generators.conditioning import ChannelStatistics, SourceEncoder


def encoder(**settings):
    config = tiny.diffusion_prior((4, 4, 4)).config
    for name, value in settings.items():
        setattr(config, name, value)
    return SourceEncoder(config, width=24).eval()


def test_the_mean_counts_real_tokens_only():
    source = encoder()
    ids = torch.tensor([[2, 3, 0, 0], [4, 5, 6, 7]])
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    with torch.no_grad():
        condition = source(ids, mask)
    torch.testing.assert_close(condition.pooled[0], condition.hidden[0, :2].mean(0))
    torch.testing.assert_close(condition.pooled[1], condition.hidden[1].mean(0))
    assert condition.hidden.shape == (2, 4, 24)


def test_hiding_leaves_nothing_of_the_source():
    source = encoder()
    with torch.no_grad():
        one, two = (source(torch.tensor([ids])) for ids in ([2, 3], [4, 5]))
        hidden = [source.hide(condition, torch.tensor([True])) for condition in (one, two)]
        shown = source.hide(one, torch.tensor([False]))
    for name in ("hidden", "mask", "pooled"):
        assert torch.equal(getattr(hidden[0], name), getattr(hidden[1], name))
        assert torch.equal(getattr(shown, name), getattr(one, name))


def test_without_text_or_class_there_is_the_null_source():
    condition = encoder(source_encoder_config=None)(batch_size=3)
    assert condition.hidden.shape == (3, 1, 24)
    with pytest.raises(ValueError, match="`input_ids` is not taken: this generator reads neither text nor class"):
        encoder(source_encoder_config=None)(input_ids=torch.tensor([[1]]))


def test_tied_weights_of_the_text_encoder_survive_reloading(tmp_path):
    """T5 keeps its embeddings once and ties them; a child of a plain module would lose them."""
    from regen_hf import DiffusionGenerator

    generator = DiffusionGenerator.from_components(tiny.sd3((4, 4, 4)), (4, 4, 4), tiny.t5())
    generator.save_pretrained(tmp_path)
    reloaded = AutoModel.from_pretrained(tmp_path).source_encoder.encoder
    expected = generator.source_encoder.encoder.shared.weight
    assert torch.equal(reloaded.shared.weight, expected)
    assert torch.equal(reloaded.encoder.embed_tokens.weight, expected)


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
