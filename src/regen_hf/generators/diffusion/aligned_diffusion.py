"""Continuous sequences that read their source out, such as speech: durations first, then diffusion."""

import inspect
import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.configuration_utils import SubConfigSpec

from ...parts.contracts import check_settings
from ...parts.diffusers_module import DiffusersModule, DiffusersModuleConfig, diffusers_class
from ...parts.generation import GUIDANCE, STEPS, Randomness, check_finite, generates, learns
from ...parts.lengths import masked_mean
from ...parts.outputs import LossOutput, Representation, RepresentationSpec
from ...parts.pretrained import build
from ...parts.settings import Argument
from ..sources.alignment import expand, monotonic_alignment
from ..sources.condition import Condition
from ..sources.conditional_generator import ConditionalGenerator, ConditionalGeneratorConfig, describe_source
from ..sources.conditioning import SourceEncoder
from ..sources.source_encoders import encoder_configs, load_source_encoders
from ..sources.statistics import ChannelStatistics
from .noising import FlowMatching, draw_levels

TAKES = {
    "hidden_states",
    "encoder_hidden_states",
    "encoder_attention_mask",
    "timestep",
    "attention_mask",
    "latent_cond",
}


class AlignedDiffusionGeneratorConfig(ConditionalGeneratorConfig):
    """
    Args:
        denoiser_config: the diffusers backbone.
        target_shape: the channels of what is made, and `None`, since its length is found.
        target_rate: how many frames make a second.
        max_places: the longest target, in frames.
    """

    model_type = "regen_aligned_diffusion"
    sub_configs_defaults = {
        **ConditionalGeneratorConfig.sub_configs_defaults,
        "denoiser_config": SubConfigSpec(config_class=DiffusersModuleConfig, optional=True),
    }

    denoiser_config: dict | DiffusersModuleConfig | None = None
    target_shape: list[int | None] | tuple[int | None, ...] = (80, None)
    target_rate: float | None = None
    max_places: int = 2000
    generation_arguments = {
        "guidance": GUIDANCE,
        "num_inference_steps": replace(STEPS, default=10),
        "temperature": Argument(least=0, default=1.0),
    }

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if len(self.target_shape) != 2 or self.target_shape[0] is None or self.target_shape[1] is not None:
            raise ValueError(f"`target_shape` must be (channels, None), got {tuple(self.target_shape)}.")

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec(tuple(self.target_shape), rate=self.target_rate)


