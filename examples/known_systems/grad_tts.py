"""Grad-TTS (Popov et al., 2021): text → log-mel spectrogram, as long as predicted, by diffusion → wave by a HiFi-GAN.

Flow matching by a transformer stands for its SDE and its U-Net."""

from transformers import BertConfig, SpeechT5HifiGanConfig

from regen_hf import (
    AlignedDiffusionGenerator,
    DiffusersModuleConfig,
    LogMelExtractor,
    RegenerationModel,
    VocoderGenerator,
)

PHONEMES = BertConfig(
    vocab_size=128, hidden_size=192, num_hidden_layers=6, num_attention_heads=2, intermediate_size=768
)
DENOISER = DiffusersModuleConfig(class_name="LongCatAudioDiTTransformer", module_config={
    "latent_dim": 80, "dit_dim": 256, "dit_depth": 8, "dit_heads": 4, "dit_text_dim": 192, "cross_attn": False,
    "text_conv": False,
})  # fmt: skip
VOCODER = SpeechT5HifiGanConfig()


def build(text_encoder=PHONEMES, denoiser=DENOISER, vocoder=VOCODER, **mel) -> RegenerationModel:
    spectrogram = LogMelExtractor.from_components(**mel)
    spec = spectrogram.config.representation_spec
    prior = AlignedDiffusionGenerator.for_spec(denoiser, spec, None, source_encoder=text_encoder)
    decoder = VocoderGenerator.for_spec(vocoder, spectrogram.config.target_spec, spec)
    return RegenerationModel.from_components(spectrogram, prior, decoder)
