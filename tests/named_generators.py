"""Tiny models of the real classes that a generator is made of, what they are to make, and what they make it from."""

from collections.abc import Callable
from dataclasses import dataclass, field

import tiny
import torch
from diffusers import LongCatAudioDiTTransformer, UNet3DConditionModel
from named_extractors import dac
from torch import nn
from transformers import (
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    FastSpeech2ConformerHifiGan,
    FastSpeech2ConformerHifiGanConfig,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    ParakeetCTCConfig,
    ParakeetEncoderConfig,
    ParakeetForCTC,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    T5ForConditionalGeneration,
    UnivNetConfig,
    UnivNetModel,
    ViTModel,
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
)

from regen_hf import (
    AlignedDiffusionGenerator,
    AutoencoderExtractor,
    AutoregressiveGenerator,
    CodecExtractor,
    CTCGenerator,
    DiffusionGenerator,
    DownsampleExtractor,
    EncoderExtractor,
    IdentityExtractor,
    LogMelExtractor,
    MaskedGenerator,
    PreTrainedExtractor,
    RegenerationModel,
    RegressionGenerator,
    RepresentationSpec,
    VocoderGenerator,
)

CODES = RepresentationSpec((4, 4), 12)
BOOKS = RepresentationSpec((3, None), 16, 3, rate=2000)
GRID = RepresentationSpec((4, 4, 4))
VECTOR = RepresentationSpec((16,))
SEQUENCE = RepresentationSpec((4, 8))
CLIP = RepresentationSpec((4, 2, 4, 4))
PIXELS = RepresentationSpec((3, 8, 8))
WAVE, MEL = RepresentationSpec((1, None), rate=16000), RepresentationSpec((8, None), rate=1000)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def example(spec: RepresentationSpec, seed: int = 0) -> torch.Tensor:
    """Four of what `spec` describes."""
    longest = {WAVE: 192, MEL: 12}.get(spec, 6)
    shape = [4, *(longest if size is None else size for size in spec.shape)]
    if spec.num_codes is None:
        return torch.randn(shape, generator=seeded(seed))
    return torch.randint(spec.num_codes, shape, generator=seeded(seed))


IDS = torch.randint(1, 16, (4, 5), generator=seeded())
TEXT = {"input_ids": IDS, "attention_mask": (torch.arange(5) < torch.tensor([5, 2, 4, 3])[:, None]).long()}
LABEL = {"class_labels": torch.tensor([[0], [1], [2], [1]])}
IMAGE = {"pixel_values": torch.rand(4, 3, 8, 8, generator=seeded())}
AUDIO = {"input_values": torch.randn(4, 200, generator=seeded())}

# The encoders that read a source, which the tests save under these names.
ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "BertModel": lambda: BertModel(tiny.bert()),
    "ViTModel": lambda: ViTModel(tiny.vit()),
    "Wav2Vec2Model": lambda: Wav2Vec2Model(tiny.wav2vec2()),
}


@dataclass
class Source:
    """X: what of it is given, the encoders that read it, and the settings that say what it is."""

    given: dict[str, torch.Tensor] = field(default_factory=dict)
    encoders: tuple[str, ...] = ()
    settings: dict = field(default_factory=dict)
    spec: RepresentationSpec | None = None


READ = RepresentationSpec((None,), 9)
SOURCES = {
    "text": Source(TEXT, ("BertModel",)),
    "label": Source(LABEL, settings={"num_classes": 3}),
    "image": Source(IMAGE, ("ViTModel",)),
    "audio": Source(AUDIO, ("Wav2Vec2Model",)),
    "representation": Source(
        {"source": example(READ), "source_mask": torch.arange(6) < torch.tensor([6, 2, 4, 3])[:, None]}, spec=READ
    ),
    "text, image and label": Source({**TEXT, **IMAGE, **LABEL}, ("BertModel", "ViTModel"), {"num_classes": 3}),
}


