import math

import pytest
import torch
from generators.conformance import GeneratorConformance
from transformers import BertConfig, Wav2Vec2BertConfig

from regen_hf import InverseSTFTGenerator, InverseSTFTGeneratorConfig, RepresentationSpec

pytestmark = pytest.mark.usefixtures("one_thread")

WAVE = RepresentationSpec((1, None), rate=16000)
MELS = RepresentationSpec((8, None), rate=250)
BOOKS = RepresentationSpec((2, None), 12, 2, rate=250)
HOP = 64


def conformer() -> Wav2Vec2BertConfig:
    return Wav2Vec2BertConfig(
        hidden_size=16, feature_projection_input_dim=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, conv_depthwise_kernel_size=3, apply_spec_augment=False,
    )  # fmt: skip


def bert(**settings) -> BertConfig:
    return BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, **settings)


def made(encoder=None, frames=MELS, **settings) -> InverseSTFTGenerator:
    return InverseSTFTGenerator.for_spec(encoder or conformer(), WAVE, frames, **settings)


class InverseSTFTConformance(GeneratorConformance):
    steps = 30

    def target(self, generator):
        return torch.sin(torch.arange(1, 5)[:, None, None] * torch.arange(10 * HOP) / 9)

    def test_gives_what_its_config_says(self, generator):
        assert generator.config.target_spec == WAVE
        assert self.generate(generator).shape == (4, 1, 10 * HOP)

    def test_guidance_needs_a_null_source(self):
        """There is nothing to guide."""
        with pytest.raises(TypeError, match="guidance"):
            self.generate(self.make().eval(), guidance=2.0)
        with pytest.raises(ValueError, match="`condition_dropout` must be 0, got 0.1"):
            self.make(condition_dropout=0.1)

    def test_default_arguments_come_from_the_config(self, generator):
        with pytest.raises(ValueError, match=r"`generation` must be empty, got \['guidance'\]"):
            self.make(generation={"guidance": 3.0})

    def test_batched_equals_single_without_reading_the_padding(self, generator):
        lengths = torch.tensor([10, 4, 7, 4])
        mask, source = torch.arange(10) < lengths[:, None], self.source()["source"]
        padded = source.masked_fill(~mask[:, None], 5)
        found = generator.generate(source=padded, source_mask=mask)
        assert found.mask.sum(-1).tolist() == (HOP * lengths).tolist()
        for row, length in enumerate(lengths):
            alone = generator.generate(source=source[row : row + 1, ..., :length]).values[0]
            torch.testing.assert_close(found.values[row][:, found.mask[row]], alone, rtol=1e-3, atol=1e-4)


class TestMelsByAConformer(InverseSTFTConformance):
    def make(self, **settings):
        return made(**settings)

    def source(self):
        return {"source": torch.randn(4, 8, 10, generator=self._seeded(1))}


class TestCodesByBert(InverseSTFTConformance):
    def make(self, **settings):
        return made(bert(), BOOKS, **settings)

    def source(self):
        return {"source": torch.randint(12, (4, 2, 10), generator=self._seeded(1))}


def test_the_spectrum_that_is_said_is_that_of_the_wave():
    """Of two frames in all of one magnitude and the phases of a cosine at 1 kHz, the cosine is made."""
    generator = made(n_fft=256)
    generator.head.weight.data.zero_()
    generator.head.bias.data[:129] = -20.0
    generator.head.bias.data[16] = math.log(
        64.0
    )  # 16 cycles in 256 samples, of which a Hann window takes half: 256 / 4
    wave = generator.generate(source=torch.zeros(1, 8, 40)).values[0, 0]
    expected = torch.cos(2 * math.pi * 16 / 256 * torch.arange(40 * HOP))
    window = slice(256, -256)
    # frames follow each other by a quarter of the transform, in which 16 cycles of 256 samples are whole
    assert torch.corrcoef(torch.stack([wave[window], expected[window]]))[0, 1] > 0.999


def test_training_reads_pieces():
    generator = made(segment_frames=3).train()
    source, target = torch.randn(2, 8, 10), torch.randn(2, 1, 10 * HOP)
    assert generator(target, source).reconstruction.shape == (2, 1, 3 * HOP)
    assert generator.eval()(target, source).reconstruction.shape == (2, 1, 10 * HOP)


def test_refuses_what_it_cannot_take():
    with pytest.raises(ValueError, match=r"must be frames of any number, with a rate, got .*\(8, None\)"):
        made(frames=RepresentationSpec((8, None)))
    with pytest.raises(ValueError, match=r"must be frames of any number, with a rate, got .*\(8, 4, None\)"):
        made(frames=RepresentationSpec((8, 4, None), rate=250))
    with pytest.raises(ValueError, match="`sampling_rate` must be a whole multiple of `source_rate` 300, got 16000"):
        made(frames=RepresentationSpec((8, None), rate=300))
    with pytest.raises(ValueError, match="`n_fft` must be even and at least two frames of 64 samples, got 100"):
        made(n_fft=100)
    with pytest.raises(ValueError, match="`segment_frames` must be at least 1, or None, got 0"):
        made(segment_frames=0)
    with pytest.raises(ValueError, match=r"makes mono waves with a rate of frames, not .*\(2, None\)"):
        InverseSTFTGenerator.for_spec(conformer(), RepresentationSpec((2, None), rate=16000), MELS)
    with pytest.raises(ValueError, match=r"`source` must be .*\(8, None\).*, got the shape \(9, 5\)"):
        made().generate(source=torch.zeros(1, 9, 5))
    with pytest.raises(ValueError, match="BertModel has 4 positions, but `source` has 5 frames"):
        made(bert(max_position_embeddings=4)).generate(source=torch.zeros(1, 8, 5))
    assert InverseSTFTGeneratorConfig().source_spec is None
