import math

import pytest
import tiny
import torch
from transformers import DacConfig, SpeechT5HifiGanConfig, Wav2Vec2BertConfig

from regen_hf import (
    AlignedDiffusionGenerator,
    AutoregressiveGenerator,
    CodecExtractor,
    CTCGenerator,
    DiffusionGenerator,
    GriffinLimGenerator,
    InverseSTFTGenerator,
    MaskedGenerator,
    RegenerationModel,
    RegressionGenerator,
    Representation,
    RepresentationSpec,
    TokenAutoencoderExtractor,
    VocoderGenerator,
)
from regen_hf.generators.sources.conditioning import SourceEncoder
from regen_hf.generators.sources.source_encoders import SOURCE_NAMES
from regen_hf.parts.generation import row_generators

NAN, INFINITY = math.nan, math.inf


def test_the_names_of_sources_are_those_that_are_read():
    read = SourceEncoder.read.__code__
    assert set(read.co_varnames[1 : read.co_argcount]) == SOURCE_NAMES


def hifi_gan():
    return VocoderGenerator.from_components(
        SpeechT5HifiGanConfig(
            model_in_dim=4, upsample_initial_channel=8, upsample_rates=[4, 4], upsample_kernel_sizes=[8, 8],
            resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]],
        )
    )  # fmt: skip


def aligned():
    from diffusers import LongCatAudioDiTTransformer

    denoiser = LongCatAudioDiTTransformer(
        dit_dim=8, dit_depth=1, dit_heads=2, dit_text_dim=16, latent_dim=4, cross_attn=False, text_conv=False
    )
    encoder = {"source_shape": [4, None], "representation_encoder": tiny.bert()}
    return AlignedDiffusionGenerator.from_components(denoiser, (4, None), **encoder)


def inverse_stft():
    conformer = Wav2Vec2BertConfig(
        hidden_size=8, feature_projection_input_dim=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        apply_spec_augment=False,
    )  # fmt: skip
    return InverseSTFTGenerator.from_components(conformer, RepresentationSpec((4, None), rate=1000))


SOURCE = {"source_shape": [4, None], "representation_encoder": tiny.bert()}
DECODERS = {
    "written": lambda: AutoregressiveGenerator.from_components(tiny.gpt2(), (None,), 11, max_places=5, **SOURCE),
    "drawn": lambda: AutoregressiveGenerator.from_components(tiny.gpt2(), (2, 2), 11, **SOURCE),
    "masked": lambda: MaskedGenerator.from_components(tiny.bert(), (4,), 11, **SOURCE),
    "beside": lambda: MaskedGenerator.from_components(tiny.bert(), (None,), 11, source_stride=1, **SOURCE),
    "ctc": lambda: CTCGenerator.from_components(num_codes=11, **SOURCE),
    "regression": lambda: RegressionGenerator.from_components(tiny.bert(), (3, 2), **SOURCE),
    "diffusion": lambda: DiffusionGenerator.from_components(tiny.pixart((4, 4, 4)), (4, 4, 4), **SOURCE),
    "aligned": aligned,
    "vocoder": hifi_gan,
    "griffin_lim": lambda: GriffinLimGenerator.from_components(
        num_mels=4, n_fft=64, win_length=64, hop_length=16, num_iterations=2
    ),
    "inverse_stft": inverse_stft,
}
LENGTHS = torch.tensor([3, 0, 2])
MASK = torch.arange(3) < LENGTHS[:, None]
FRAMES = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=DECODERS)
def decoder(request):
    torch.manual_seed(0)
    return DECODERS[request.param]().eval()


def made_by(decoder, rows=slice(None), **others) -> Representation:
    quick = {"num_inference_steps": 2} if "num_inference_steps" in decoder.config.generation_arguments else {}
    return decoder.generate(source=FRAMES[rows], source_mask=MASK[rows], **quick, **others)


def test_an_empty_row_gives_an_empty_row(decoder):
    """Silence, of which Y′ says nothing, between two rows that are as they are without it."""
    seeds = [torch.Generator().manual_seed(row) for row in range(3)]
    made = made_by(decoder, generator=seeds)
    assert len(made.values) == 3 and not made.mask[1].any() and not made.values[1].any()
    seeds = [torch.Generator().manual_seed(row) for row in range(3)]
    others = made_by(decoder, [0, 2], generator=[seeds[0], seeds[2]])
    for row, other in ((0, 0), (2, 1)):
        real = made.mask[row] if others.mask is None else others.mask[other]
        assert (
            torch.equal(made.mask[row][..., : real.shape[-1]], real) and not made.mask[row][..., real.shape[-1] :].any()
        )
        width = real.shape[-1]
        torch.testing.assert_close(made.values[row][..., :width], others.values[other], rtol=1e-3, atol=1e-4)


