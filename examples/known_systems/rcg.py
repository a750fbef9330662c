"""RCG (Li et al., 2024): nothing → self-supervised features → VQ codes → image; DINOv2's features, aMUSEd's codes."""

from transformers import BertConfig

from regen_hf import (
    AutoencoderExtractor,
    DiffusersModuleConfig,
    DiffusionGenerator,
    EncoderExtractor,
    HubReference,
    MaskedGenerator,
    RegenerationModel,
)

DENOISER = DiffusersModuleConfig(class_name="PriorTransformer", module_config={"embedding_dim": 768, "num_layers": 12})
AUTOENCODER = HubReference("amused/amused-256", subfolder="vqvae")
BACKBONE = BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)


def build(
    image_encoder="facebook/dinov2-base", denoiser=DENOISER, autoencoder=AUTOENCODER, backbone=BACKBONE, size=256
) -> RegenerationModel:
    features = EncoderExtractor.from_components(image_encoder, pooled=True)
    codes = AutoencoderExtractor.from_components(autoencoder, (3, size, size), "codes")
    seen, written = features.config.representation_spec, codes.config.representation_spec
    prior = DiffusionGenerator.for_spec(denoiser, seen, None)
    decoder = RegenerationModel.from_components(codes, MaskedGenerator.for_spec(backbone, written, seen))
    return RegenerationModel.from_components(features, prior, decoder)
