"""Waves from frames by an encoder that says their spectrum, and the inverse Fourier transform."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ..contracts import check_settings
from ..lengths import by_length
from ..outputs import Representation, RepresentationSpec
from .conditioning import ConditionalGeneratorConfig, SourceEncoder, describe_source
from .parallel import position_limit
from .source_encoders import load_source_encoders
from .wave import WaveGenerator, check_segment_frames

LOUDEST = 100.0
"""Magnitudes are no greater, so that the first steps of training cannot be of any size (Siuzdak, 2023)."""


class InverseSTFTGeneratorConfig(ConditionalGeneratorConfig):
    """
    Args:
        sampling_rate: samples a second of the wave; a whole multiple of `source_rate`.
        source_shape, source_rate: of the frames, as of any source representation.
        n_fft: size of the Fourier transform and of its Hann window, at least two frames; `None` for four frames.
        num_mels: how many mel bins the loss compares.
        segment_frames: how many frames of each row training reads, a random piece every time; `None` for whole rows,
            those of one length together.
        condition_dropout: 0, because there is nothing to guide.
    """

    model_type = "regen_inverse_stft"

    sampling_rate: int = 16000
    n_fft: int | None = None
    num_mels: int = 80
    segment_frames: int | None = None
    condition_dropout: float = 0.0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        check_segment_frames(self.segment_frames)
        if self.condition_dropout:
            raise ValueError(f"`condition_dropout` must be 0, got {self.condition_dropout}: there is no guidance.")
        if self.generation:
            raise ValueError(f"`generation` must be empty, got {sorted(self.generation)}: nothing is drawn.")
        if self.source_rate is None:
            return  # a config of defaults, which describes no generator
        if self.sampling_rate % self.source_rate:
            raise ValueError(
                f"`sampling_rate` must be a whole multiple of `source_rate` {self.source_rate:g}, got "
                f"{self.sampling_rate}."
            )
        if self.n_fft is not None and (self.n_fft % 2 or self.n_fft < 2 * self.hop_length):
            raise ValueError(
                f"`n_fft` must be even and at least two frames of {self.hop_length} samples, got {self.n_fft}."
            )

    @property
    def hop_length(self) -> int:
        """How many samples a frame becomes."""
        return round(self.sampling_rate / self.source_rate)

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec((1, None), rate=self.sampling_rate)


class InverseSTFTGenerator(WaveGenerator):
    """Makes a wave `(1, samples)` of frames: an encoder reads them all and says the magnitude and the phase of each
    frequency of each frame, of which the inverse short-time Fourier transform makes the wave (Vocos, Siuzdak, 2023).

    It works at the rate of the frames, so it learns and runs many times as fast as a [`VocoderGenerator`] that works
    at that of the samples. The frames are of any kind that has a rate: log-mels, latents or codes of a codec.

    Example:
        >>> from transformers import Wav2Vec2BertConfig
        >>> from regen_hf import RepresentationSpec
        >>> conformer = Wav2Vec2BertConfig(hidden_size=8, feature_projection_input_dim=8, num_hidden_layers=1,
        ...     num_attention_heads=2, intermediate_size=8, apply_spec_augment=False)
        >>> frames = RepresentationSpec((80, None), rate=62.5)
        >>> decoder = InverseSTFTGenerator.for_spec(conformer, RepresentationSpec((1, None), rate=16000), frames)
        >>> decoder.generate(torch.zeros(2, 80, 5)).values.shape
        torch.Size([2, 1, 1280])
    """

    config_class = InverseSTFTGeneratorConfig
    config: InverseSTFTGeneratorConfig
    _keep_in_fp32_modules_strict = ["statistics"]
    supports_gradient_checkpointing = True

    def __init__(self, config: InverseSTFTGeneratorConfig, source_encoders: dict[str, PreTrainedModel] | None = None):
        super().__init__(config)
        width = config.source_representation_encoder_config.hidden_size
        self.source_encoder = SourceEncoder(config, width, source_encoders)
        self._room = position_limit(self.source_encoder.representation_encoder)
        self.size = config.n_fft or 4 * config.hop_length
        self.head = nn.Linear(width, self.size + 2)
        self.post_init()

    @classmethod
    def from_components(cls, encoder: Any, source: RepresentationSpec, **settings) -> "InverseSTFTGenerator":
        """
        Args:
            encoder: a transformers encoder of vectors by name, live, or new from a config, such as
                `Wav2Vec2BertConfig` or `BertConfig`; what sees its surroundings, such as a conformer, serves best.
            source: what the frames are, with their rate.
            settings: the other fields of [`InverseSTFTGeneratorConfig`].

        Raises:
            ValueError: if the frames have no rate, or one of which `sampling_rate` is no whole multiple.
        """
        check_settings(InverseSTFTGeneratorConfig, settings)
        if source.rate is None or source.shape[-1] is not None or len(source.shape) > 2:
            raise ValueError(f"`source` must be frames of any number, with a rate, got {source}.")
        encoders = load_source_encoders(None, encoder)
        described = {f"{name}_config": each.config.to_dict() for name, each in encoders.items()}
        config = InverseSTFTGeneratorConfig(**described, **describe_source(source), **settings)
        return cls(config, source_encoders=encoders)

    @classmethod
    def for_spec(
        cls, part: Any, target: RepresentationSpec, source: RepresentationSpec | None, **settings
    ) -> "InverseSTFTGenerator":
        if target.num_codes is not None or target.shape != (1, None) or target.rate is None or source is None:
            raise ValueError(f"InverseSTFTGenerator makes mono waves with a rate of frames, not {target} of {source}.")
        return cls.from_components(part, source, sampling_rate=round(target.rate), **settings)

    def fit_statistics(self, targets, sources=None) -> None:
        """Measures mean and deviation of continuous frames `(batch, channels, frames)`."""
        self.source_encoder.fit_statistics(sources)

    def _check(self, source: torch.Tensor | None) -> None:
        if source is None:
            raise ValueError("`source` is missing: waves are made of frames.")
        if self._room is not None and source.shape[-1] > self._room:
            name = type(self.source_encoder.representation_encoder).__name__
            raise ValueError(f"{name} has {self._room} positions, but `source` has {source.shape[-1]} frames.")

    def _waves(
        self, source: torch.Tensor, mask: torch.Tensor | None, generator: torch.Generator | None
    ) -> Representation:
        return by_length(self._wave, source, mask)

    def _wave(self, source: torch.Tensor) -> torch.Tensor:
        """Frames `(batch, ..., frames)` to `(batch, 1, frames × hop_length)`."""
        hop, frames = self.config.hop_length, source.shape[-1]
        hidden = self.source_encoder(source=source).hidden
        # one more frame like the last, so that the last samples lie between two frames as all others do
        hidden = torch.cat([hidden, hidden[:, -1:]], dim=1)
        magnitude, phase = self.head(hidden).float().mT.chunk(2, dim=1)
        spectrum = torch.polar(magnitude.exp().clamp(max=LOUDEST), phase)
        window = torch.hann_window(self.size, device=spectrum.device)
        wave = torch.istft(spectrum, self.size, hop, self.size, window, length=frames * hop)
        return wave[:, None].to(self.head.weight.dtype)
