"""Three ways from a signature to a sentence: each a regenerator in some fifteen lines."""

from transformers import BertConfig, Lfm2Config

from regen_hf import (
    AutoregressiveGenerator,
    IdentityExtractor,
    KeywordExtractor,
    RegenerationModel,
    TextModality,
    TokenAutoencoderExtractor,
)

WIDTH, LONGEST, SIGNATURE = 128, 96, 32
LEFT_OUT = (
    "a an the this that these those it its is are was were be been being am do does did has have had will would can "
    "could should may might must shall such some any there here which who whom whose what he she they them their his "
    "her we us our you your i me my"
)
"""Words that are left out of a plan, since its other words and their order imply them. Prepositions stay: they are not
implied."""
WRITES = {"max_places": LONGEST, "condition_dropout": 0.0}
SEARCH = {"num_beams": 4, "do_sample": False}
LONGER = {**SEARCH, "length_penalty": 1.5, "no_repeat_ngram_size": 3}  # what copies may stop early, or repeat itself
PLAN = {**LONGER, "no_repeat_ngram_size": 1}  # a token is planned only once


def writer(vocabulary: int, layers: int = 4, width: int = WIDTH) -> Lfm2Config:
    """What reads a text and continues with another in the same subword tokens. Short convolutions take turns with
    attention: each token knows those before it, attention finds it by them, and copying is learned in few steps."""
    return Lfm2Config(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=3 * width,
        block_auto_adjust_ff_dim=False,
        num_hidden_layers=layers,
        layer_types=(["conv", "full_attention"] * layers)[:layers],
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=3 * LONGEST,
        initializer_range=width**-0.5,
        tie_word_embeddings=True,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")),
    )


def prior(
    spec, source: TextModality, shares_vocabulary: bool, generation: dict, layers: int = 4, width: int = WIDTH
) -> AutoregressiveGenerator:
    """Signature → codes, which are subword tokens of the same vocabulary or have their own."""
    vocabulary = len(source.tokenizer)
    return AutoregressiveGenerator.for_spec(
        writer(vocabulary, layers, width),
        spec,
        None,
        prefix_vocabulary_size=vocabulary,
        shares_vocabulary=shares_vocabulary,
        ties_head=True,
        copies=shares_vocabulary,
        generation=generation,
        **WRITES,
    )


def keywords(source: TextModality, target: TextModality, language_model: str | None = None) -> RegenerationModel:
    """Signature → keywords in order → sentence, by a decoder that has learned from sentences alone: a new one, or a
    language model by name. Both read the plan in their own tokens."""
    rule = KeywordExtractor.from_tokenizer(target.tokenizer, LEFT_OUT.split())
    spec = rule.config.representation_spec
    decoder = AutoregressiveGenerator.for_spec(
        language_model or writer(spec.num_codes),
        rule.config.target_spec,
        spec,
        prefix_vocabulary_size=spec.num_codes,
        reads_codes=True,
        shares_vocabulary=True,
        ties_head=language_model is None,
        copies=language_model is None,
        source_noise=0.1,
        generation=LONGER if language_model is None else SEARCH,
        **WRITES,
    )
    plan = prior(spec, source, target.tokenizer is source.tokenizer, PLAN)
    return RegenerationModel.from_components(rule, plan, decoder)


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
    return RegenerationModel.from_components(codes, prior(codes.config.representation_spec, source, False, SEARCH))


def identity(source: TextModality, target: TextModality, layers: int = 4, width: int = WIDTH) -> RegenerationModel:
    """Signature → sentence: the end-to-end baseline, of the same family."""
    same = IdentityExtractor.from_components(target_shape=[None], num_codes=len(target.tokenizer))
    baseline = prior(same.config.representation_spec, source, True, LONGER, layers, width)
    return RegenerationModel.from_components(same, baseline)


REPRESENTATIONS = {"keywords": keywords, "text_codes": text_codes, "identity": identity}
