import math

import numpy as np
import pytest
import torch
from extractors.conformance import ExtractorConformance
from transformers import SpeechT5FeatureExtractor

from regen_hf import LogMelExtractor

pytestmark = pytest.mark.usefixtures("one_thread")


class TestLogMelExtractor(ExtractorConformance):
    def make(self):
        return LogMelExtractor.from_components(num_samples=2000)

    def target(self):
        return torch.randn(4, 1, 2000) * 0.1


@pytest.mark.parametrize("samples", [600, 1024, 3001])
def test_equals_what_speecht5_learns_from(samples):
    wave = torch.randn(samples) * 0.1
    expected = SpeechT5FeatureExtractor()(audio_target=wave.numpy(), sampling_rate=16000)["input_values"][0]
    found = LogMelExtractor.from_components().encode(wave[None, None]).values[0].T.numpy()
    assert np.allclose(found, expected, atol=1e-5)


def test_padding_is_not_read():
    rule = LogMelExtractor.from_components(num_mels=20)
    waves, mask = torch.randn(3, 1, 2000), torch.arange(2000) < torch.tensor([2000, 700, 1024])[:, None]
    found = rule.encode(waves, mask)
    assert found.mask.sum(-1).tolist() == [8, 3, 5]
    for row, (wave, length) in enumerate(zip(waves, mask.sum(-1), strict=True)):
        single = rule.encode(wave[None, :, :length]).values[0]
        torch.testing.assert_close(found.values[row][:, found.mask[row]], single)
        torch.testing.assert_close(found.values[row][:, ~found.mask[row]].abs().sum(), torch.tensor(0.0))


def test_says_what_fits_where():
    config = LogMelExtractor.from_components(sampling_rate=24000, hop_length=300, num_mels=100).config
    assert (config.target_spec.shape, config.target_spec.rate) == ((1, None), 24000)
    assert (config.representation_spec.shape, config.representation_spec.rate) == ((100, None), 80)


def test_the_base_of_the_logarithm():
    wave = torch.randn(1, 1, 2000)
    natural, common = (LogMelExtractor.from_components(log_base=base).encode(wave).values for base in (math.e, 10))
    torch.testing.assert_close(natural, common * math.log(10))


def test_gradients_pass():
    wave = torch.randn(1, 1, 2000, requires_grad=True)
    LogMelExtractor.from_components().encode(wave).values.sum().backward()
    assert torch.isfinite(wave.grad).all() and wave.grad.abs().sum() > 0


def test_refuses_what_it_cannot_take():
    rule = LogMelExtractor.from_components()
    with pytest.raises(ValueError, match=r"shape \(batch, 1, None\), got \(2, 2, 2000\)"):
        rule.encode(torch.zeros(2, 2, 2000))
    with pytest.raises(ValueError, match="longer than half of n_fft 1024, got 512 samples"):
        rule.encode(torch.zeros(2, 1, 512))
    fixed = LogMelExtractor.from_components(num_samples=2000)
    with pytest.raises(ValueError, match=r"shape \(batch, 1, 2000\), got \(2, 1, 1999\)"):
        fixed.encode(torch.zeros(2, 1, 1999))
    whole = torch.ones(2, 2000, dtype=torch.bool)
    assert fixed.encode(torch.zeros(2, 1, 2000), whole).mask is None
    with pytest.raises(ValueError, match="`target_mask` has padding, but `num_samples` says"):
        fixed.encode(torch.zeros(2, 1, 2000), whole & (torch.arange(2000) < 1000))
    with pytest.raises(ValueError, match="half the sampling rate, 4000, got 80 and 7600"):
        LogMelExtractor.from_components(sampling_rate=8000)
    with pytest.raises(ValueError, match="`win_length` must be at most n_fft 512, got 1024"):
        LogMelExtractor.from_components(n_fft=512)
