"""Y′ by rule: the log-mel spectrogram of a wave."""

import torch

from ...parts.contracts import ExtractorConfig, RuleExtractor
from ...parts.lengths import by_length
from ...parts.outputs import Representation, RepresentationSpec
from ...speech.spectral import LOG_MEL_FIELDS, LogMelConfig, log_mel


class LogMelExtractorConfig(ExtractorConfig, LogMelConfig):
    """
    The fields of [`LogMelConfig`], by whose defaults `microsoft/speecht5_hifigan` makes waves of Y′ again, and:

    Args:
        num_samples: the length of every wave, or `None` where it varies.
    """

    model_type = "regen_log_mel"

    num_samples: int | None = None

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
        settings = {name: getattr(config, name) for name in LOG_MEL_FIELDS}
        return log_mel(wave[:, 0], pad_mode="reflect", **settings).to(wave.dtype)
