import torch

from regen_hf import GeneratorConfig, Representation
from regen_hf.generators.waves.wave import WaveGenerator


class Settings(GeneratorConfig):
    model_type = "test_echo"
    sampling_rate: int = 16000
    hop_length: int = 64
    num_mels: int = 8
    segment_frames: int | None = None


class Echo(WaveGenerator):
    """The samples of each frame are the frame."""

    config_class = Settings

    def _check(self, source):
        assert source is not None

    def _waves(self, source, mask, generator):
        mask = None if mask is None else mask.repeat_interleave(64, dim=1)
        return Representation(source.mT.flatten(1)[:, None], mask)


def test_what_is_the_true_wave_is_at_no_distance_and_what_is_louder_is():
    source = torch.randn(2, 64, 20)
    wave = source.mT.flatten(1)[:, None]
    right, loud = Echo(Settings())(wave, source), Echo(Settings())(wave, 10 * source)
    assert {name: term.item() for name, term in right.terms.items()} == {"mel": 0.0, "spectral": 0.0}
    assert 0.99 < loud.terms["mel"] < 1.01, "to the base of 10"
    assert 2.30 < loud.terms["spectral"] < 2.31, "to the base of e"


def test_pieces_of_source_and_target_belong_together():
    generator = Echo(Settings(segment_frames=5)).train()
    source = torch.randn(3, 64, 20)
    wave = source.mT.flatten(1)[:, None]
    mask = torch.arange(20) < torch.tensor([20, 9, 3])[:, None]
    padded = mask.repeat_interleave(64, dim=1)
    output = generator(wave.masked_fill(~padded[:, None], 9.0), source, mask, padded)
    assert output.reconstruction.shape == (3, 1, 320) and output.loss == 0
    assert (output.reconstruction[2, 0, 192:] == 0).all(), "what is too short is filled up"
    assert generator.eval()(wave, source).reconstruction.shape == wave.shape
