"""Four ways from speech to text: each a regenerator in some fifteen lines."""

import torch
from backbones import conformer
from transformers import AutoModel, BartConfig, BertConfig, ParakeetEncoderConfig, Wav2Vec2BertConfig

from regen_hf import (
    AutoregressiveGenerator,
    CTCGenerator,
    IdentityExtractor,
    PhonemeExtractor,
    RegenerationModel,
    TextModality,
    TokenAutoencoderExtractor,
)

MASKS = {"time_masks": 2, "frequency_masks": 2}
WRITES = {
    "alignment_weight": 0.3,
    "condition_dropout": 0.0,
    "generation": {"num_beams": 4, "do_sample": False},
}


def listener(width: int = 144, layers: int = 4) -> ParakeetEncoderConfig:
    """A small FastConformer over log-mel spectrograms, 25 states a second."""
    return ParakeetEncoderConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=4 * width,
        subsampling_factor=4,
        subsampling_conv_channels=64,
        num_mel_bins=80,
        layerdrop=0.0,
        scale_input=False,
    )


def reader() -> Wav2Vec2BertConfig:
    """What reads phonemes: a conformer, which sees the neighbours of each of them from the first step on."""
    return conformer(192, 3, feed_forward=768, kernel=9, position_embeddings_type="rotary")


def writer(width: int = 192, layers: int = 3, positions: int = 128) -> BartConfig:
    """What writes subword tokens or phonemes, autoregressively: a decoder of this form."""
    return BartConfig(
        vocab_size=4,  # its own, which the codes replace
        d_model=width,
        encoder_layers=1,
        encoder_attention_heads=4,
        encoder_ffn_dim=width,
        decoder_layers=layers,
        decoder_attention_heads=4,
        decoder_ffn_dim=4 * width,
        attention_dropout=0.1,
        max_position_embeddings=positions,
    )


def phonemes(text: TextModality, texts: list[str], audio=None, language: str = "en-us") -> RegenerationModel:
    """Speech → phonemes, by CTC → text, by a decoder that has learned from texts alone."""
    rule = PhonemeExtractor.from_texts(texts, text.tokenizer, language)
    prior = CTCGenerator.for_spec(audio or listener(), rule.config.representation_spec, None, **_masks(audio))
    return RegenerationModel.from_components(rule, prior, spelling(rule))


def sequence(text: TextModality, texts: list[str], audio=None, language: str = "en-us") -> RegenerationModel:
    """The same with a prior that writes the phonemes autoregressively."""
    rule = PhonemeExtractor.from_texts(texts, text.tokenizer, language)
    prior = AutoregressiveGenerator.for_spec(
        writer(144, 2, 512),
        rule.config.representation_spec,
        None,
        source_encoder=audio or listener(),
        **WRITES,
    )
    return RegenerationModel.from_components(rule, prior, spelling(rule))


def spelling(rule: PhonemeExtractor) -> AutoregressiveGenerator:
    """Phonemes → text. It repairs errors, since it learns from perturbed phonemes."""
    return AutoregressiveGenerator.for_spec(
        writer(),
        rule.config.target_spec,
        rule.config.representation_spec,
        representation_encoder=reader(),
        source_noise=0.1,
        **WRITES,
    )


def text_codes(text: TextModality, texts: list[str], audio=None, language: str = "en-us") -> RegenerationModel:
    """Speech → codes of a text autoencoder → text; both maps learned."""
    layer = BertConfig(
        vocab_size=1,
        hidden_size=192,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=768,
        max_position_embeddings=1024,
    )
    codes = TokenAutoencoderExtractor.from_components(layer, vocabulary_size=len(text.tokenizer), stride=2)
    prior = AutoregressiveGenerator.for_spec(
        writer(positions=256),
        codes.config.representation_spec,
        None,
        source_encoder=audio or listener(),
        **WRITES,
    )
    return RegenerationModel.from_components(codes, prior)


def identity(
    text: TextModality, texts: list[str], audio=None, language: str = "en-us", width: int = 144, layers: int = 4
) -> RegenerationModel:
    """Speech → letters: the end-to-end baseline, of the same family."""
    same = IdentityExtractor.from_components(target_shape=[None], num_codes=len(text.tokenizer))
    spec = same.config.representation_spec
    prior = CTCGenerator.for_spec(audio or listener(width, layers), spec, None, **_masks(audio))
    return RegenerationModel.from_components(same, prior)


def pretrained(name: str):
    """An encoder of waveforms or of spectrograms by Hub name or folder, to be trained further."""
    safe = {"use_safetensors": True, "trust_remote_code": False}
    model = AutoModel.from_pretrained(name, dtype=torch.float32, **safe)
    return model.get_encoder() if model.config.is_encoder_decoder else model


def _masks(audio) -> dict[str, int]:
    """Only spectrograms are masked here: encoders of waveforms, such as wav2vec 2.0, do so by themselves."""
    return {} if audio is not None and audio.main_input_name != "input_features" else MASKS


REPRESENTATIONS = {"phonemes": phonemes, "sequence": sequence, "text_codes": text_codes, "identity": identity}
