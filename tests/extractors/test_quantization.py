import pytest
import torch
from named_extractors import EYE, images
from transformers import BertConfig, ViTConfig

from regen_hf import EncoderExtractor, Representation, TokenAutoencoderExtractor
from regen_hf.extractors.quantization import codes_to_levels, k_means, levels_to_codes, nearest, round_to_levels

pytestmark = pytest.mark.usefixtures("one_thread")


def of_images(**settings) -> EncoderExtractor:
    return EncoderExtractor.from_components(ViTConfig(**EYE), **settings)


def of_codes(levels: list[int]) -> TokenAutoencoderExtractor:
    bert = BertConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    return TokenAutoencoderExtractor.from_components(bert, 20, levels=levels).eval()


def clusters(number: int, shift: float = 0.0) -> torch.Tensor:
    """Images of four kinds, next to each other: black, red, green and blue."""
    kinds = torch.tensor([[-1.0, -1, -1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    return kinds.repeat_interleave(number, 0)[:, :, None, None].expand(-1, 3, 16, 16) * (0.98 + shift)


def test_units_find_clusters_batch_by_batch():
    extractor = of_images(pooled=True, num_codes=4)
    extractor.fit_units(clusters(16, shift) for shift in (0, 0.01, 0.02))
    codes = extractor.encode(clusters(3)).values.view(4, 3)
    assert (codes == codes[:, :1]).all() and sorted(codes[:, 0].tolist()) == [0, 1, 2, 3]
    distances = torch.cdist(extractor.features(clusters(1)).values, extractor.centroids).min(1).values
    assert distances.max() < 0.1 * torch.pdist(extractor.centroids).min()


def test_the_same_seed_finds_the_same_units():
    extractor, found = of_images(num_codes=5), []
    for seed in (0, 0, 1):
        extractor.fit_units([images()], seed=seed)
        found.append(extractor.centroids.clone())
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_a_code_counts_the_levels_of_its_channels():
    extractor, spread = of_codes([3, 2]), []
    extractor.bottleneck.weight.data.zero_()
    for bias, code in (([9.0, -9.0], 2), ([-9.0, 9.0], 3), ([0.0, 9.0], 4)):
        extractor.bottleneck.bias.data = torch.tensor(bias)
        assert extractor.encode(torch.zeros(1, 4, dtype=torch.long)).values.tolist() == [[code]]
    extractor.spread.register_forward_pre_hook(lambda module, given: spread.append(given[0]))
    extractor.decode(Representation(torch.arange(6)[:, None]))
    assert spread[0][:, 0].tolist() == [[-1, -1], [0, -1], [1, -1], [-1, 1], [0, 1], [1, 1]]


def test_units_are_found_without_a_model():
    near = torch.tensor([[0.0, 0.0], [4.0, 4.0]]).repeat(40, 1) + 0.1 * torch.randn(80, 2)
    centroids = k_means(near.split(20), 2, seed=0)
    codes = nearest(near.view(2, 40, 2), centroids)
    assert codes.shape == (2, 40) and (codes == codes[0, :2].repeat(20)).all() and codes[0, 0] != codes[0, 1]


@pytest.mark.parametrize("levels", [[2], [5, 3, 4], [8, 5, 5, 5]])
def test_every_code_comes_back_from_its_levels(levels):
    codes = torch.arange(torch.tensor(levels).prod()).view(-1, 2)
    values = codes_to_levels(codes, levels)
    assert values.shape == (*codes.shape, len(levels)) and values.min() == -1 and values.max() == 1
    assert torch.equal(levels_to_codes(values, levels), codes)
    assert torch.equal(levels_to_codes(round_to_levels(values.clamp(-0.999, 0.999).atanh(), levels), levels), codes)