@dataclass
class Part:
    build: Callable[[], nn.Module]
    made: type  # the class that is chosen
    target: RepresentationSpec
    source: Source = field(default_factory=lambda: SOURCES["label"])
    settings: dict = field(default_factory=dict)  # that this model needs, beside those of its source
    wrong: list[tuple[dict, str]] = field(default_factory=list)  # what it cannot make, and how that is said
    extractor: Callable[[], PreTrainedExtractor] = tiny.downsample  # beside it as prior or, by a source, as decoder
    missing: str = ""  # how it is said that extractor and folder leave something open


def codes_of_images() -> PreTrainedExtractor:
    return AutoencoderExtractor.from_components(tiny.vq(), (3, 8, 8), "codes")


def identity(spec: RepresentationSpec) -> Callable[[], PreTrainedExtractor]:
    return lambda: IdentityExtractor.from_components(target_shape=list(spec.shape))


TOO_MANY = RepresentationSpec((9, 8), 12)
NO_READER = r"`prior` must make continuous values .*: no generator does of `.*` with a "
OWN_TEXT = Source(TEXT)


def writer(build: Callable[[], nn.Module], source: Source, refusal: tuple[dict, str], **settings) -> Part:
    wrong = [refusal, ({"target": GRID}, NO_READER + type(build()).__name__)]
    return Part(build, AutoregressiveGenerator, CODES, source, settings, wrong, codes_of_images)


def encoder(**settings) -> BertConfig:
    return BertConfig(
        vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, **settings,
    )  # fmt: skip


def filler(build: Callable[[], nn.Module], source: str) -> Part:
    wrong = [({"target": TOO_MANY}, "BertModel has 64 positions, but 72 of the target and 1 of the source need 73")]
    return Part(build, MaskedGenerator, CODES, SOURCES[source], {}, wrong, codes_of_images)


def regressor(build: Callable[[], nn.Module], source: str) -> Part:
    wrong = [
        ({"target": RepresentationSpec((4, 9, 8))}, "BertModel has 64 positions, but 72 of the target"),
        ({"target": RepresentationSpec((4, None))}, r"`target_shape` must be whole numbers, got \[4, None\]"),
    ]
    return Part(build, RegressionGenerator, GRID, SOURCES[source], {}, wrong, identity(GRID))


def parakeet() -> ParakeetForCTC:
    encoder = ParakeetEncoderConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, subsampling_factor=2,
        subsampling_conv_channels=8, num_mel_bins=8, layerdrop=0.0,
    )  # fmt: skip
    return ParakeetForCTC(ParakeetCTCConfig(encoder_config=encoder, vocab_size=16, pad_token_id=15))


UNITS = RepresentationSpec((None,), 12)
FEATURES = {"input_features": torch.randn(4, 30, 8, generator=seeded())}


def units() -> PreTrainedExtractor:
    return IdentityExtractor.from_components(target_shape=[None], num_codes=12)


def aligner(build: Callable[[], nn.Module], given: dict[str, torch.Tensor], refusal: tuple[dict, str]) -> Part:
    wrong = [refusal, ({"target": GRID}, NO_READER + type(build()).__name__)]
    return Part(build, CTCGenerator, UNITS, Source(given), {}, wrong, units)


