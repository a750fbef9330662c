"""LlamaGen (Sun et al., 2024): class → VQ codes → image, with aMUSEd's codes and a Llama of LlamaGen-B's size."""

from transformers import LlamaConfig

from regen_hf import AutoencoderExtractor, AutoregressiveGenerator, HubReference, RegenerationModel

AUTOENCODER = HubReference("amused/amused-256", subfolder="vqvae")
WRITER = LlamaConfig(hidden_size=768, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=12)


def build(autoencoder=AUTOENCODER, writer=WRITER, size=256, num_classes=1000) -> RegenerationModel:
    codes = AutoencoderExtractor.from_components(autoencoder, (3, size, size), "codes")
    prior = AutoregressiveGenerator.for_spec(writer, codes.config.representation_spec, None, num_classes=num_classes)
    return RegenerationModel.from_components(codes, prior)
