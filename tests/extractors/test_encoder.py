import pytest
import torch
from named_extractors import EAR, EYE, TEXT, images, waves
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    DINOv3ViTConfig,
    HubertConfig,
    HubertModel,
    ResNetConfig,
    ViTConfig,
    ViTModel,
    Wav2Vec2Config,
)

from regen_hf import EncoderExtractor, EncoderExtractorConfig, RepresentationSpec

pytestmark = pytest.mark.usefixtures("one_thread")


def vit() -> ViTModel:
    return ViTModel(ViTConfig(**EYE)).eval()


def of_images(**settings) -> EncoderExtractor:
    return EncoderExtractor.from_components(ViTConfig(**EYE), **settings)


@pytest.mark.parametrize(
    ("config", "target", "representation"),
    [
        (ViTConfig(**EYE), RepresentationSpec((3, None, None)), RepresentationSpec((16, 4, 4))),
        (
            DINOv3ViTConfig(**{**EYE, "image_size": 32}, num_register_tokens=4),
            RepresentationSpec((3, None, None)),
            RepresentationSpec((16, 8, 8)),
        ),
        (
            HubertConfig(**{**EAR, "conv_dim": [4] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
                            "conv_stride": [5, 2, 2, 2, 2, 2, 2]}),
            RepresentationSpec((1, None), rate=16000),
            RepresentationSpec((16, None), rate=50),
        ),
        (BertConfig(**TEXT), RepresentationSpec((None,), 20), RepresentationSpec((16, None))),
        (
            ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1]),
            RepresentationSpec((3, None, None)),
            RepresentationSpec((8, 28, 28)),
        ),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_rates_and_sizes(config, target, representation):
    made = EncoderExtractor.from_components(config).config
    assert (made.target_spec, made.representation_spec) == (target, representation)


def test_the_first_frame_of_hubert_takes_400_samples():
    config = EncoderExtractorConfig(encoder_config=HubertConfig().to_dict(), kind="audio", feature_shape=[768, None])
    assert config.frame == 400
    assert config.representation_spec.rate == 50


def test_the_grid_is_that_of_the_image():
    encoder = vit()
    extractor = EncoderExtractor.from_components(encoder)
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    states = encoder(image).last_hidden_state[0, 1:]
    features = extractor.encode(image).values
    torch.testing.assert_close(features[0, :, 1, 2], states[4 + 2])


@pytest.mark.parametrize("layer", [0, 1, 2, -1])
def test_layer_is_one_of_the_hidden_states(layer):
    encoder = HubertModel(HubertConfig(**EAR)).eval()
    extractor, wave = EncoderExtractor.from_components(encoder, layer=layer), waves(200)()
    expected = encoder(wave[:, 0], output_hidden_states=True).hidden_states[layer].transpose(1, 2)
    torch.testing.assert_close(extractor.encode(wave).values, expected)


def test_a_layer_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="`layer` must be 0 to 2 for ViTModel, got 3"):
        of_images(layer=3)


def test_pooled_is_what_the_encoder_pools_or_the_mean():
    image, ids = images(), torch.randint(0, 20, (4, 7))
    clip, bert = CLIPVisionModel(CLIPVisionConfig(**EYE)).eval(), BertModel(BertConfig(**TEXT)).eval()
    own = EncoderExtractor.from_components(clip, pooled=True)
    small = torch.nn.functional.interpolate(image, (16, 16), mode="bicubic", antialias=True).clamp(-1, 1)
    torch.testing.assert_close(own.encode(image).values, clip(small).pooler_output)
    mean = EncoderExtractor.from_components(bert, pooled=True).encode(ids, torch.arange(7) < torch.tensor([[3]] * 4))
    assert mean.mask is None
    torch.testing.assert_close(mean.values, bert(ids[:, :3]).last_hidden_state.mean(1))


def test_images_of_any_size_are_made_as_large_as_the_encoder_takes():
    extractor = of_images()
    flat = torch.full((1, 3, 16, 16), 0.3)
    large = torch.full((1, 3, 50, 50), 0.3)
    torch.testing.assert_close(extractor.encode(large).values, extractor.encode(flat).values, rtol=1e-4, atol=1e-5)


def test_units_are_found_of_what_is_real():
    extractor = EncoderExtractor.from_components(HubertConfig(**EAR), num_codes=3)
    wave, mask = waves(200)(), torch.arange(200) < torch.tensor([200, 60, 100, 20])[:, None]
    noisy = torch.where(mask[:, None], wave, 100.0)
    extractor.fit_units([(wave, mask)])
    first = extractor.centroids.clone()
    extractor.fit_units([(noisy, mask)])
    torch.testing.assert_close(extractor.centroids, first)
    assert extractor.config.representation_spec == RepresentationSpec((None,), 3, rate=1600)
    codes = extractor.encode(wave, mask)
    assert codes.values.shape == (4, 19) and codes.mask.sum(-1).tolist() == [19, 5, 9, 1]


def test_units_are_saved(tmp_path):
    extractor = of_images(num_codes=5)
    assert extractor.config.representation_spec == RepresentationSpec((4, 4), 5)
    extractor.fit_units([images(), images()])
    extractor.save_pretrained(tmp_path)
    reloaded = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(reloaded.centroids, extractor.centroids)
    codes = reloaded.encode(images()).values
    assert torch.equal(codes, extractor.encode(images()).values)
    assert codes.shape == (4, 4, 4) and codes.min() >= 0 and codes.max() < 5 and codes.unique().numel() > 1


def test_units_must_be_found_first(tmp_path):
    extractor = of_images(num_codes=5)
    extractor.save_pretrained(tmp_path)
    for unfitted in (extractor, AutoModel.from_pretrained(tmp_path)):
        with pytest.raises(ValueError, match="has no units yet: find 5 by `fit_units`"):
            unfitted.encode(images())
    with pytest.raises(ValueError, match="64 features, fewer than num_codes 65"):
        of_images(num_codes=65).fit_units([images()])
    with pytest.raises(ValueError, match="`num_codes` is None"):
        of_images().fit_units([images()])


def test_it_stays_as_it_is():
    extractor = of_images().train()
    assert not extractor.encoder.training and not extractor.is_trainable
    assert not any(parameter.requires_grad for parameter in extractor.parameters())
    with pytest.raises(NotImplementedError, match="EncoderExtractor is frozen and has nothing to learn"):
        extractor(images())


def test_wav2vec2_with_group_norm_does_not_see_padding():
    extractor = EncoderExtractor.from_components(Wav2Vec2Config(**EAR, feat_extract_norm="group"))
    wave, mask = waves(200)(), torch.arange(200) < torch.tensor([200, 60, 100, 20])[:, None]
    noisy = torch.where(mask[:, None], wave, 100.0)
    torch.testing.assert_close(extractor.encode(noisy, mask).values, extractor.encode(wave, mask).values)


def test_waves_are_normalised_only_where_the_encoder_was_trained_so():
    wave = 0.1 * torch.randn(1, 1, 200) + 0.3
    encoder = HubertModel(HubertConfig(**EAR)).eval()
    plain, normal = (EncoderExtractor.from_components(encoder, do_normalize=asked) for asked in (False, True))
    scaled = (wave - wave.mean()) / (wave.var(correction=0) + 1e-7).sqrt()
    with torch.no_grad():
        torch.testing.assert_close(normal.encode(wave).values, plain.encode(scaled).values)
        assert not torch.allclose(normal.encode(wave).values, plain.encode(wave).values, atol=1e-4)
