"""AudioLM (Borsos et al., 2022): sound → units by k-means → codec codes → wave; `model.extractor.fit_units` first.

Units are of wav2vec 2.0 and codes of DAC, both at 16 kHz, for w2v-BERT's and SoundStream's.
"""

from transformers import GPT2Config

from regen_hf import AutoregressiveGenerator, CodecExtractor, EncoderExtractor, RegenerationModel

SPEECH, CODEC = "facebook/wav2vec2-base-960h", "descript/dac_16khz"
WRITER = GPT2Config(n_positions=2048, n_embd=1024, n_layer=12, n_head=16)


def build(
    unit_encoder=SPEECH, codec=CODEC, audio_encoder=SPEECH, writer=WRITER, num_units=1024, layer=9, seconds=30
) -> RegenerationModel:
    units = EncoderExtractor.from_components(unit_encoder, layer=layer, num_codes=num_units)
    codes = CodecExtractor.from_components(codec)
    said, heard = units.config.representation_spec, codes.config.representation_spec
    prior = AutoregressiveGenerator.for_spec(
        writer, said, None, source_encoder=audio_encoder, max_places=int(seconds * said.rate)
    )
    decoder = AutoregressiveGenerator.for_spec(writer, heard, said, order="delay", max_places=int(seconds * heard.rate))
    return RegenerationModel.from_components(units, prior, RegenerationModel.from_components(codes, decoder))
