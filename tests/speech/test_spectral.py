import math

import pytest
import torch
from transformers.audio_utils import mel_filter_bank

from regen_hf.speech.spectral import from_log_mel, log_mel, magnitudes, spectral_distance

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


def test_mels_are_exact_in_mixed_precision_and_after_inference():
    with torch.inference_mode():
        log_mel(torch.randn(1, 1, 3000), 16000, num_mels=33)
    wave = torch.randn(1, 1, 3000, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        mels = log_mel(wave, 16000, num_mels=33)
        found = from_log_mel(mels.detach(), 16000)
    assert torch.equal(mels, log_mel(wave, 16000, num_mels=33)) and found.dtype == torch.float32
    mels.sum().backward()
    assert torch.isfinite(wave.grad).all()


@pytest.mark.parametrize(
    ("scale", "settings", "log_base"),
    [
        ((0, 8000, 16000, "slaney", "slaney"), {}, 10.0),
        ((100, 7000, 16000, None, "htk"), {"norm": None, "mel_scale": "htk", "log_base": 2.0}, 2.0),
    ],
)
def test_magnitudes_come_back_from_mels(scale, settings, log_base):
    """None is negative, what no filter reaches is silent, and they have the mels that they are made of."""
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(8000) / 16000) + 0.01 * torch.randn(8000)
    settings = {**settings, "n_fft": 512, "min_frequency": scale[0], "max_frequency": scale[1]}
    spectrogram = log_mel(tone.expand(2, 3, 8000), 16000, 40, win_length=512, **settings)
    found = from_log_mel(spectrogram, 16000, **settings)
    assert found.shape == (2, 3, 257, 32) and found.min() >= 0
    filters = torch.from_numpy(mel_filter_bank(257, 40, *scale)).float().T
    assert not found[..., filters.sum(0) == 0, :].any()
    again = (filters @ found).log() / math.log(log_base)
    assert (again - spectrogram).abs().mean().item() * math.log(log_base) < 0.05
    assert abs(found[0, 0, :, 16].argmax() - 1000 * 512 / 16000) <= 1


def test_magnitudes_are_finite_where_a_filter_is_empty():
    with pytest.warns(UserWarning, match="mel filter has all zero values"):
        spectrogram = log_mel(torch.randn(1, 1, 2000), 16000, 100, n_fft=256, win_length=256, hop_length=64)
    assert spectrogram.min() == -5  # the floor, which is all that an empty filter gives
    for louder in (0, 6):  # than it can be
        assert torch.isfinite(from_log_mel(spectrogram + louder, 16000, n_fft=256)).all()


def test_mels_below_the_floor_count_as_the_floor():
    spectrogram = torch.full((1, 40, 3), -4.0)
    loud, quiet = (from_log_mel(spectrogram, 16000, mel_floor=floor) for floor in (1e-2, 1e-6))
    torch.testing.assert_close(loud, 100 * quiet)
