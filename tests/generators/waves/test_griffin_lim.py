import json
import math

import numpy as np
import pytest
import tiny
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoModel, BertConfig

from regen_hf import (
    AudioModality,
    DownsampleExtractor,
    GriffinLimGenerator,
    LogMelExtractor,
    RegenerationModel,
    RegenerationProcessor,
    RegressionGenerator,
    RepresentationSpec,
    StageArguments,
    train_regenerator,
)
from regen_hf.parts.auto import load_generator
from regen_hf.speech.spectral import magnitudes

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"n_fft": 512, "win_length": 512, "hop_length": 128, "num_mels": 40}
SECONDS = torch.arange(8000) / 16000


def harmonics() -> torch.Tensor:
    """A glide of 19 harmonics."""
    phase = 2 * math.pi * (150 * SECONDS + 30 * SECONDS.square())
    return sum(torch.sin(number * phase) / number for number in range(1, 20)) * 0.1


def voice() -> torch.Tensor:
    """Pulses at 110 Hz through two resonances, as a synthesiser of speech makes vowels, and a little breath."""
    pulses = torch.zeros(8000)
    pulses[::145] = 1.0
    times = torch.arange(400) / 16000
    for frequency, width in ((600, 80), (1300, 120)):
        resonance = torch.exp(-math.pi * width * times) * torch.sin(2 * math.pi * frequency * times)
        pulses = torch.nn.functional.conv1d(pulses[None, None], resonance.flip(0)[None, None], padding=399)[0, 0, :8000]
    return 0.3 * pulses / pulses.abs().max() + 0.001 * torch.randn(8000)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def log_mel(**settings) -> LogMelExtractor:
    return LogMelExtractor.from_components(**{**SMALL, **settings})


def made(**settings) -> GriffinLimGenerator:
    return GriffinLimGenerator.for_extractor(log_mel().config, **settings)


@pytest.mark.parametrize(
    ("wave", "settings", "bound"),
    [(harmonics, {}, 0.15), (harmonics, SMALL, 0.07), (voice, {}, 0.055), (voice, SMALL, 0.035)],
)
def test_has_the_spectrogram_that_it_is_made_of(wave, settings, bound):
    """The mean distance of log-mels to base 10; what silence is away from both waves is more than 3."""
    rule = LogMelExtractor.from_components(**settings)
    source = rule.encode(wave()[None, None]).values
    found = GriffinLimGenerator.for_extractor(rule.config).generate(source).values
    again = rule.encode(found).values[..., : source.shape[-1]]
    assert (again - source).abs().mean().item() < bound


def distance_of_spectra(wave: torch.Tensor, true: torch.Tensor) -> float:
    """How far the magnitudes are from those that were asked for, 0 to about 1."""
    spectra = [magnitudes(each[..., :8000], 512, 128, 512) for each in (wave, true)]
    return ((spectra[0] - spectra[1]).norm() / spectra[1].norm()).item()


def test_iterations_and_momentum_bring_it_closer():
    true = harmonics()[None, None]
    rule = log_mel(num_mels=128, win_length=512)
    source = rule.encode(true).values
    one, slow, fast = (
        distance_of_spectra(GriffinLimGenerator.for_extractor(rule.config, **settings).generate(source).values, true)
        for settings in ({"num_iterations": 1}, {"momentum": 0.0}, {})
    )
    assert fast < 0.9 * slow < 0.8 * one


def test_batched_equals_single_without_reading_the_padding():
    rule, lengths, shared = made(), torch.tensor([20, 5, 12, 1, 5]), seeded(3)
    source = log_mel().encode(torch.randn(5, 1, 2500) * torch.linspace(0, 1, 2500)).values
    mask = torch.arange(20) < lengths[:, None]
    found = rule.generate(source.masked_fill(~mask[:, None], 9.0), mask, generator=seeded(3))
    assert found.mask.sum(-1).tolist() == [2560, 640, 1536, 128, 640]
    for row, length in enumerate(lengths):
        single = rule.generate(source[row : row + 1, :, :length], generator=shared).values[0]
        assert single.std() > 1e-4
        torch.testing.assert_close(
            found.values[row][:, found.mask[row]], single, rtol=1e-3, atol=1e-4 * single.abs().max().item()
        )


