"""MaskGIT (Chang et al., 2022): class → VQ codes → image, all codes at once by masked prediction; aMUSEd's codes."""

from transformers import BertConfig

from regen_hf import AutoencoderExtractor, HubReference, MaskedGenerator, RegenerationModel

AUTOENCODER = HubReference("amused/amused-256", subfolder="vqvae")
BACKBONE = BertConfig(hidden_size=768, num_hidden_layers=24, num_attention_heads=8, intermediate_size=3072)


def build(autoencoder=AUTOENCODER, backbone=BACKBONE, size=256, num_classes=1000) -> RegenerationModel:
    codes = AutoencoderExtractor.from_components(autoencoder, (3, size, size), "codes")
    prior = MaskedGenerator.for_spec(backbone, codes.config.representation_spec, None, num_classes=num_classes)
    return RegenerationModel.from_components(codes, prior)