def test_nothing_but_empty_rows_gives_empty_rows(decoder):
    for frames, mask in ((FRAMES[:2], torch.zeros(2, 3, dtype=torch.bool)), (FRAMES[:2, :, :0], None)):
        made = decoder.generate(source=frames, source_mask=mask, generator=0)
        spec = decoder.config.target_spec
        assert made.values.shape == (2, *[1 if size is None else size for size in spec.shape])
        assert not made.mask.any() and made.values.is_floating_point() == (spec.num_codes is None)


def test_an_empty_row_is_left_out_of_the_loss(decoder):
    if isinstance(decoder, GriffinLimGenerator):
        pytest.skip("a rule has no loss")
    spec, hop = decoder.config.target_spec, getattr(decoder.config, "hop_length", 1)
    shape = [3 * hop if size is None else size for size in spec.shape]
    target = torch.randn(3, *shape) if spec.num_codes is None else torch.randint(11, (3, *shape))
    masked = {}
    if None in spec.shape:
        masked = {"target_mask": torch.arange(shape[-1]) < LENGTHS[:, None].clamp(min=1) * hop}

    def loss(rows, mask):
        torch.manual_seed(0)
        given = {name: value[rows] for name, value in masked.items()}
        return decoder(target=target[rows], source=FRAMES[rows], source_mask=mask, **given).loss

    rows = [0, 2]
    torch.testing.assert_close(loss([0, 1, 2], MASK), loss(rows, MASK[rows]))
    nothing = loss([1], MASK[[1]])
    assert nothing.item() == 0 and nothing.requires_grad


def test_chance_is_led_by_a_generator_a_seed_or_one_for_each_row(decoder):
    one, two = made_by(decoder, generator=3), made_by(decoder, generator=torch.Generator().manual_seed(3))
    assert torch.equal(one.values, two.values)
    with pytest.raises(ValueError, match="`generator` must have one for each of 3 rows, got 2"):
        made_by(decoder, generator=[torch.Generator(), torch.Generator()])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"guidance_scale": 2.0}, "`guidance_scale` is not taken by .*: `guidance` is"),
        ({"negative_prompt": ["x"]}, "`negative_prompt` is not taken .*: the null source is learned"),
        ({"custom_generate": "x"}, "`custom_generate` is not taken .*: no code from a repository is run"),
        ({"steps": 3}, "`steps` is not taken .*: `num_inference_steps` is"),
        ({"sorce": 3}, "`sorce` is not taken .*; did you mean `source`?"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refuses_what_it_does_not_take_by_our_name_for_it(decoder, given, message):
    with pytest.raises(TypeError, match=message):
        decoder.generate(source=FRAMES, **given)
    with pytest.raises(ValueError, match="`generation` must (hold .* only|be empty), got "):
        type(decoder.config)(generation=given)


@pytest.mark.parametrize("wrong", [NAN, INFINITY])
def test_refuses_a_source_that_is_not_finite(decoder, wrong):
    frames = FRAMES.clone()
    frames[0, 0, 0] = wrong
    with pytest.raises(ValueError, match="`source` has NaN or infinite values"):
        decoder.generate(source=frames, source_mask=MASK)


def test_says_that_it_made_nan(decoder):
    import copy

    broken = copy.deepcopy(decoder)
    for parameter in broken.parameters():
        torch.nn.init.constant_(parameter, NAN)
    if not list(broken.parameters()):
        pytest.skip("a rule has no weights")
    with pytest.raises(ValueError, match=f"{type(decoder).__name__} made .*NaN or infinite values"):
        made_by(broken)


def test_an_empty_row_is_decoded_to_an_empty_row():
    codec = CodecExtractor.from_components(
        DacConfig(
            encoder_hidden_size=4, decoder_hidden_size=16, downsampling_ratios=[2, 4], n_codebooks=2, codebook_size=16,
            codebook_dim=4, sampling_rate=16000,
        )
    )  # fmt: skip
    words = TokenAutoencoderExtractor.from_components(tiny.bert(), vocabulary_size=9, levels=(5,), stride=1).eval()
    codes = {codec: torch.randint(16, (3, 2, 3)), words: torch.randint(5, (3, 3))}
    for extractor, values in codes.items():
        whole = extractor.decode(Representation(values, MASK))
        assert not whole.mask[1].any() and whole.mask[0].any()
        alone = extractor.decode(Representation(values[:1], MASK[:1]))
        width = alone.values.shape[-1]
        torch.testing.assert_close(whole.values[:1, ..., :width], alone.values)
        nothing = extractor.decode(Representation(values[:2], torch.zeros(2, 3, dtype=torch.bool)))
        assert len(nothing.values) == 2 and not nothing.mask.any()


def test_silence_stays_silence_through_a_chain():
    """Of nothing heard nothing is said, whatever the decoder would write."""
    words = TokenAutoencoderExtractor.from_components(tiny.bert(), vocabulary_size=9, levels=(11,), stride=1)
    prior = DECODERS["ctc"]().eval()
    torch.nn.init.constant_(prior.head.bias[-1], 1e4)  # always the blank
    writer = AutoregressiveGenerator.from_components(
        tiny.gpt2(), (None,), 9, source_shape=[None], source_num_codes=11, max_places=5, condition_dropout=0.0
    )
    for decoder in (None, writer):
        model = RegenerationModel.from_components(words, prior, decoder).eval()
        made = model.generate(source=FRAMES, source_mask=torch.ones_like(MASK), return_representation=True)
        assert len(made.values) == 3 and not made.mask.any() and not made.representation.mask.any()


def drawn(generators):
    return [float(torch.rand((), generator=generator)) for generator in generators]


def test_each_row_draws_the_same_whatever_follows_it():
    three = drawn(row_generators(torch.Generator().manual_seed(3), 3))
    assert len(set(three)) == 3
    assert drawn(row_generators(torch.Generator().manual_seed(3), 2)) == three[:2]
    assert drawn(row_generators(torch.Generator().manual_seed(4), 2)) != three[:2]


def test_a_seed_is_its_generator_and_a_list_is_itself():
    assert drawn(row_generators(3, 2)) == drawn(row_generators(torch.Generator().manual_seed(3), 2))
    own = [torch.Generator().manual_seed(seed) for seed in (5, 6)]
    assert row_generators(own, 2) == own


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([torch.Generator()] * 3, ValueError, "`generator` must have one for each of 2 rows, got 3"),
        (True, TypeError, "`generator` must be a torch.Generator, .* got True"),
        ("7", TypeError, "`generator` must be a torch.Generator, .* got '7'"),
        (1.5, TypeError, "`generator` must be a torch.Generator, .* got 1.5"),
    ],
)
def test_refuses_what_leads_nothing(given, error, message):
    with pytest.raises(error, match=message):
        row_generators(given, 2)


