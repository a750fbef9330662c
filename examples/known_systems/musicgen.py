"""MusicGen (Copet et al., 2023): text → EnCodec codes → music, four codebooks at a step in its delay pattern.

Its own codec and text encoder; the decoder is new, of MusicGen-small's size.
"""

from transformers import GPT2Config

from regen_hf import AutoregressiveGenerator, CodecExtractor, RegenerationModel

WRITER = GPT2Config(n_positions=2048, n_embd=1024, n_layer=24, n_head=16)


def build(
    codec="facebook/encodec_32khz", writer=WRITER, text_encoder="google-t5/t5-base", max_places=1500
) -> RegenerationModel:
    codes = CodecExtractor.from_components(codec)
    spec, delay = codes.config.representation_spec, {"order": "delay", "max_places": max_places}
    prior = AutoregressiveGenerator.for_spec(writer, spec, None, source_encoder=text_encoder, **delay)
    return RegenerationModel.from_components(codes, prior)
