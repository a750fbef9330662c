"""TeleMelody (Ju et al., 2021): lyrics → template → melody, a pitch from 0 to 127 for each beat.

The template is the pitch class on each downbeat; TeleMelody's has tonality, chords, rhythm and cadence.
"""

from rules import TokenRuleExtractor
from transformers import BartConfig, GPT2Config

from regen_hf import AutoregressiveGenerator, RegenerationModel

LAYERS = {"d_model": 256, "encoder_layers": 4, "decoder_layers": 4}
HEADS = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 1024, "decoder_ffn_dim": 1024}
LYRICS = BartConfig(vocab_size=30_000, **LAYERS, **HEADS)
NOTES = GPT2Config(n_positions=1024, n_embd=256, n_layer=4, n_head=4)


def build(lyrics=LYRICS, notes=NOTES, beats=512, beats_a_bar=4) -> RegenerationModel:
    pitch_classes = [pitch % 12 for pitch in range(128)]
    template = TokenRuleExtractor.from_components(num_codes=128, every=beats_a_bar, table=pitch_classes)
    melody, bars = template.config.target_spec, template.config.representation_spec
    prior = AutoregressiveGenerator.for_spec(lyrics, bars, None, max_places=beats // beats_a_bar)
    decoder = AutoregressiveGenerator.for_spec(notes, melody, bars, max_places=beats)
    return RegenerationModel.from_components(template, prior, decoder)
