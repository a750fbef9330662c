"""Y′ by rule: the log-mel spectrogram of a wave."""

import torch

from ..parts.contracts import ExtractorConfig, RuleExtractor
from ..parts.lengths import by_length
from ..parts.outputs import Representation, RepresentationSpec
from ..speech.spectral import log_mel


class LogMelExtractorConfig(ExtractorConfig):
    """
    The defaults are those of `SpeechT5FeatureExtractor`, so that `microsoft/speecht5_hifigan` makes waves of it again.

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
        num_samples: the length of every wave, or `None` where it varies.
    """

    model_type = "regen_log_mel"

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
    num_samples: int | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.win_length > self.n_fft:
            raise ValueError(f"`win_length` must be at most n_fft {self.n_fft}, got {self.win_length}.")
        if not 0 <= self.min_frequency < self.max_frequency <= self.sampling_rate / 2:
            raise ValueError(
                f"`min_frequency` and `max_frequency` must be between 0 and half the sampling rate, "
                f"{self.sampling_rate / 2:g}, got {self.min_frequency} and {self.max_frequency}."
            )

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec((1, self.num_samples), rate=self.sampling_rate)

    @property
    def representation_spec(self) -> RepresentationSpec:
        frames = None if self.num_samples is None else 1 + self.num_samples // self.hop_length
        return RepresentationSpec((self.num_mels, frames), rate=self.sampling_rate / self.hop_length)


class LogMelExtractor(RuleExtractor):
    """The log-mel spectrogram `(num_mels, frames)` of a mono wave `(1, samples)`, `1 + samples // hop_length` frames.

    Example:
        >>> rule = LogMelExtractor(LogMelExtractorConfig())
        >>> rule.encode(torch.zeros(2, 1, 16000)).values.shape, rule.config.representation_spec.rate
        (torch.Size([2, 80, 63]), 62.5)
    """

    config_class = LogMelExtractorConfig

    def encode(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> Representation:
        samples = self.config.num_samples
        if target.ndim != 3 or target.shape[1] != 1 or samples not in (None, target.shape[2]):
            raise ValueError(f"`target` must have the shape (batch, 1, {samples}), got {tuple(target.shape)}.")
        if samples is None:
            return by_length(self._spectrogram, target, target_mask)
        if target_mask is not None and not target_mask.all():
            raise ValueError("`target_mask` has padding, but `num_samples` says that all waves are of one length.")
        return Representation(self._spectrogram(target))

    def _spectrogram(self, wave: torch.Tensor) -> torch.Tensor:
        config = self.config
        if wave.shape[-1] <= config.n_fft // 2:
            raise ValueError(
                f"`target` must be longer than half of n_fft {config.n_fft}, got {wave.shape[-1]} samples."
            )
        names = (
            "sampling_rate", "num_mels", "n_fft", "hop_length", "win_length", "min_frequency", "max_frequency",
            "log_base", "mel_floor", "norm", "mel_scale",
        )  # fmt: skip
        settings = {name: getattr(config, name) for name in names}
        return log_mel(wave[:, 0], pad_mode="reflect", **settings).to(wave.dtype)
