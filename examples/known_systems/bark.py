"""Bark (Suno, 2023): text → units by k-means → coarse codes → fine codes → speech; `model.extractor.fit_units` first.

Units are of wav2vec 2.0 and codes of DAC, both at 16 kHz; the last link writes the coarse codes anew.
"""

from transformers import GPT2Config

from regen_hf import AutoregressiveGenerator, CodecExtractor, EncoderExtractor, RegenerationModel

ENCODER, CODEC = "facebook/wav2vec2-base-960h", "descript/dac_16khz"
WRITER = GPT2Config(n_positions=1024, n_embd=1024, n_layer=24, n_head=16)


def build(
    unit_encoder=ENCODER, codec=CODEC, writer=WRITER, num_words=129_600, num_units=10_000, layer=9, seconds=14
) -> RegenerationModel:
    units = EncoderExtractor.from_components(unit_encoder, layer=layer, num_codes=num_units)
    coarse, fine = (CodecExtractor.from_components(codec, num_codebooks=number) for number in (2, None))
    specs = [link.config.representation_spec for link in (units, coarse, fine)]
    places = [int(seconds * spec.rate) for spec in specs]
    write = AutoregressiveGenerator.for_spec
    semantic = write(writer, specs[0], None, prefix_vocabulary_size=num_words, max_places=places[0])
    first = write(writer, specs[1], specs[0], order="delay", max_places=places[1])
    rest = write(writer, specs[2], specs[1], order="delay", max_places=places[2])
    return RegenerationModel.from_components(
        units, semantic, RegenerationModel.from_components(coarse, first, RegenerationModel.from_components(fine, rest))
    )
