"""FastSpeech (Ren et al., 2019): text → log-mel spectrogram → wave, by regression and a HiFi-GAN, both new.

All sentences last the same time here: there is no predictor of durations.
"""

from transformers import BertConfig, SpeechT5HifiGanConfig

from regen_hf import LogMelExtractor, RegenerationModel, RegressionGenerator, VocoderGenerator

LAYERS = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 1536}
PHONEMES, BACKBONE = BertConfig(vocab_size=128, **LAYERS), BertConfig(**LAYERS, max_position_embeddings=1024)
VOCODER = SpeechT5HifiGanConfig()


def build(text_encoder=PHONEMES, backbone=BACKBONE, vocoder=VOCODER, num_samples=128_000, **mel) -> RegenerationModel:
    spectrogram = LogMelExtractor.from_components(num_samples=num_samples, **mel)
    spec = spectrogram.config.representation_spec
    prior = RegressionGenerator.for_spec(backbone, spec, None, source_encoder=text_encoder)
    decoder = VocoderGenerator.for_spec(vocoder, spectrogram.config.target_spec, spec)
    return RegenerationModel.from_components(spectrogram, prior, decoder)
