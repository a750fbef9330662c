"""MeloForm (Lu et al., 2022): musical form → skeleton → melody, a pitch from 0 to 127 for each beat.

The skeleton is the first note of each bar, written from left to right; the rest is filled in by masked prediction.
"""

from rules import TokenRuleExtractor
from transformers import BertConfig, GPT2Config

from regen_hf import AutoregressiveGenerator, MaskedGenerator, RegenerationModel

NOTES = GPT2Config(n_positions=256, n_embd=256, n_layer=4, n_head=4)
REFINER = BertConfig(
    hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024, max_position_embeddings=1024
)


def build(notes=NOTES, refiner=REFINER, num_forms=16, beats=512, beats_a_bar=4) -> RegenerationModel:
    skeleton = TokenRuleExtractor.from_components(num_codes=128, length=beats, every=beats_a_bar)
    melody, bars = skeleton.config.target_spec, skeleton.config.representation_spec
    prior = AutoregressiveGenerator.for_spec(notes, bars, None, num_classes=num_forms)
    decoder = MaskedGenerator.for_spec(refiner, melody, bars)
    return RegenerationModel.from_components(skeleton, prior, decoder)
