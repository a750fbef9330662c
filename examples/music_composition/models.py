"""Three ways from a melody to four voices: each a regenerator in some fifteen lines."""

from transformers import LlamaConfig, ModernBertConfig

from regen_hf import (
    AutoregressiveGenerator,
    HarmonyExtractor,
    IdentityExtractor,
    RegenerationModel,
    ScoreModality,
    TokenAutoencoderExtractor,
)

WIDTH, LONGEST, BAR = 192, 512, 8
VOICES = {"order": "delay", "source_stride": 1, "max_places": LONGEST, "condition_dropout": 0.0}
SUREST = {"do_sample": False}


def reader(layers: int = 2, vocabulary: int = 1, width: int = WIDTH) -> ModernBertConfig:
    """What reads all steps at once. Its positions are relative, since what a chord leads to does not depend on where in
    the chorale it stands."""
    return ModernBertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=3 * width,
        max_position_embeddings=LONGEST,
        local_attention=32,
        global_attn_every_n_layers=2,
        mlp_dropout=0.1,
        attention_dropout=0.1,
        pad_token_id=0,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")),
    )


def writer(layers: int = 4, width: int = WIDTH) -> LlamaConfig:
    """What writes the voices from the first step to the last, each a step behind the one above it."""
    return LlamaConfig(
        vocab_size=4,  # its own, which the codes replace
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=3 * width,
        max_position_embeddings=2 * LONGEST,
        attention_dropout=0.1,
    )


def prior(spec, score: ScoreModality, layers: int = 4, width: int = WIDTH, **settings) -> AutoregressiveGenerator:
    """Melody → codes."""
    melody = reader(2, score.num_codes + 1, width)
    settings = {**VOICES, "generation": SUREST, **settings}
    return AutoregressiveGenerator.for_spec(writer(layers, width), spec, None, source_encoder=melody, **settings)


def harmony(score: ScoreModality) -> RegenerationModel:
    """Melody → key, cadences, chords, bass and rhythm → voices, by a decoder that has learned from scores alone."""
    pitches = {"lowest": score.lowest, "num_pitches": score.highest - score.lowest + 1}
    rule = HarmonyExtractor.from_components(voices=score.voices, **pitches, steps_per_beat=score.steps_per_quarter)
    given, spec = rule.config.target_spec, rule.config.representation_spec
    decoder = AutoregressiveGenerator.for_spec(
        writer(), given, spec, representation_encoder=reader(), generation=SUREST, **VOICES
    )
    return RegenerationModel.from_components(rule, prior(spec, score), decoder)


def bar_codes(score: ScoreModality) -> RegenerationModel:
    """Melody → a code for each half bar, of an autoencoder → voices; both maps learned."""
    codes = TokenAutoencoderExtractor.from_components(
        reader(3), vocabulary_size=score.num_codes, num_codebooks=score.voices, stride=BAR // 2
    )
    spec = codes.config.representation_spec
    return RegenerationModel.from_components(codes, prior(spec, score, order="interleave", source_stride=BAR // 2))


def identity(score: ScoreModality, layers: int = 4, width: int = WIDTH) -> RegenerationModel:
    """Melody → voices: the direct map, of the same family."""
    same = IdentityExtractor.from_components(
        target_shape=[score.voices, None], num_codes=score.num_codes, num_codebooks=score.voices
    )
    return RegenerationModel.from_components(same, prior(same.config.representation_spec, score, layers, width))


REPRESENTATIONS = {"harmony": harmony, "bar_codes": bar_codes, "identity": identity}
