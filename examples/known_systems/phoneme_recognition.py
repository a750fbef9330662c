"""Speech recognition by way of phonemes: speech → sounds → text, letter by letter.

In the place of phonemes stands a crude rule: letters that often sound alike become one.
"""

from rules import TokenRuleExtractor
from transformers import GPT2Config

from regen_hf import AutoregressiveGenerator, RegenerationModel

LETTERS = " 'abcdefghijklmnopqrstuvwxyz"
SOUNDS = " 'abkdefghijklmnopkrstuvvkis"
WRITER = GPT2Config(n_positions=512, n_embd=512, n_layer=6, n_head=8)


def build(audio_encoder="facebook/wav2vec2-base-960h", writer=WRITER, max_places=500) -> RegenerationModel:
    table = [LETTERS.index(sound) for sound in SOUNDS]
    sounds = TokenRuleExtractor.from_components(num_codes=len(LETTERS), table=table)
    text, spoken = sounds.config.target_spec, sounds.config.representation_spec
    prior = AutoregressiveGenerator.for_spec(writer, spoken, None, source_encoder=audio_encoder, max_places=max_places)
    decoder = AutoregressiveGenerator.for_spec(writer, text, spoken, max_places=max_places)
    return RegenerationModel.from_components(sounds, prior, decoder)
