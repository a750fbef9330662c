"""Spectra of waves, and how far two waves are apart in them."""

import functools
import math
from collections.abc import Callable

import torch
from transformers import PreTrainedConfig
from transformers.audio_utils import mel_filter_bank

RESOLUTIONS = ((512, 50, 240), (1024, 120, 600), (2048, 240, 1200))
"""Size of the transform, hop and window of each resolution, after Yamamoto et al., 2020, table 1."""
FLOOR = 1e-5
UPDATES, TINY = 20, 1e-20
"""How many updates `from_log_mel` makes, and what it divides by instead of 0."""


class LogMelConfig(PreTrainedConfig):
    """
    How a log-mel spectrogram is made, for the configs of models that make or read one.

    The defaults are those of `SpeechT5FeatureExtractor`.

    Args:
        sampling_rate: samples a second.
        n_fft: size of the Fourier transform.
        hop_length: samples from one frame to the next.
        win_length: samples of the Hann window.
        num_mels: how many mel bins.
        min_frequency, max_frequency: in Hz, where the first bin begins and the last one ends.
        log_base: 10 or, as UnivNet has it, e.
        mel_floor: smaller values count as this one.
        norm, mel_scale: as `transformers.audio_utils.mel_filter_bank` takes them.
    """

    sampling_rate: int = 16000
    n_fft: int = 1024
    hop_length: int = 256
    win_length: int = 1024
    num_mels: int = 80
    min_frequency: float | int = 80
    max_frequency: float | int = 7600
    log_base: float | int = 10
    mel_floor: float = 1e-10
    norm: str | None = "slaney"
    mel_scale: str = "slaney"

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.win_length > self.n_fft:
            raise ValueError(f"`win_length` must be at most n_fft {self.n_fft}, got {self.win_length}.")
        if not 0 <= self.min_frequency < self.max_frequency <= self.sampling_rate / 2:
            raise ValueError(
                f"`min_frequency` and `max_frequency` must be between 0 and half the sampling rate, "
                f"{self.sampling_rate / 2:g}, got {self.min_frequency} and {self.max_frequency}."
            )


LOG_MEL_FIELDS = tuple(LogMelConfig.__annotations__)


def magnitudes(
    wave: torch.Tensor, n_fft: int, hop_length: int, win_length: int, pad_mode: str = "constant"
) -> torch.Tensor:
    """Magnitudes `(..., n_fft // 2 + 1, frames)` of the short-time Fourier transform of `(..., samples)`, in float32.

    There are `1 + samples // hop_length` frames, each centred at a multiple of `hop_length`.
    """
    flat = wave.reshape(-1, wave.shape[-1]).float()
    window = torch.hann_window(win_length, device=wave.device)
    spectrum = torch.stft(flat, n_fft, hop_length, win_length, window, pad_mode=pad_mode, return_complex=True).abs()
    return spectrum.view(*wave.shape[:-1], *spectrum.shape[1:])


@functools.lru_cache
@torch.inference_mode(False)  # what is kept must serve training as well
def _filters(
    num_mels: int, sampling_rate: int, n_fft: int, lowest: float, highest: float | None, norm: str | None, scale: str
) -> torch.Tensor:
    """`(num_mels, n_fft // 2 + 1)`"""
    highest = sampling_rate / 2 if highest is None else highest
    bank = mel_filter_bank(n_fft // 2 + 1, num_mels, lowest, highest, sampling_rate, norm, scale)
    return torch.from_numpy(bank).float().T.contiguous()


def log_mel(
    wave: torch.Tensor,
    sampling_rate: int,
    num_mels: int = 80,
    n_fft: int = 1024,
    hop_length: int = 256,
    win_length: int = 1024,
    min_frequency: float = 0.0,
    max_frequency: float | None = None,
    log_base: float = 10.0,
    mel_floor: float = FLOOR,
    norm: str | None = "slaney",
    mel_scale: str = "slaney",
    pad_mode: str = "constant",
) -> torch.Tensor:
    """The log-mel spectrogram `(..., num_mels, frames)` of `(..., samples)`, in float32."""
    filters = _filters(num_mels, sampling_rate, n_fft, min_frequency, max_frequency, norm, mel_scale)
    with torch.autocast(wave.device.type, enabled=False):
        mel = filters.to(wave.device) @ magnitudes(wave, n_fft, hop_length, win_length, pad_mode)
    return mel.clamp(min=mel_floor).log() / math.log(log_base)


def from_log_mel(
    spectrogram: torch.Tensor,
    sampling_rate: int,
    n_fft: int = 1024,
    min_frequency: float = 0.0,
    max_frequency: float | None = None,
    log_base: float = 10.0,
    mel_floor: float = FLOOR,
    norm: str | None = "slaney",
    mel_scale: str = "slaney",
) -> torch.Tensor:
    """Magnitudes `(..., n_fft // 2 + 1, frames)`, in float32, whose log-mel is `(..., num_mels, frames)`, or nearly so.

    There are more magnitudes than mel bins, so many solutions. This one starts from equal magnitudes and follows the
    multiplicative updates that reduce the divergence of their mels from the given ones (Lee and Seung, 2001, eq. 5), by
    which none becomes negative.
    """
    settings = (sampling_rate, n_fft, min_frequency, max_frequency, norm, mel_scale)
    filters = _filters(spectrogram.shape[-2], *settings).to(spectrogram.device)
    mel = (spectrogram.float() * math.log(log_base)).exp().clamp(min=mel_floor)
    reach = filters.sum(0)[:, None].clamp(min=TINY)  # 0 where no filter is
    found = mel.new_ones(*mel.shape[:-2], filters.shape[1], mel.shape[-1])
    with torch.autocast(found.device.type, enabled=False):
        for _ in range(UPDATES):
            found = found * (filters.T @ (mel / (filters @ found).clamp(min=TINY))) / reach
    return found


def spectral_distance(generated: torch.Tensor, true: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """The mean absolute difference of two waves' log magnitudes, at several resolutions (Yamamoto et al., 2020, eq. 6).

    Args:
        generated, true: `(batch, channels, samples)`.
        mask: `(batch, samples)`, true where they are real.
    """
    distances = []
    for n_fft, hop, window in RESOLUTIONS:
        transform = functools.partial(_log_magnitudes, n_fft=n_fft, hop_length=hop, win_length=window)
        distances.append(distance(transform, generated, true, mask, hop))
    return torch.stack(distances).mean()


def _log_magnitudes(wave: torch.Tensor, **sizes: int) -> torch.Tensor:
    return magnitudes(wave, **sizes).clamp(min=FLOOR).log()


def distance(
    transform: Callable[[torch.Tensor], torch.Tensor],
    generated: torch.Tensor,
    true: torch.Tensor,
    mask: torch.Tensor | None,
    hop: int,
) -> torch.Tensor:
    """The mean absolute difference of what `transform` makes of two waves, a frame every `hop` samples."""
    if mask is None:
        return (transform(generated) - transform(true)).abs().mean()
    difference = (transform(generated * mask[:, None]) - transform(true * mask[:, None])).abs()
    frames = torch.nn.functional.pad(mask, (0, 1))[:, ::hop]
    counted = difference.movedim(-1, 1)[frames]
    return counted.sum() / max(counted.numel(), 1)
