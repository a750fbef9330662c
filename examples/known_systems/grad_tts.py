"""Grad-TTS (Popov et al., 2021): text → log-mel spectrogram by diffusion → wave by a HiFi-GAN, both new.

A transformer stands for its U-Net, and all sentences last the same time: there is no predictor of durations.
"""

from transformers import BertConfig, SpeechT5HifiGanConfig

from regen_hf import DiffusersModuleConfig, DiffusionGenerator, LogMelExtractor, RegenerationModel, VocoderGenerator

PHONEMES = BertConfig(
    vocab_size=128, hidden_size=192, num_hidden_layers=6, num_attention_heads=2, intermediate_size=768
)
VOCODER = SpeechT5HifiGanConfig()
DENOISER = DiffusersModuleConfig(class_name="StableAudioDiTModel", module_config={
    "in_channels": 80, "out_channels": 80, "num_layers": 8, "num_attention_heads": 6,
    "num_key_value_attention_heads": 6, "cross_attention_dim": 384, "cross_attention_input_dim": 192,
    "global_states_input_dim": 192,
})  # fmt: skip


def build(text_encoder=PHONEMES, denoiser=DENOISER, vocoder=VOCODER, num_samples=128_000, **mel) -> RegenerationModel:
    spectrogram = LogMelExtractor.from_components(num_samples=num_samples, **mel)
    spec = spectrogram.config.representation_spec
    prior = DiffusionGenerator.for_spec(denoiser, spec, None, source_encoder=text_encoder)
    decoder = VocoderGenerator.for_spec(vocoder, spectrogram.config.target_spec, spec)
    return RegenerationModel.from_components(spectrogram, prior, decoder)
