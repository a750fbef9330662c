"""Three ways from a signature to a sentence: each a regenerator in some fifteen lines."""

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from transformers import BartConfig, BertConfig, Wav2Vec2BertConfig

from regen_hf import (
    AutoregressiveGenerator,
    IdentityExtractor,
    KeywordExtractor,
    RegenerationModel,
    TextModality,
    TokenAutoencoderExtractor,
)

WIDTH, LONGEST, SIGNATURE = 192, 96, 48
BEAMS = {"num_beams": 4, "do_sample": False}


def writer(layers: int = 3, width: int = WIDTH) -> BartConfig:
    """What writes codes one after the other: a decoder of this form."""
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
        max_position_embeddings=LONGEST + 2,
    )


def reader(text: TextModality, layers: int = 3, width: int = WIDTH) -> BertConfig:
    """What reads the pieces of a signature."""
    return BertConfig(
        vocab_size=len(text.tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=4 * width,
        max_position_embeddings=text.max_length,
        pad_token_id=text.tokenizer.pad_token_id,
    )


def plan_reader() -> Wav2Vec2BertConfig:
    """What reads a plan: a conformer, which sees what stands around each piece from the first step on."""
    return Wav2Vec2BertConfig(
        hidden_size=WIDTH,
        feature_projection_input_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=4 * WIDTH,
        position_embeddings_type="rotary",
        conv_depthwise_kernel_size=5,
        apply_spec_augment=False,
        layerdrop=0.0,
    )


def prior(spec, source: TextModality, layers: int = 3, width: int = WIDTH) -> AutoregressiveGenerator:
    """Signature → codes."""
    return AutoregressiveGenerator.for_spec(
        writer(layers, width),
        spec,
        None,
        source_encoder=reader(source, layers, width),
        max_places=LONGEST,
        condition_dropout=0.0,
        generation=BEAMS,
    )


def keywords(source: TextModality, target: TextModality, language_model: str | None = None) -> RegenerationModel:
    """Signature → keywords in order → sentence, by a decoder that has learned from sentences alone: a new one, or a
    language model by name, which reads the plan in its own tokens."""
    rule = KeywordExtractor.from_tokenizer(target.tokenizer, ENGLISH_STOP_WORDS)
    spec = rule.config.representation_spec
    settings = {"source_noise": 0.1, "max_places": LONGEST, "condition_dropout": 0.0, "generation": BEAMS}
    if language_model is None:
        part, settings["representation_encoder"] = writer(), plan_reader()
    else:
        part = language_model
        settings |= {"prefix_vocabulary_size": spec.num_codes, "reads_codes": True, "shares_vocabulary": True}
    decoder = AutoregressiveGenerator.for_spec(part, rule.config.target_spec, spec, **settings)
    return RegenerationModel.from_components(rule, prior(spec, source), decoder)


def text_codes(source: TextModality, target: TextModality) -> RegenerationModel:
    """Signature → codes of a text autoencoder → sentence; both maps learned."""
    layer = BertConfig(
        vocab_size=1,
        hidden_size=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=2 * LONGEST,
    )
    codes = TokenAutoencoderExtractor.from_components(layer, vocabulary_size=len(target.tokenizer), stride=2)
    return RegenerationModel.from_components(codes, prior(codes.config.representation_spec, source))


def identity(source: TextModality, target: TextModality, layers: int = 3, width: int = WIDTH) -> RegenerationModel:
    """Signature → sentence: the direct map, of the same family."""
    same = IdentityExtractor.from_components(target_shape=[None], num_codes=len(target.tokenizer))
    return RegenerationModel.from_components(same, prior(same.config.representation_spec, source, layers, width))


REPRESENTATIONS = {"keywords": keywords, "text_codes": text_codes, "identity": identity}