class AlignedDiffusionGenerator(ConditionalGenerator):
    """Makes a sequence of frames `(channels, frames)` that reads its source out in order, by flow matching.

    In the manner of Grad-TTS (Popov et al., 2021) and Matcha-TTS (Mehta et al., 2024): each place of the source gives
    the mean of the frames that it stands for; which those are is found in training by monotonic alignment, and
    predicted in use; the flow leads from noise to the frames, beside their means. The first kind of source is what is
    read out; further ones, such as a voice as a class, are added to each of its places.

    Example:
        >>> from diffusers import LongCatAudioDiTTransformer
        >>> from transformers import BertConfig
        >>> text = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        ...     intermediate_size=8)
        >>> denoiser = LongCatAudioDiTTransformer(dit_dim=8, dit_depth=1, dit_heads=2, dit_text_dim=8, latent_dim=4,
        ...     cross_attn=False, text_conv=False)
        >>> prior = AlignedDiffusionGenerator.from_components(denoiser, (4, None), text)
        >>> made = prior.generate(input_ids=torch.tensor([[1, 2, 3]]), num_inference_steps=2)
        >>> made.values.shape[:2], made.mask.shape[1] >= 3
        (torch.Size([1, 4]), True)
    """

    config_class = AlignedDiffusionGeneratorConfig

    def __init__(
        self,
        config: AlignedDiffusionGeneratorConfig,
        denoiser: DiffusersModule | None = None,
        source_encoders: dict[str, PreTrainedModel] | None = None,
    ):
        super().__init__(config)
        self.denoiser = denoiser or build(config.denoiser_config, DiffusersModule._from_config)
        name, channels = type(self.denoiser.net).__name__, config.target_shape[0]
        if missing := TAKES - set(inspect.signature(self.denoiser.net.forward).parameters):
            raise ValueError(
                f"{name} takes no {', '.join(sorted(missing))}: it must be a transformer over sequences with a mask "
                "and a second input, such as LongCatAudioDiTTransformer."
            )
        if self.denoiser.net.config.latent_dim != channels:
            found = self.denoiser.net.config.latent_dim
            raise ValueError(f"{name} has latent_dim {found}, but target_shape {tuple(config.target_shape)}.")
        if not self.denoiser.net.config.use_latent_condition:
            raise ValueError(f"{name} must have use_latent_condition True: it would not read what it is to say.")
        width = self.denoiser.net.config.dit_text_dim
        self.source_encoder = SourceEncoder(config, width, source_encoders)
        self.means = nn.Linear(width, channels)
        self.log_durations = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
        self.statistics = ChannelStatistics(channels)
        self._warned = False
        self._process = FlowMatching(_scheduler(), "velocity")
        self.post_init()

    @classmethod
    def from_components(
        cls,
        denoiser: nn.Module | str,
        target_shape: tuple[int | None, ...],
        source_encoder: Any = None,
        representation_encoder: Any = None,
        **settings,
    ) -> "AlignedDiffusionGenerator":
        """
        Args:
            denoiser: a diffusers transformer over sequences, or the Hub name or folder of one.
            target_shape: `(channels, None)`.
            source_encoder: a transformers encoder of text, images or waveforms by name, live, or new from a config;
                several in a list; what comes first in [`SourceEncoder.read`] is read out.
            representation_encoder: likewise, for the positions of a source representation.
            settings: the other fields of [`AlignedDiffusionGeneratorConfig`].
        """
        check_settings(cls.config_class, settings)
        shell = DiffusersModule.host(denoiser)
        encoders = load_source_encoders(source_encoder, representation_encoder)
        config = cls.config_class(
            denoiser_config=shell.config.to_dict(),
            **encoder_configs(encoders),
            target_shape=list(target_shape),
            **settings,
        )
        return cls(config, denoiser=shell, source_encoders=encoders).to(shell.device).checked().eval()

    @classmethod
    def hosts(cls, described: dict, target: RepresentationSpec) -> bool:
        if target.num_codes is not None or len(target.shape) != 2 or target.shape[1] is not None:
            return False
        hosted = diffusers_class(described["_class_name"], "ModelMixin") if "_class_name" in described else None
        return hosted is not None and set(inspect.signature(hosted.forward).parameters) >= TAKES

    @classmethod
    def for_spec(cls, part, target: RepresentationSpec, source: RepresentationSpec | None, **settings):
        described = {"target_rate": target.rate, **describe_source(source)}
        return cls.from_components(part, target.shape, **{**described, **settings})

    @property
    def longest_target(self) -> int:
        return self.config.max_places

    @learns
    def forward(
        self, target: torch.Tensor, target_mask: torch.Tensor | None = None, **source: torch.Tensor
    ) -> LossOutput:
        """How likely the frames are at the means of their places, how far the predicted durations are from those
        found, and the error of the velocity.

        Args:
            target: `(batch, channels, frames)`; a row with fewer frames than its source has places is left out, and the
                first such is warned of.
            target_mask: `(batch, frames)`; padding does not count.
            source: what [`SourceEncoder`] reads.
        """
        mask = torch.ones_like(target[:, 0], dtype=torch.bool) if target_mask is None else target_mask.bool()
        longest = int(mask.sum(1).max())
        frames, mask = self.statistics.normalize(target).transpose(1, 2)[:, :longest], mask[:, :longest]
        if frames.shape[1] > self.config.max_places:
            raise ValueError(f"`target` has {frames.shape[1]} frames, more than `max_places` {self.config.max_places}.")
        condition = self._read({**source, "batch_size": len(target)})
        fits = self._fitting(condition.mask.sum(1), mask.sum(1))
        condition, frames, mask = condition.map(lambda tensor: tensor[fits]), frames[fits], mask[fits]
        means = self.means(condition.hidden).float()
        durations = self.align(means, frames, condition.mask.bool(), mask)
        found = torch.log1p(durations.float())
        guessed = self.log_durations(condition.hidden.detach())[:, :, 0].float()
        expanded, _ = expand(means, durations)
        hidden = self.source_encoder.draw_hidden(condition)
        level = draw_levels("logit_normal", len(frames), frames.device)
        noise = torch.randn_like(frames)
        noisy, timestep = self._process.add_noise(frames, noise, level)
        velocity = self._denoise(noisy, timestep, mask, condition, expanded.detach(), hidden)
        terms = {
            "denoising": masked_mean((velocity - (noise - frames)).square().mean(2), mask),
            "means": masked_mean((expanded - frames).square().mean(2), mask) / 2,
            "durations": masked_mean((guessed - found).square(), condition.mask),
        }
        return LossOutput.of(terms)

    def _fitting(self, places: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Which rows have a frame for each place of the source."""
        fits = places <= frames
        if not fits.any():
            raise ValueError(f"`target` has {int(frames.max())} frames at most, fewer than any source has places.")
        if not self._warned and not fits.all():
            self._warned = True
            row = int((~fits).nonzero()[0])
            warnings.warn(
                f"row {row} of a batch is left out of the loss: its source has {int(places[row])} places, but its "
                f"target only {int(frames[row])} frames. More such rows are left out without a word.",
                stacklevel=3,
            )
        return fits

    @torch.no_grad()
    def align(
        self, means: torch.Tensor, frames: torch.Tensor, source_mask: torch.Tensor, target_mask: torch.Tensor
    ) -> torch.Tensor:
        """Durations `(batch, source)` in frames, on the likeliest path of `frames` `(batch, frames, channels)` along
        the means `(batch, source, channels)`."""
        with torch.autocast(means.device.type, enabled=False):
            products = means @ frames.transpose(1, 2)
        distance = means.square().sum(2)[:, :, None] - 2 * products  # what is of the frame alone is the same for all
        return monotonic_alignment(-distance / 2, source_mask, target_mask)

    @generates
    def generate(
        self,
        guidance: float | None = None,
        num_inference_steps: int | None = None,
        temperature: float | None = None,
        generator: Randomness | None = None,
        **source: torch.Tensor,
    ) -> Representation:
        """
        Args:
            guidance: how far to go from frames without a source towards the source; 1 is no guidance.
            num_inference_steps: steps of Euler's method.
            temperature: the deviation of the noise that the flow begins with; below 1 for what is more likely.
            generator: a `torch.Generator`, one for each row, or a seed; gives the same targets for the same sources,
                however they are batched.
            source: what [`SourceEncoder`] reads.
        """
        asked = self.config.generation_settings(
            guidance=guidance, num_inference_steps=num_inference_steps, temperature=temperature
        )
        guidance, steps, temperature = asked["guidance"], asked["num_inference_steps"], asked["temperature"]
        self.config.check_guidance(guidance)
        condition = self._read(source)
        means, mask = expand(self.means(condition.hidden).float(), self._durations(condition))
        sample = temperature * _noise(mask, means.shape[2], generator)
        shown = torch.zeros(len(sample), dtype=torch.bool, device=sample.device)
        scheduler = _scheduler()
        scheduler.set_timesteps(steps, device=self.device)
        for timestep in scheduler.timesteps:
            given = sample, timestep.expand(len(sample)), mask, condition, means
            velocity = self._denoise(*given, shown)
            if guidance != 1:
                away = self._denoise(*given, ~shown)
                velocity = away + guidance * (velocity - away)
            sample = scheduler.step(velocity, timestep, sample, return_dict=False)[0]
        values = self.statistics.denormalize(sample.transpose(1, 2)) * mask[:, None]
        return Representation(values=values.to(self.dtype), mask=mask)

    @torch.no_grad()
    def durations(self, **source: torch.Tensor) -> torch.Tensor:
        """How many frames each place of the source is given, `(batch, source)`, `torch.long`; 0 where it is padding."""
        return self._durations(self._read(source))

    def _read(self, source: dict[str, torch.Tensor]) -> Condition:
        """The places of what is read out, with all further sources added to each."""
        first, *others = self.source_encoder.read(**source)
        first, longest = first.in_front(), int(first.mask.sum(1).max())
        first = Condition(first.hidden[:, :longest], first.mask[:, :longest], first.pooled)
        added = sum(other.pooled for other in others) if others else torch.zeros_like(first.pooled)
        return Condition.of(first.hidden + added[:, None], first.mask)

    def _durations(self, condition: Condition) -> torch.Tensor:
        """Frames `(batch, source)` for each place, at least one."""
        guessed = torch.expm1(self.log_durations(condition.hidden)[:, :, 0].float())
        check_finite(guessed, "AlignedDiffusionGenerator made durations with")
        durations = guessed.round().clamp(min=1).long() * condition.mask
        longest, row = durations.sum(1).max(0)
        if longest > self.config.max_places:
            raise ValueError(
                f"source {int(row)} would last {int(longest)} frames, more than the {self.config.max_places} of "
                "`max_places`: divide it."
            )
        return durations

    def _denoise(self, noisy, timestep, mask, condition: Condition, means, hidden: torch.Tensor) -> torch.Tensor:
        """The velocity `(batch, frames, channels)` in float32; rows where `hidden` see no source."""
        condition = self.source_encoder.hide(condition, hidden)
        dtype = self.denoiser.dtype
        return self.denoiser(
            hidden_states=noisy.to(dtype),
            encoder_hidden_states=condition.hidden.to(dtype),
            encoder_attention_mask=condition.mask.bool(),
            timestep=(timestep / self._process.num_timesteps).to(dtype),
            attention_mask=mask,
            latent_cond=means.masked_fill(hidden[:, None, None], 0).to(dtype),
            return_dict=False,
        )[0].float()


def _scheduler():
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler()


def _noise(mask: torch.Tensor, channels: int, generators: list[torch.Generator] | None) -> torch.Tensor:
    """`(batch, frames, channels)`, in each row as it would be without the others and without padding."""
    if generators is None:
        return torch.randn(*mask.shape, channels, device=mask.device)
    rows = [
        torch.randn(int(length), channels, generator=own) for length, own in zip(mask.sum(1), generators, strict=True)
    ]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True).to(mask.device)
