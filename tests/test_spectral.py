import pytest
import torch

from regen_hf.spectral import log_mel, magnitudes, spectral_distance

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_tone_lies_where_its_frequency_is():
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(4000) / 16000)
    spectrum = magnitudes(tone[None, None], 512, 128, 512)
    assert spectrum.shape == (1, 1, 257, 32)
    assert spectrum[0, 0, :, 16].argmax() == 1000 * 512 / 16000


def test_distance_is_that_of_the_loudness():
    """What is e times louder is 1 away in log magnitudes, at every resolution."""
    wave = torch.randn(2, 1, 3000)
    assert spectral_distance(wave, wave).item() == 0
    assert spectral_distance(torch.e * wave, wave).item() == pytest.approx(1, rel=1e-3)


def test_padding_does_not_count():
    true = torch.randn(2, 1, 3000)
    mask = torch.arange(3000) < torch.tensor([3000, 1200])[:, None]
    generated, other = torch.e * true, torch.e * true
    other[1, :, 1200:] = 7.0
    assert spectral_distance(generated, true, mask) == spectral_distance(other, true, mask)
    assert spectral_distance(generated, true, mask).item() == pytest.approx(1, abs=0.1)


def test_gradients_are_finite_in_silence():
    wave = torch.zeros(1, 1, 500, requires_grad=True)
    (spectral_distance(wave, torch.randn(1, 1, 500)) + log_mel(wave, 16000).sum()).backward()
    assert torch.isfinite(wave.grad).all()
