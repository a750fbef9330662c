"""Three ways from a melody, or from words, to four voices: each a regenerator in some fifteen lines."""

from backbones import word_embeddings
from transformers import LlamaConfig, ModernBertConfig

from regen_hf import (
    AutoregressiveGenerator,
    HarmonyExtractor,
    IdentityExtractor,
    MaskedGenerator,
    RegenerationModel,
    ScoreModality,
    TextModality,
    TokenAutoencoderExtractor,
)

WIDTH, LONGEST, BEAT = 128, 512, 2
VOICES = {"order": "delay", "max_places": LONGEST, "condition_dropout": 0.0}
GREEDY, SAMPLED = {"do_sample": False}, {"do_sample": True, "top_p": 0.9}


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
    )


def prior(
    spec, source: ScoreModality | TextModality, stride: int = 1, layers: int = 4, width: int = WIDTH, **settings
) -> AutoregressiveGenerator:
    """Codes frame-aligned with a melody, one for each `stride` of its steps; or after words, sampled, since many scores
    fit them."""
    if isinstance(source, TextModality):
        reads = {"source_encoder": word_embeddings(source, width, dropout=0.1), "generation": SAMPLED}
    else:
        reads = {"source_encoder": reader(2, source.num_codes + 1, width), "source_stride": stride}
    settings = {**VOICES, "generation": GREEDY, **reads, **settings}
    return AutoregressiveGenerator.for_spec(writer(layers, width), spec, None, **settings)


def plan(spec, source: ScoreModality | TextModality) -> AutoregressiveGenerator | MaskedGenerator:
    """Melody → codes frame-aligned with it, all at once and each nearly always the likeliest: where a chord leads is
    known before it is reached, and what is filled in first would mislead the rest. Words → codes, autoregressively,
    since only so can they end."""
    if isinstance(source, TextModality):
        return prior(spec, source)
    return MaskedGenerator.for_spec(
        reader(5),
        spec,
        None,
        source_encoder=reader(1, source.num_codes + 1),
        source_stride=1,
        codebook_order="any",
        masking_schedule="all",
        condition_dropout=0.0,
        generation={"temperature": 0.1},
    )


def harmony(score: ScoreModality, source: ScoreModality | TextModality) -> RegenerationModel:
    """Melody → key, cadences, chords, bass and rhythm → voices, by a decoder that needs no melody."""
    pitches = {"lowest": score.lowest, "num_pitches": score.highest - score.lowest + 1}
    rule = HarmonyExtractor.from_components(voices=score.voices, **pitches, steps_per_beat=score.steps_per_quarter)
    given, spec = rule.config.target_spec, rule.config.representation_spec
    decoder = AutoregressiveGenerator.for_spec(
        writer(), given, spec, representation_encoder=reader(), source_stride=1, generation=GREEDY, **VOICES
    )
    return RegenerationModel.from_components(rule, plan(spec, source), decoder)


def bar_codes(score: ScoreModality, source: ScoreModality | TextModality) -> RegenerationModel:
    """Melody → codes of bars, one for each beat, of an autoencoder → voices; both maps learned."""
    codes = TokenAutoencoderExtractor.from_components(
        reader(3), vocabulary_size=score.num_codes, num_codebooks=score.voices, stride=BEAT, levels=(8, 8, 8, 8)
    )
    spec = codes.config.representation_spec
    return RegenerationModel.from_components(codes, prior(spec, source, BEAT, order="interleave"))


def identity(
    score: ScoreModality, source: ScoreModality | TextModality, layers: int = 4, width: int = WIDTH
) -> RegenerationModel:
    """Melody → voices: the end-to-end baseline, of the same family."""
    same = IdentityExtractor.from_components(
        target_shape=[score.voices, None], num_codes=score.num_codes, num_codebooks=score.voices
    )
    spec = same.config.representation_spec
    return RegenerationModel.from_components(same, prior(spec, source, layers=layers, width=width))


REPRESENTATIONS = {"harmony": harmony, "bar_codes": bar_codes, "identity": identity}
