import json

import pytest
import tiny
import torch
from named_extractors import EAR, EYE, TEXT, waves
from transformers import (
    AutoModel,
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    HubertConfig,
    HubertModel,
    T5Config,
    T5Model,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from regen_hf import EncoderExtractor

pytestmark = pytest.mark.usefixtures("one_thread")


def vit() -> ViTModel:
    return ViTModel(ViTConfig(**EYE)).eval()


def test_clip_by_name_is_its_part_for_images(tmp_path):
    clip = CLIPModel(CLIPConfig(text_config=TEXT, vision_config=EYE, projection_dim=12)).eval()
    clip.save_pretrained(tmp_path)
    small = torch.rand(2, 3, 16, 16) * 2 - 1
    grid, pooled = (EncoderExtractor.from_components(str(tmp_path), pooled=pooled) for pooled in (False, True))
    assert type(grid.encoder).__name__ == "CLIPVisionModel"
    states = clip.vision_model(small).last_hidden_state[:, 1:].transpose(1, 2).unflatten(-1, (4, 4))
    torch.testing.assert_close(grid.encode(small).values, states)
    assert type(pooled.encoder).__name__ == "CLIPVisionModelWithProjection"
    torch.testing.assert_close(pooled.encode(small).values, clip.get_image_features(small).pooler_output)


def test_how_images_are_taken_is_read_from_the_preprocessor(tmp_path):
    encoder, mean, std = vit(), [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    encoder.save_pretrained(tmp_path)
    assert EncoderExtractor.from_components(str(tmp_path)).config.image_mean == (0.5, 0.5, 0.5)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": mean, "image_std": std}))
    extractor = EncoderExtractor.from_components(tmp_path)
    assert (extractor.config.image_mean, extractor.config.image_std) == (mean, std)
    image = torch.rand(2, 3, 16, 16)
    pixels = (image - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    states = encoder(pixels).last_hidden_state[:, 1:].transpose(1, 2).unflatten(-1, (4, 4))
    torch.testing.assert_close(extractor.encode(2 * image - 1).values, states)
    extractor.save_pretrained(tmp_path / "saved")
    assert AutoModel.from_pretrained(tmp_path / "saved").config.image_mean == mean


def test_how_waves_are_taken_is_read_from_the_preprocessor(tmp_path):
    HubertModel(HubertConfig(**EAR)).save_pretrained(tmp_path)
    said = {"sampling_rate": 8000, "do_normalize": True, "feature_extractor_type": "Wav2Vec2FeatureExtractor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    extractor, wave = EncoderExtractor.from_components(str(tmp_path)), waves(200)()
    assert (extractor.config.target_spec.rate, extractor.config.representation_spec.rate) == (8000, 800)
    torch.testing.assert_close(extractor.encode(wave).values, extractor.encode(3 * wave + 1).values, rtol=0, atol=1e-3)


def test_what_is_no_encoder_is_refused_with_what_is():
    with pytest.raises(ValueError, match="`encoder` must be a ViTModel, got ViTForImageClassification"):
        EncoderExtractor.from_components(ViTForImageClassification(ViTConfig(**EYE)))
    with pytest.raises(ValueError, match="`encoder` must be a T5EncoderModel, got T5Model"):
        EncoderExtractor.from_components(T5Model(T5Config(vocab_size=20, d_model=16, d_kv=8, d_ff=16, num_layers=1)))


@pytest.mark.parametrize(
    "kind", ["clip", "clip_vision_model", "siglip", "dinov2", "dinov3_vit", "vit", "hubert", "wavlm", "bert", "t5"]
)
def test_hosts_encoders(kind):
    assert EncoderExtractor.hosts({"model_type": kind})


@pytest.mark.parametrize(
    "kind",
    ["gpt2", "bart", "whisper", "llava", "mimi", "mimi_encoder", "encodec", "audio-spectrogram-transformer", None],
)
def test_hosts_nothing_else(kind):
    assert not EncoderExtractor.hosts({"model_type": kind})


def test_images_are_read_at_the_size_that_their_preprocessing_cuts(tmp_path):
    Dinov2Model(Dinov2Config(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=1, image_size=16, patch_size=4
    )).save_pretrained(tmp_path)  # fmt: skip
    said = {"image_mean": [0.1] * 3, "image_std": [0.2] * 3, "crop_size": {"height": 8, "width": 8}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    extractor = EncoderExtractor.from_components(str(tmp_path))
    assert extractor.config.image_size == 8
    assert extractor.encode(torch.zeros(1, 3, 16, 16)).values.shape == (1, 8, 2, 2)


def test_how_a_live_pretrained_encoder_takes_images_must_be_said(tmp_path):
    ViTModel(tiny.vit()).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="how ViTModel takes images or waves is found at a name only"):
        EncoderExtractor.from_components(ViTModel.from_pretrained(tmp_path))
