"""Waves from log-mel spectrograms, by a vocoder of transformers."""

import inspect
import math
import os
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.configuration_utils import SubConfigSpec

from ...parts.contracts import GeneratorConfig, check_settings
from ...parts.outputs import Representation, RepresentationSpec, concatenate
from ...parts.pretrained import HubReference, build, hosted
from .wave import WaveGenerator, check_mels, check_segment_frames

FIELDS = (("model_in_dim", "upsample_rates"), ("num_mel_bins", "resblock_stride_sizes"))
"""What vocoders' configs call the number of mel bins, and the factors that make a frame's samples."""


class VocoderGeneratorConfig(GeneratorConfig):
    """
    Args:
        vocoder_config: the transformers vocoder.
        sampling_rate: samples a second of the wave, where the vocoder's own config does not say it.
        segment_frames: how many frames of each row training reads, a random piece every time (Kong et al., 2020, read
            32 frames of 256 samples); `None` for whole rows, one by one where there is
            a mask.
    """

    model_type = "regen_vocoder"
    sub_configs_defaults = {
        "vocoder_config": SubConfigSpec(config_class=AutoConfig, model_type="speecht5_hifigan", optional=True)
    }

    vocoder_config: dict | PreTrainedConfig | None = None
    sampling_rate: int | None = None
    segment_frames: int | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        check_segment_frames(self.segment_frames)

    @property
    def num_mels(self) -> int:
        """How many mel bins a frame has."""
        return next(getattr(self.vocoder_config, mels) for mels, _ in FIELDS if hasattr(self.vocoder_config, mels))

    @property
    def hop_length(self) -> int:
        """How many samples a frame becomes."""
        named = next(factors for _, factors in FIELDS if hasattr(self.vocoder_config, factors))
        return math.prod(getattr(self.vocoder_config, named))

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec((1, None), rate=self.sampling_rate)

    @property
    def source_spec(self) -> RepresentationSpec:
        return RepresentationSpec((self.num_mels, None), rate=self.sampling_rate / self.hop_length)