GENERATORS: dict[str, Part] = {
    "T5ForConditionalGeneration": writer(
        lambda: T5ForConditionalGeneration(tiny.t5()), OWN_TEXT, ({"order": "delay"}, "needs `num_codebooks`")
    ),
    "BartForConditionalGeneration": writer(
        lambda: BartForConditionalGeneration(tiny.bart_both()), OWN_TEXT,
        ({"target": TOO_MANY}, r"BartDecoder has 64 positions, but codes \(vocabulary 12, shape 9 × 8\) needs 72"),
    ),
    "GPT2LMHeadModel": writer(
        lambda: GPT2LMHeadModel(tiny.gpt2(add_cross_attention=False)), SOURCES["text"],
        ({"target": TOO_MANY}, "GPT2Model has 64 positions, but .* needs 72"),
    ),
    "LlamaForCausalLM": writer(
        lambda: LlamaForCausalLM(tiny.llama()), OWN_TEXT,
        ({"target": TOO_MANY}, "LlamaModel has 64 positions, but .* needs 72"), prefix_vocabulary_size=16,
    ),
    "GPT2LMHeadModel, codebooks of any length": Part(
        lambda: GPT2LMHeadModel(tiny.gpt2(n_positions=128)), AutoregressiveGenerator, BOOKS, SOURCES["label"],
        {"order": "delay", "max_places": 24},
        [({"max_places": 130}, r"GPT2Model has 128 positions, but .*shape 3 × any length.* needs 133")],
        lambda: CodecExtractor.from_components(dac()),
    ),
    "BertForMaskedLM": filler(lambda: BertForMaskedLM(encoder()), "label"),
    "BertModel": filler(lambda: BertModel(encoder()), "text"),
    "BertForMaskedLM, continuous": regressor(lambda: BertForMaskedLM(encoder()), "text"),
    "BertModel, continuous": regressor(lambda: BertModel(encoder()), "representation"),
    "Wav2Vec2ForCTC": aligner(
        lambda: Wav2Vec2ForCTC(tiny.wav2vec2()), AUDIO,
        ({"time_masks": 1}, "`time_masks` 1 needs an encoder that reads input_features, but this one reads input_v"),
    ),
    "ParakeetForCTC": aligner(
        parakeet, FEATURES, ({"source": READ, "source_shape": [None]}, "read `inputs_embeds`, which ParakeetEncoder"),
    ),
}  # fmt: skip


def unet3d() -> UNet3DConditionModel:
    return UNet3DConditionModel(
        sample_size=4, in_channels=4, out_channels=4, block_out_channels=(8, 8), cross_attention_dim=16,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"), layers_per_block=1, norm_num_groups=4,
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"), attention_head_dim=4,
    )  # fmt: skip


def diffuser(build: Callable[[], nn.Module], target: RepresentationSpec, source: str, scheduler: str) -> Part:
    channels, other = target.shape[0], RepresentationSpec((5, *target.shape[1:]))
    wrong = [
        ({"target": other}, rf"has in_channels {channels}, but target_shape \(5,.* needs in_channels 5"),
        ({"scheduler": scheduler[:-9]}, rf"`{scheduler[:-9]}` is not a SchedulerMixin of diffusers"),
        ({"target": CODES}, r"`prior` must make codes \(vocabulary 12"),
    ]
    settings = {"scheduler": scheduler}
    return Part(build, DiffusionGenerator, target, SOURCES[source], settings, wrong, identity(target))


DENOISERS = {
    "PriorTransformer": (lambda: tiny.prior_transformer(num_embeddings=12), VECTOR, "text"),
    "DiTTransformer2DModel": (lambda: tiny.dit(GRID.shape, classes=3), GRID, "label"),
    "SD3Transformer2DModel": (lambda: tiny.sd3(GRID.shape), GRID, "text, image and label"),
    "StableAudioDiTModel": (tiny.stable_audio, SEQUENCE, "text"),
    "UNet2DConditionModel": (lambda: tiny.unet(GRID.shape), GRID, "text"),
    "WanTransformer3DModel": (tiny.wan, CLIP, "text"),
    "UNet3DConditionModel": (unet3d, CLIP, "label"),
}
GENERATORS |= {
    f"{name}, {scheduler}": diffuser(*of, scheduler)
    for name, of in DENOISERS.items()
    for scheduler in ("FlowMatchEulerDiscreteScheduler", "DDIMScheduler")
}


def long_cat() -> LongCatAudioDiTTransformer:
    return LongCatAudioDiTTransformer(
        dit_dim=16, dit_depth=1, dit_heads=2, dit_text_dim=16, latent_dim=4, cross_attn=False, text_conv=False
    )


FRAMES = RepresentationSpec((4, None))
GENERATORS["LongCatAudioDiTTransformer"] = Part(
    long_cat, AlignedDiffusionGenerator, FRAMES, SOURCES["text"], {},
    [({"target": RepresentationSpec((5, None))}, r"LongCatAudioDiTTransformer has latent_dim 4, but .* \(5, None\)")],
    identity(FRAMES),
)  # fmt: skip

