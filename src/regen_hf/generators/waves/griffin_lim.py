"""Waves from log-mel spectrograms by rule, with nothing to learn."""

import math

import torch
from torch.nn import functional as F

from ...parts.contracts import ExtractorConfig, GeneratorConfig, Rule
from ...parts.lengths import by_length
from ...parts.outputs import LossOutput, Representation, RepresentationSpec
from ...speech.spectral import LOG_MEL_FIELDS, LogMelConfig, from_log_mel
from .wave import WaveGenerator, check_mels

MEL = ("sampling_rate", "n_fft", "min_frequency", "max_frequency", "log_base", "mel_floor", "norm", "mel_scale")


class GriffinLimGeneratorConfig(GeneratorConfig, LogMelConfig):
    """
    The fields of [`LogMelConfig`], with a `hop_length` of at most half of `win_length`, and:

    Args:
        num_iterations: how often the phases are made to agree.
        momentum: how far each iteration goes on in the direction of the last one, from 0 to less than 1.
    """

    model_type = "regen_griffin_lim"

    num_iterations: int = 32
    momentum: float | int = 0.99

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if not 1 <= self.hop_length <= self.win_length / 2:
            raise ValueError(
                f"`hop_length` must be 1 to half of `win_length`, {self.win_length / 2:g}, so that frames overlap; "
                f"got {self.hop_length}."
            )
        if self.num_iterations < 1:
            raise ValueError(f"`num_iterations` must be at least 1, got {self.num_iterations}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"`momentum` must be from 0 to less than 1, got {self.momentum}.")

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec((1, None), rate=self.sampling_rate)

    @property
    def source_spec(self) -> RepresentationSpec:
        return RepresentationSpec((self.num_mels, None), rate=self.sampling_rate / self.hop_length)


class GriffinLimGenerator(Rule, WaveGenerator):
    """Makes a wave `(1, frames × hop_length)` of a log-mel spectrogram `(num_mels, frames)`, without weights.

    It finds magnitudes with such mels (Lee and Seung, 2001), and phases that agree with each other where frames overlap
    by the fast algorithm of Griffin and Lim (Perraudin et al., 2013, algorithm 2). Speech can be understood, but sounds
    metallic: an [`InverseSTFTGenerator`] or a [`VocoderGenerator`] that has learned its kind of sound does better.

    Example:
        >>> from regen_hf import LogMelExtractor
        >>> rule = LogMelExtractor.from_components(n_fft=512, win_length=512, hop_length=128, num_mels=40)
        >>> decoder = GriffinLimGenerator.for_extractor(rule.config, num_iterations=8)
        >>> decoder.generate(rule.encode(torch.zeros(2, 1, 1000)).values).values.shape
        torch.Size([2, 1, 1024])
    """

    config_class = GriffinLimGeneratorConfig

    @classmethod
    def for_extractor(cls, config: ExtractorConfig, **settings) -> "GriffinLimGenerator":
        """The rule that reads what a [`LogMelExtractor`] with this config makes.

        Args:
            config: a [`LogMelExtractorConfig`].
            settings: the other fields of [`GriffinLimGeneratorConfig`].

        Raises:
            TypeError: if `config` does not say how a spectrogram is made, or if `settings` has what `config` says.
        """
        if not all(hasattr(config, name) for name in LOG_MEL_FIELDS):
            raise TypeError(f"`config` must be a LogMelExtractorConfig, got {type(config).__name__}.")
        if both := sorted(settings.keys() & set(LOG_MEL_FIELDS)):
            raise TypeError(f"`settings` must leave to `config` how the spectrogram is made, got {', '.join(both)}.")
        return cls.from_components(**{name: getattr(config, name) for name in LOG_MEL_FIELDS}, **settings)

    def forward(self, target: torch.Tensor, target_mask: torch.Tensor | None = None, **source) -> LossOutput:
        raise NotImplementedError(f"{type(self).__name__} is a rule and has nothing to learn: train the prior alone.")

    def _check(self, source: torch.Tensor | None) -> None:
        check_mels(source, self.config.num_mels)

    def _waves(
        self, source: torch.Tensor, mask: torch.Tensor | None, generators: list[torch.Generator] | None
    ) -> Representation:
        """The generators draw the phases that the first iteration starts from; else they are always the same."""
        fixed = [torch.Generator().manual_seed(0) for _ in source]
        rows = generators or fixed
        # frame after frame, so that a row begins alike however far it is padded
        frames = [torch.rand(source.shape[2], self.config.n_fft // 2 + 1, generator=row) for row in rows]
        turns = torch.stack(frames).mT.to(source.device)
        made = by_length(self._wave, torch.cat([source.float(), turns], dim=1), mask)
        return Representation(made.values.to(source.dtype), made.mask)

    def _wave(self, both: torch.Tensor) -> torch.Tensor:
        """`(batch, num_mels + bins, frames)`, log-mels above the first phases, to `(batch, 1, frames × hop_length)`.

        Phases are drawn, since from equal ones the differences of rounding grow a hundred times as large.
        """
        source, turns = both[:, : self.config.num_mels], both[:, self.config.num_mels :]
        magnitudes = from_log_mel(source, **{name: getattr(self.config, name) for name in MEL})
        # one more frame like the last, so that the last samples lie between two frames as all others do
        magnitudes, turns = (F.pad(each, (0, 1), mode="replicate") for each in (magnitudes, turns))
        return self._rebuilt(magnitudes, torch.polar(torch.ones_like(turns), 2 * math.pi * turns))[:, None]

    def _rebuilt(self, magnitudes: torch.Tensor, phases: torch.Tensor) -> torch.Tensor:
        """Waves `(batch, samples)` with about these magnitudes `(batch, bins, 1 + samples / hop_length)`."""
        config, length = self.config, (magnitudes.shape[-1] - 1) * self.config.hop_length
        window = torch.hann_window(config.win_length, device=magnitudes.device)
        sizes = (config.n_fft, config.hop_length, config.win_length, window)
        pad_mode = "reflect" if length > config.n_fft // 2 else "constant"
        before = 0
        for _ in range(config.num_iterations):
            wave = torch.istft(magnitudes * phases, *sizes, length=length)
            now = torch.stft(wave, *sizes, pad_mode=pad_mode, return_complex=True)
            # as now + momentum × (now − before), but for its size, which does not count
            phases = torch.sgn(now - config.momentum / (1 + config.momentum) * before)
            before = now
        return torch.istft(magnitudes * phases, *sizes, length=length)