IDS = torch.ones(3, 5, dtype=torch.long)
MIXED = {
    "rows": ({"input_ids": IDS[:1], "attention_mask": IDS}, "as many rows, got `attention_mask` 3, `input_ids` 1"),
    "labels": ({"input_ids": IDS, "class_labels": IDS[:1, :1]}, "as many rows, got `class_labels` 1, `input_ids` 3"),
    "wide labels": (
        {"input_ids": IDS, "class_labels": IDS[:, :3]},
        r"`class_labels` must be \(batch, 1\), got \(3, 3\)",
    ),
    "mask": ({"input_ids": IDS, "attention_mask": IDS[:, :1]}, r"`attention_mask` has the shape \(3, 1\), but what it"),
    "half a mask": ({"input_ids": IDS, "attention_mask": IDS / 2}, "`attention_mask` must be 1 or true where"),
    "floats": ({"input_ids": IDS.float()}, "`input_ids` must be whole numbers, got torch.float32"),
    "unknown words": ({"input_ids": 99 * IDS}, "`input_ids` must be from 0 to 15, got 99"),
    "batch": ({"input_ids": IDS, "batch_size": 7}, "as many rows, got `input_ids` 3, `batch_size` 7"),
}


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("kind, shape", [(tiny.diffusion_prior, (4, 4, 4)), (tiny.code_prior, (2, 2))])
def test_rows_of_different_sources_are_never_mixed(kind, shape, name):
    given, message = MIXED[name]
    classes = {"num_classes": 3} if "class_labels" in given else {}
    with pytest.raises(ValueError, match=message):
        kind(shape, **classes).generate(**given)


@pytest.mark.parametrize("rows, mask", [(3, (1, 4, 4)), (1, (1, 4, 4)), (3, (3, 2, 2))])
def test_a_loss_is_of_as_many_targets_as_sources_and_places(rows, mask):
    prior = tiny.diffusion_prior((4, 4, 4))
    with pytest.raises(ValueError, match="as many rows, got|`target_mask` has the shape"):
        prior(target=torch.zeros(rows, 4, 4, 4), target_mask=torch.ones(mask).bool(), input_ids=IDS, attention_mask=IDS)


def test_a_new_generator_is_in_use_as_one_from_a_folder():
    prior = tiny.diffusion_prior((4, 4, 4))
    assert not prior.training and not tiny.latent_model().training
    one, two = (prior.generate(input_ids=IDS, num_inference_steps=1, generator=0).values for _ in range(2))
    assert torch.equal(one, two)
