import math

import pytest
import tiny
import torch
from generators.conformance import GeneratorConformance
from transformers import BertConfig, Wav2Vec2BertConfig

from regen_hf import InverseSTFTGenerator, InverseSTFTGeneratorConfig, RepresentationSpec

pytestmark = pytest.mark.usefixtures("one_thread")

WAVE = RepresentationSpec((1, None), rate=16000)
MELS = RepresentationSpec((8, None), rate=250)
BOOKS = RepresentationSpec((2, None), 12, 2, rate=250)
HOP = 64


def conformer(**settings) -> Wav2Vec2BertConfig:
    return Wav2Vec2BertConfig(
        hidden_size=16, feature_projection_input_dim=12, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, conv_depthwise_kernel_size=3, apply_spec_augment=False, hidden_dropout=0.0,
        attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0, conformer_conv_dropout=0.0,
        layerdrop=0.0, **settings,
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
    """A Hann window spreads a cosine of 16 cycles over three bins: half of it in its own, a quarter on either side."""
    generator = made(n_fft=256)
    generator.head.weight.data.zero_()
    level, phase = generator.head.bias.data.fill_(-20.0).chunk(2)
    level[16], level[15:18:2] = math.log(256 / 4), math.log(256 / 8)
    phase[:] = math.pi  # frames lie around their samples, so the parts of the window have one sign after the other
    phase[16] = 0.0
    wave = generator.generate(source=torch.zeros(1, 8, 40)).values[0, 0]
    expected = torch.cos(2 * math.pi * 16 / 256 * torch.arange(40 * HOP))
    torch.testing.assert_close(wave[256:-256], expected[256:-256], rtol=0, atol=1e-3)


def test_magnitudes_are_bounded_with_finite_gradients():
    generator = made(n_fft=256)
    generator.head.bias.data[16] = 200.0
    output = generator(torch.randn(1, 1, 10 * HOP), torch.zeros(1, 8, 10))
    output.loss.backward()
    assert 0.5 < output.reconstruction.abs().max() < 4 and torch.isfinite(generator.head.weight.grad).all()


@pytest.mark.parametrize("encoder", [conformer, bert], ids=["conformer", "bert"])
def test_training_reads_pieces_and_no_padding(encoder):
    generator = made(encoder(), segment_frames=6).train()
    source, target = torch.randn(2, 8, 10), torch.randn(2, 1, 10 * HOP)
    mask = torch.arange(10) < torch.tensor([10, 4])[:, None]
    output = generator.train()(target, source, mask, mask.repeat_interleave(HOP, dim=1))
    assert output.reconstruction.shape == (2, 1, 6 * HOP)
    generator.eval()  # the short row is read whole, as in use
    alone = generator.generate(source=source[1:, :, :4]).values[0, 0]
    if encoder is conformer:  # which has no dropout here
        torch.testing.assert_close(output.reconstruction[1, 0, : 4 * HOP], alone, rtol=1e-3, atol=1e-4)
    assert generator(target, source).reconstruction.shape == (2, 1, 10 * HOP)


def test_codes_of_one_codebook_and_frames_of_any_hop():
    generator = made(bert(), RepresentationSpec((None,), 12, rate=16000 / 75))
    assert generator.config.hop_length == 75
    assert generator.generate(source=torch.tensor([[3]])).values.shape == (1, 1, 75)
    with torch.autocast("cpu", torch.bfloat16):
        terms = generator(torch.randn(1, 1, 300), torch.tensor([[3, 1, 4, 1]])).terms
    assert all(term.dtype == torch.float32 for term in terms.values())


def test_refuses_what_it_cannot_take():
    with pytest.raises(ValueError, match=r"must be frames of any number, with a rate, got .*8 × any length"):
        made(frames=RepresentationSpec((8, None)))
    with pytest.raises(ValueError, match=r"must be frames of any number, with a rate, got .*8 × 4 × any length"):
        made(frames=RepresentationSpec((8, 4, None), rate=250))
    with pytest.raises(ValueError, match=r"must be frames of any number, with a rate, got .*4 × any length"):
        made(frames=RepresentationSpec((4, None), 12, rate=250))
    with pytest.raises(ValueError, match="`encoder` Wav2Vec2BertModel must give a state for each frame, got 1 for 2"):
        made(conformer(add_adapter=True))
    with pytest.raises(ValueError, match="`encoder` ViTModel does not read vectors as an encoder does"):
        made(tiny.vit())
    with pytest.raises(ValueError, match="`encoder` is missing"):
        InverseSTFTGenerator.from_components(None, MELS)
    with pytest.raises(ValueError, match="reads frames only: no classes"):
        made(num_classes=3)
    with pytest.raises(ValueError, match="`num_mels` must be at least 1, got 0"):
        made(num_mels=0)
    with pytest.raises(ValueError, match="`sampling_rate` must be that of the target, 16000, got 8000"):
        made(sampling_rate=8000)
    with pytest.raises(ValueError, match=r"`target` must have the shape \(batch, 1, samples\), got \(1, 320\)"):
        made()(torch.zeros(1, 320), torch.zeros(1, 8, 5))
    with pytest.raises(ValueError, match="`sampling_rate` must be a whole multiple of `source_rate` 300, got 16000"):
        made(frames=RepresentationSpec((8, None), rate=300))
    with pytest.raises(ValueError, match="`n_fft` must be even and at least two frames of 64 samples, got 100"):
        made(n_fft=100)
    with pytest.raises(ValueError, match="`segment_frames` must be at least 1, or None, got 0"):
        made(segment_frames=0)
    with pytest.raises(ValueError, match=r"makes mono waves with a rate of frames, not .*2 × any length"):
        InverseSTFTGenerator.for_spec(conformer(), RepresentationSpec((2, None), rate=16000), MELS)
    with pytest.raises(ValueError, match=r"`source` must be .*8 × any length.*, got the shape \(9, 5\)"):
        made().generate(source=torch.zeros(1, 9, 5))
    with pytest.raises(ValueError, match="BertModel has 4 positions, but `source` has 5 frames"):
        made(bert(max_position_embeddings=4)).generate(source=torch.zeros(1, 8, 5))
    assert InverseSTFTGeneratorConfig().source_spec is None
