"""Muse (Chang et al., 2023): text → VQ codes → image by masked prediction; its base model, without super-resolution.

The codes are aMUSEd's, an open remake of Muse; the text encoder is a frozen T5, as Muse's is.
"""

from transformers import BertConfig

from regen_hf import AutoencoderExtractor, HubReference, MaskedGenerator, RegenerationModel

AUTOENCODER = HubReference("amused/amused-256", subfolder="vqvae")
BACKBONE = BertConfig(hidden_size=2048, num_hidden_layers=48, num_attention_heads=16, intermediate_size=8192)


def build(autoencoder=AUTOENCODER, backbone=BACKBONE, text_encoder="google/flan-t5-xl", size=256) -> RegenerationModel:
    codes = AutoencoderExtractor.from_components(autoencoder, (3, size, size), "codes")
    prior = MaskedGenerator.for_spec(backbone, codes.config.representation_spec, None, source_encoder=text_encoder)
    return RegenerationModel.from_components(codes, prior)