class VocoderGenerator(WaveGenerator):
    """Makes a wave `(1, samples)` of a log-mel spectrogram `(num_mels, frames)` with `SpeechT5HifiGan`,
    `FastSpeech2ConformerHifiGan`, `UnivNetModel` and their like.

    The spectrogram must be the one that the vocoder has learned from: [`LogMelExtractor`] makes that of
    `SpeechT5HifiGan` as it comes.

    Example:
        >>> from transformers import SpeechT5HifiGanConfig
        >>> tiny = SpeechT5HifiGanConfig(model_in_dim=8, upsample_initial_channel=8, upsample_rates=[4, 4],
        ...     upsample_kernel_sizes=[8, 8], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]])
        >>> vocoder = VocoderGenerator.from_components(tiny)
        >>> vocoder.generate(torch.zeros(2, 8, 5)).values.shape
        torch.Size([2, 1, 80])
    """

    config_class = VocoderGeneratorConfig

    def __init__(self, config: VocoderGeneratorConfig, vocoder: PreTrainedModel | None = None):
        super().__init__(config)
        self.vocoder = vocoder or _new(config.vocoder_config)
        self._takes_noise = "noise_sequence" in inspect.signature(self.vocoder.forward).parameters
        self.post_init()

    @classmethod
    def hosts(cls, described: dict, target: RepresentationSpec) -> bool:
        return _is_vocoder(described) and RepresentationSpec((1, None)).fits(target)

    @classmethod
    def for_spec(
        cls, part: Any, target: RepresentationSpec, source: RepresentationSpec | None, **settings
    ) -> "VocoderGenerator":
        settings = settings if target.rate is None else {"sampling_rate": round(target.rate), **settings}
        generator = cls.from_components(part, **settings)
        config = generator.config
        if source is None or not source.fits(config.source_spec) or not target.fits(config.target_spec):
            raise ValueError(
                f"{type(generator.vocoder).__name__} makes {config.target_spec} from {config.source_spec}, "
                f"not {target} from {source}."
            )
        return generator

    @classmethod
    def from_components(
        cls, vocoder: str | HubReference | PreTrainedConfig | PreTrainedModel, **settings
    ) -> "VocoderGenerator":
        """
        Args:
            vocoder: a transformers vocoder by name, folder or [`HubReference`], live, or new from a config.
            settings: the other fields of [`VocoderGeneratorConfig`].

        Raises:
            ValueError: if it is no vocoder, or if nothing says its sampling rate.
        """
        check_settings(cls.config_class, settings)
        model = hosted(vocoder, _load, _new)
        described = model.config.to_dict()
        if not _is_vocoder(described):
            raise ValueError(
                f"`vocoder` must make waves of log-mel spectrograms, which {type(model).__name__} does not."
            )
        rate = described.get("sampling_rate") or settings.get("sampling_rate")
        if rate is None:
            raise ValueError(f"`sampling_rate` is missing: the config of {type(model).__name__} does not say it.")
        config = cls.config_class(vocoder_config=described, **{**settings, "sampling_rate": rate})
        return cls(config, vocoder=model).checked().eval()

    def _check(self, source: torch.Tensor | None) -> None:
        check_mels(source, self.config.num_mels)

    def _waves(
        self, source: torch.Tensor, mask: torch.Tensor | None, generators: list[torch.Generator] | None
    ) -> Representation:
        # one pass for all pieces: what convolutions make of their padding is not counted
        at_once = mask is None or (self.training and self.config.segment_frames is not None)
        lengths = [source.shape[2]] * len(source) if at_once else mask.sum(-1).tolist()
        rows = generators or [None] * len(lengths)
        noise = [self._noise(*each) if self._takes_noise else None for each in zip(lengths, rows, strict=True)]
        if at_once:
            mask = None if mask is None else mask.repeat_interleave(self.config.hop_length, dim=1)
            return Representation(self._run(source, noise), mask)
        waves = [
            self._run(source[row : row + 1, :, :length], noise[row : row + 1]) for row, length in enumerate(lengths)
        ]
        return concatenate([Representation(wave, torch.ones_like(wave[:, 0], dtype=torch.bool)) for wave in waves])

    def _run(self, source: torch.Tensor, noise: list[torch.Tensor | None]) -> torch.Tensor:
        given = {"noise_sequence": torch.stack(noise)} if self._takes_noise else {}
        output = self.vocoder(source.transpose(1, 2).to(self.dtype), **given)
        return (output if isinstance(output, torch.Tensor) else output.waveforms)[:, None]

    def _noise(self, length: int, generator: torch.Generator | None) -> torch.Tensor:
        """`(frames, channels)`"""
        shape = (length, self.vocoder.config.model_in_channels)
        return torch.randn(shape, generator=generator).to(self.device, self.dtype)


def _is_vocoder(described: dict) -> bool:
    return any(mels in described and factors in described for mels, factors in FIELDS)


def _load(name: str | os.PathLike, **kwargs) -> PreTrainedModel:
    """By the class that config.json names, since vocoders are not all among those that `AutoModel` knows."""
    described, _ = PreTrainedConfig.get_config_dict(name, **kwargs)
    found = _model_class(*(described.get("architectures") or ()))
    if found is None:
        raise ValueError(f"`{name}` has no architecture of transformers: {described.get('architectures')}.")
    return found.from_pretrained(name, **kwargs)


def _new(config: PreTrainedConfig) -> PreTrainedModel:
    name = type(config).__name__.removesuffix("Config")
    return build(config, _model_class(name, f"{name}Model")._from_config)


def _model_class(*names: str) -> type[PreTrainedModel] | None:
    found = (getattr(transformers, name, None) for name in names)
    return next((each for each in found if isinstance(each, type) and issubclass(each, nn.Module)), None)