def test_the_generator_draws_the_first_phases():
    rule, source = made(num_iterations=4), log_mel().encode(harmonics()[None, None]).values.repeat(2, 1, 1)
    found = [rule.generate(source, generator=None if seed is None else seeded(seed)).values for seed in (None, 0, 0, 1)]
    assert torch.equal(found[0], rule.generate(source).values) and torch.equal(found[0][0], found[0][1])
    assert torch.equal(found[1], found[2])
    assert (found[1] - found[3]).abs().max() > 0.01 and (found[1][0] - found[1][1]).abs().max() > 0.01


def test_is_as_loud_to_its_end():
    """Also where frames overlap by half only."""
    rule = log_mel(hop_length=256)
    tone = torch.sin(2 * math.pi * 1000 * SECONDS)[None, None]
    found = GriffinLimGenerator.for_extractor(rule.config).generate(rule.encode(tone).values).values
    assert found.shape == (1, 1, 8192)
    assert found[..., -256:].square().mean().item() == pytest.approx(0.5, rel=0.25)


def test_what_is_below_the_floor_counts_as_the_floor():
    loudness = [
        GriffinLimGenerator.from_components(mel_floor=floor).generate(torch.full((1, 80, 9), -6.0)).values.std().item()
        for floor in (1e-10, 1e-6, 1e-2)
    ]
    assert loudness[0] == pytest.approx(loudness[1], rel=1e-2) and loudness[0] > 0
    assert loudness[2] == pytest.approx(1e4 * loudness[1], rel=1e-2)


def test_takes_over_how_the_spectrogram_is_made():
    settings = {
        "sampling_rate": 22050, "n_fft": 800, "hop_length": 200, "win_length": 600, "num_mels": 30, "min_frequency": 50,
        "max_frequency": 9000, "log_base": math.e, "mel_floor": 1e-4, "norm": None, "mel_scale": "htk",
    }  # fmt: skip
    rule = LogMelExtractor.from_components(**settings, num_samples=4000)
    config = GriffinLimGenerator.for_extractor(rule.config, num_iterations=9, momentum=0.5).config
    found = {name: getattr(config, name) for name in (*settings, "num_iterations", "momentum")}
    assert found == {**settings, "num_iterations": 9, "momentum": 0.5}
    assert config.source_spec == RepresentationSpec((30, None), rate=110.25)
    assert config.target_spec == RepresentationSpec((1, None), rate=22050)
    wave = 0.1 * torch.randn(1, 1, 4000)
    source = rule.encode(wave).values
    again = rule.encode(GriffinLimGenerator(config).generate(source).values[..., :4000]).values
    assert (again - source).abs().mean().item() < 0.2


def test_survives_reloading(tmp_path):
    rule = made(num_iterations=3)
    rule.save_pretrained(tmp_path)
    assert load_file(tmp_path / "model.safetensors") == {}
    source = torch.randn(2, 40, 6)
    for again in (
        GriffinLimGenerator.from_pretrained(tmp_path),
        AutoModel.from_pretrained(tmp_path),
        load_generator(str(tmp_path), rule.config.target_spec, rule.config.source_spec, slot="decoder"),
    ):
        assert type(again) is GriffinLimGenerator
        assert torch.equal(again.generate(source).values, rule.generate(source).values)


def test_works_in_float32_whatever_it_is_given():
    rule, source = made().to(torch.bfloat16), torch.randn(2, 40, 6).to(torch.bfloat16)
    found = rule.generate(source).values
    assert (found.dtype, rule.dtype, rule.device.type) == (torch.bfloat16, torch.float32, "cpu")
    assert torch.equal(found, rule.generate(source.float()).values.to(torch.bfloat16))


