"""Waves from frames by an encoder that says their spectrum, and the inverse Fourier transform."""

import math
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ...parts.contracts import check_settings
from ...parts.lengths import by_length
from ...parts.outputs import Representation, RepresentationSpec
from ...parts.pretrained import position_limit
from ..sources.conditional_generator import ConditionalGeneratorConfig, describe_source
from ..sources.conditioning import SourceEncoder
from ..sources.source_encoders import encoder_configs, load_source_encoders
from .wave import WaveGenerator, check_segment_frames


class InverseSTFTGeneratorConfig(ConditionalGeneratorConfig):
    """
    Frames are all that is read: nothing else that describes a source may be given.

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
        if self.num_mels < 1:
            raise ValueError(f"`num_mels` must be at least 1, got {self.num_mels}.")
        if self.num_classes is not None or self.reads_encoders:
            raise ValueError("an inverse STFT generator reads frames only: no classes, and no `source_encoder`.")
        if self.source_rate is None:
            return  # a config of defaults, which describes no generator
        if not math.isclose(self.hop_length * self.source_rate, self.sampling_rate, rel_tol=1e-6):
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

    All layers work at the rate of the frames, where those of a [`VocoderGenerator`] climb to that of the samples. The
    frames are of any kind that has a rate: log-mels, latents or codes of a codec.

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
        if config.source_representation_encoder_config is None:
            raise ValueError("`encoder` is missing: a transformers encoder that reads the frames.")
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
                `Wav2Vec2BertConfig` or `BertConfig`.
            source: what the frames are, with their rate.
            settings: the other fields of [`InverseSTFTGeneratorConfig`].

        Raises:
            ValueError: if the frames have no rate, or one of which `sampling_rate` is no whole multiple; if the encoder
                does not read vectors, or gives more or fewer than it reads.
        """
        check_settings(cls.config_class, settings)
        dimensions = 1 if source.num_codes is not None and source.num_codebooks == 1 else 2
        if source.rate is None or source.shape[-1] is not None or len(source.shape) != dimensions:
            raise ValueError(f"`source` must be frames of any number, with a rate, got {source}.")
        encoders = load_source_encoders(None, encoder)
        config = cls.config_class(**encoder_configs(encoders), **describe_source(source), **settings)
        made = cls(config, source_encoders=encoders)
        made._probe()
        return made.checked().eval()

    @torch.no_grad()
    def _probe(self) -> None:
        """Raises `ValueError` where the encoder does not read vectors, or gives more or fewer than it reads."""
        spec, training = self.config.source_spec, self.training
        example = torch.zeros((1, *spec.shape[:-1], 2), dtype=torch.float if spec.num_codes is None else torch.long)
        name = type(self.source_encoder.representation_encoder).__name__
        self.eval()
        try:
            found = self.source_encoder(source=example.to(self.device)).hidden.shape[1]
        except Exception as error:
            raise ValueError(f"`encoder` {name} does not read vectors as an encoder does: {error}") from error
        finally:
            self.train(training)
        if found != 2:
            raise ValueError(f"`encoder` {name} must give a state for each frame, got {found} for 2.")

    @classmethod
    def for_spec(
        cls, part: Any, target: RepresentationSpec, source: RepresentationSpec | None, **settings
    ) -> "InverseSTFTGenerator":
        if target.num_codes is not None or target.shape != (1, None) or target.rate is None or source is None:
            raise ValueError(f"InverseSTFTGenerator makes mono waves with a rate of frames, not {target} of {source}.")
        rate = settings.pop("sampling_rate", round(target.rate))
        if rate != target.rate:
            raise ValueError(f"`sampling_rate` must be that of the target, {target.rate:g}, got {rate}.")
        return cls.from_components(part, source, sampling_rate=rate, **settings)

    def fit_statistics(self, targets, sources=None) -> None:
        """Measures mean and deviation of continuous frames `(batch, channels, frames)`."""
        self.source_encoder.fit_statistics(sources)

    def _check(self, source: torch.Tensor | None) -> None:
        if source is None:
            raise ValueError("`source` is missing: waves are made of frames.")

    def _waves(
        self, source: torch.Tensor, mask: torch.Tensor | None, generators: list[torch.Generator] | None
    ) -> Representation:
        return by_length(self._wave, source, mask)

    def _wave(self, source: torch.Tensor) -> torch.Tensor:
        """Frames `(batch, ..., frames)` to `(batch, 1, frames × hop_length)`."""
        hop, frames = self.config.hop_length, source.shape[-1]
        if self._room is not None and frames > self._room:
            name = type(self.source_encoder.representation_encoder).__name__
            raise ValueError(f"{name} has {self._room} positions, but `source` has {frames} frames.")
        hidden = self.source_encoder(source=source).hidden
        # one more frame like the last, so that the last samples lie between two frames as all others do
        hidden = torch.cat([hidden, hidden[:, -1:]], dim=1)
        level, phase = self.head(hidden).float().mT.chunk(2, dim=1)
        loudest = math.log(self.size / 2)  # twice what a full-scale sine is under a Hann window
        spectrum = torch.polar(level.clamp(max=loudest).exp(), phase)
        window = torch.hann_window(self.size, device=spectrum.device)
        wave = torch.istft(spectrum, self.size, hop, self.size, window, length=frames * hop)
        return wave[:, None].to(self.head.weight.dtype)
