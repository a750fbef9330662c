"""DALL·E (Ramesh et al., 2021): text → VQ codes → image, with aMUSEd's codes for want of DALL·E's.

One decoder of DALL·E's size reads the text and writes the codes after it.
"""

from transformers import GPT2Config

from regen_hf import AutoencoderExtractor, AutoregressiveGenerator, HubReference, RegenerationModel

AUTOENCODER = HubReference("amused/amused-256", subfolder="vqvae")
WRITER = GPT2Config(n_positions=1280, n_embd=3968, n_layer=64, n_head=62)


def build(autoencoder=AUTOENCODER, writer=WRITER, size=256, num_words=16384) -> RegenerationModel:
    codes = AutoencoderExtractor.from_components(autoencoder, (3, size, size), "codes")
    spec = codes.config.representation_spec
    prior = AutoregressiveGenerator.for_spec(writer, spec, None, prefix_vocabulary_size=num_words)
    return RegenerationModel.from_components(codes, prior)