HIFIGAN = {
    "model_in_dim": 8, "upsample_initial_channel": 8, "upsample_rates": [4, 4], "upsample_kernel_sizes": [8, 8],
    "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]],
}  # fmt: skip
UNIVNET = {
    "model_in_channels": 4, "model_hidden_channels": 8, "num_mel_bins": 8, "resblock_kernel_sizes": [3, 3],
    "resblock_stride_sizes": [4, 4], "resblock_dilation_sizes": [[1], [1]], "kernel_predictor_num_blocks": 1,
    "kernel_predictor_hidden_channels": 4,
}  # fmt: skip


def speech_t5(**settings) -> SpeechT5HifiGan:
    return SpeechT5HifiGan(SpeechT5HifiGanConfig(**HIFIGAN, **settings))


def log_mel(**settings) -> LogMelExtractor:
    settings = {"n_fft": 128, "win_length": 128, "hop_length": 16, "num_mels": 8, **settings}
    return LogMelExtractor.from_components(**settings)


def from_representation(spec: RepresentationSpec) -> Source:
    return Source({"source": example(spec, seed=1)}, spec=spec)


def vocoder(build: Callable[[], nn.Module]) -> Part:
    name = type(build()).__name__
    wrong = [
        (
            {"source": RepresentationSpec((80, None), rate=1000)},
            rf"{name} makes .* from .*8 × any length.*80 × any length",
        ),
        ({"source": RepresentationSpec((8, None), rate=500)}, rf"{name} makes .* at 1000 a second, not .* at 500 a s"),
        ({"target": RepresentationSpec((2, None), rate=16000)}, r"`decoder` must make .*shape 2 × any length"),
    ]
    return Part(build, VocoderGenerator, WAVE, from_representation(MEL), {}, wrong, log_mel)


def chain() -> RegenerationModel:
    autoencoder, extractor = tiny.dc(), tiny.autoencoder_extractor
    prior = DiffusionGenerator.from_components(tiny.sd3(GRID.shape), GRID.shape, source_shape=[3, 4, 4])
    return RegenerationModel.from_components(extractor(autoencoder), prior)


LOW = RepresentationSpec((3, 4, 4))
HIGH = RepresentationSpec(tiny.IMAGE)

GENERATORS |= {
    "SpeechT5HifiGan": vocoder(speech_t5),
    "FastSpeech2ConformerHifiGan": vocoder(
        lambda: FastSpeech2ConformerHifiGan(FastSpeech2ConformerHifiGanConfig(**HIFIGAN))
    ),
    "UnivNetModel": vocoder(lambda: UnivNetModel(UnivNetConfig(**UNIVNET))),
    "UNet2DConditionModel, a grid stacked onto the target": Part(
        lambda: tiny.unet(PIXELS.shape, channels=6), DiffusionGenerator, PIXELS, from_representation(LOW), {},
        [({"source": GRID}, r"has in_channels 6, but .* \(4, 4, 4\) stacked onto it needs in_channels 7")],
        lambda: DownsampleExtractor.from_components(target_shape=list(PIXELS.shape), factor=2),
    ),
    "SD3Transformer2DModel, from a vector": Part(
        lambda: tiny.sd3(PIXELS.shape), DiffusionGenerator, PIXELS, from_representation(VECTOR), {},
        [({"target": GRID}, r"SD3Transformer2DModel has in_channels 3, but target_shape \(4, 4, 4\)")],
        lambda: EncoderExtractor.from_components(tiny.vit(), pooled=True),
        r"`target_shape` must be whole numbers, got \(3, None, None\)",
    ),
    "PriorTransformer, from a vector": Part(
        tiny.prior_transformer, DiffusionGenerator, VECTOR, from_representation(VECTOR), {},
        [({"target": RepresentationSpec((8,))}, "PriorTransformer has in_channels 16, but target_shape .8,.")],
        identity(VECTOR),
    ),
    "SD3Transformer2DModel, from codes": Part(
        lambda: tiny.sd3(PIXELS.shape), DiffusionGenerator, PIXELS, from_representation(CODES), {},
        [({"target": RepresentationSpec((3, 16, 16))}, r"has sample_size 8, but target_shape is \(3, 16, 16\)")],
        codes_of_images,
    ),
    "RegenerationModel": Part(
        chain, RegenerationModel, HIGH, from_representation(LOW), extractor=tiny.downsample,
    ),
}  # fmt: skip