def regenerator() -> RegenerationModel:
    backbone = BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_position_embeddings=32
    )
    rule = log_mel(num_samples=1500)
    prior = RegressionGenerator.for_spec(backbone, rule.config.representation_spec, None, source_encoder=tiny.bert())
    return RegenerationModel.from_components(rule, prior, made(num_iterations=4))


def test_is_a_part_of_a_regenerator(tmp_path):
    model = regenerator().eval()
    model.save_pretrained(tmp_path)
    again, given = AutoModel.from_pretrained(tmp_path), {"input_ids": torch.tensor([[2, 3], [4, 5]])}
    found = model.generate(**given, generator=seeded(0)).values
    assert type(again.decoder_model) is GriffinLimGenerator and again.decoder_model.config.num_iterations == 4
    assert found.shape == (2, 1, 1536) and found.std() > 0
    torch.testing.assert_close(again.generate(**given, generator=seeded(0)).values, found)
    assert not torch.allclose(again.generate(**given, generator=seeded(1)).values, found)
    assert json.loads((tmp_path / "config.json").read_text())["decoder_config"]["model_type"] == "regen_griffin_lim"


def test_is_left_alone_by_training(tmp_path):
    rows = {"text": tiny.NAMES, "audio": [np.random.randn(1500).astype("float32") for _ in tiny.NAMES]}
    model, processor = regenerator(), RegenerationProcessor(tiny.text(), AudioModality(16000))
    given = {"source_column": "text", "target_column": "audio"}
    steps = StageArguments(max_steps=2, batch_size=2)
    with pytest.raises(ValueError, match="`decoder` asks to train GriffinLimGenerator, which has no parameter"):
        train_regenerator(model, processor, Dataset.from_dict(rows), tmp_path / "a", decoder=steps, **given)
    results = train_regenerator(
        model, processor, Dataset.from_dict(rows), tmp_path / "b", prior=steps, samples=["red cat"], **given
    )
    assert [result.name for result in results] == ["prior"]
    assert (tmp_path / "b" / "samples" / "prior-000002.wav").is_file()
    assert type(AutoModel.from_pretrained(tmp_path / "b" / "model").decoder_model) is GriffinLimGenerator
    with pytest.raises(NotImplementedError, match="GriffinLimGenerator is a rule and has nothing to learn"):
        model(target=torch.zeros(1, 1, 1500), input_ids=torch.tensor([[2, 3]]))


def test_refuses_a_source_that_it_cannot_take():
    rule = made()
    with pytest.raises(ValueError, match="`source` is missing"):
        rule.generate()
    for wrong in ((2, 80, 6), (40, 6)):
        with pytest.raises(ValueError, match=r"\(batch, 40 mel bins, frames\), got \(" + str(wrong[0])):
            rule.generate(torch.zeros(wrong))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampling_rate": 8000}, "half the sampling rate, 4000, got 80 and 7600"),
        ({"n_fft": 512}, "`win_length` must be at most n_fft 512, got 1024"),
        ({"hop_length": 513}, "`hop_length` must be 1 to half of `win_length`, 512, .*; got 513"),
        ({"num_iterations": 0}, "`num_iterations` must be at least 1, got 0"),
        ({"momentum": 1.0}, "`momentum` must be from 0 to less than 1, got 1.0"),
        ({"generation": {"num_iterations": 3}}, r"`generation` must be empty, got \['num_iterations'\]"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refuses_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        GriffinLimGenerator.from_components(**settings)


def test_refuses_settings_that_it_does_not_know():
    with pytest.raises(TypeError, match="`num_iteration` is no setting.*mean `num_iterations`"):
        made(num_iteration=3)
    with pytest.raises(TypeError, match="`settings` must leave to `config` .*, got hop_length"):
        made(hop_length=64)
    with pytest.raises(TypeError, match="`config` must be a LogMelExtractorConfig, got DownsampleExtractorConfig"):
        GriffinLimGenerator.for_extractor(DownsampleExtractor.from_components(target_shape=[3, 4, 4], factor=2).config)
