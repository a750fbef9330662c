"""Parler-TTS (Lyth and King, 2024): description → DAC codes → speech, nine codebooks at a step in a delay pattern.

It reads the description alone; Parler-TTS also reads what is to be said, as a second text.
"""

import musicgen
from transformers import GPT2Config

from regen_hf import RegenerationModel

WRITER = GPT2Config(n_positions=4096, n_embd=1024, n_layer=24, n_head=16)


def build(
    codec="descript/dac_44khz", writer=WRITER, text_encoder="google/flan-t5-large", max_places=2580
) -> RegenerationModel:
    return musicgen.build(codec, writer, text_encoder, max_places)
