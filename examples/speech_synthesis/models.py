"""Three ways from text to speech: each a regenerator in some fifteen lines."""

from backbones import conformer
from diffusers import LongCatAudioDiTTransformer
from transformers import BertConfig, DacConfig, GPT2Config, Wav2Vec2BertConfig

from regen_hf import (
    AlignedDiffusionGenerator,
    AutoregressiveGenerator,
    CodecExtractor,
    GriffinLimGenerator,
    InverseSTFTGenerator,
    LogMelExtractor,
    PhonemeModality,
    RegenerationModel,
    VocoderGenerator,
)

WIDTH = 192


def mel(text: PhonemeModality, voices: int, vocoder=None, codec=None) -> RegenerationModel:
    """Text → log-mel spectrogram, by flow matching along predicted durations → wave, by a learned vocoder."""
    # vocoders that have learned already know the extractor's own floor
    spectrogram = LogMelExtractor.from_components(**({} if vocoder else {"mel_floor": 1e-5}))
    target, spec = spectrogram.config.target_spec, spectrogram.config.representation_spec
    if vocoder:
        decoder = VocoderGenerator.for_spec(vocoder, target, spec)
    else:
        decoder = InverseSTFTGenerator.for_spec(spectrum_reader(), target, spec, segment_frames=64)
    return RegenerationModel.from_components(spectrogram, speaker(spec, text, voices), decoder)


def griffin_lim(text: PhonemeModality, voices: int, vocoder=None, codec=None) -> RegenerationModel:
    """The same, with the wave found by a rule, which needs no training."""
    spectrogram = LogMelExtractor.from_components(mel_floor=1e-5)
    decoder = GriffinLimGenerator.for_extractor(spectrogram.config)
    prior = speaker(spectrogram.config.representation_spec, text, voices)
    return RegenerationModel.from_components(spectrogram, prior, decoder)


def codes(text: PhonemeModality, voices: int, vocoder=None, codec=None) -> RegenerationModel:
    """Text → codes of a neural codec, autoregressively → wave, by the codec; both maps learned."""
    extractor = CodecExtractor.from_components(codec or small_codec(), segment_samples=8000)
    spec = extractor.config.representation_spec
    prior = AutoregressiveGenerator.for_spec(
        GPT2Config(n_positions=512, n_embd=WIDTH, n_layer=6, n_head=4, bos_token_id=None),
        spec,
        None,
        source_encoder=text_encoder(text),
        num_classes=voices,
        order="delay" if spec.num_codebooks > 1 else "interleave",
        generation={"temperature": 0.7},
    )
    return RegenerationModel.from_components(extractor, prior)


def speaker(spec, text: PhonemeModality, voices: int) -> AlignedDiffusionGenerator:
    """Phonemes and a voice → frames."""
    denoiser = LongCatAudioDiTTransformer(
        dit_dim=WIDTH,
        dit_depth=4,
        dit_heads=4,
        dit_text_dim=WIDTH,
        latent_dim=spec.shape[0],
        cross_attn=False,
        text_conv=False,
        long_skip=False,
    )
    generation = {"num_inference_steps": 10, "temperature": 0.4, "guidance": 2.0}  # chosen on sentences left over
    return AlignedDiffusionGenerator.for_spec(
        denoiser, spec, None, source_encoder=text_encoder(text), num_classes=voices, generation=generation
    )


def text_encoder(text: PhonemeModality) -> BertConfig:
    return BertConfig(
        vocab_size=len(text.phonemes),
        hidden_size=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=text.max_length,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=None,
    )


def spectrum_reader() -> Wav2Vec2BertConfig:
    """A small conformer, which reads spectrograms and predicts spectra."""
    dropouts = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout")
    none = dict.fromkeys((*dropouts, "conformer_conv_dropout"), 0.0)
    return conformer(256, 6, feed_forward=512, kernel=7, **none)


def small_codec() -> DacConfig:
    """A codec of 50 frames a second in four codebooks."""
    return DacConfig(
        encoder_hidden_size=16,
        downsampling_ratios=[4, 4, 4, 5],
        decoder_hidden_size=256,
        n_codebooks=4,
        codebook_size=256,
        codebook_dim=8,
        sampling_rate=16000,
    )


REPRESENTATIONS = {"mel": mel, "griffin_lim": griffin_lim, "codes": codes}
