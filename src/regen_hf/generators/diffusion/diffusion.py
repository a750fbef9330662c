"""Diffusion and flow matching over any diffusers backbone that takes values of the target's shape."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.configuration_utils import SubConfigSpec

from ...parts.contracts import check_settings
from ...parts.diffusers_module import DiffusersModule, DiffusersModuleConfig, diffusers_class
from ...parts.generation import GUIDANCE, STEPS, Randomness, generates, learns
from ...parts.lengths import masked_mean
from ...parts.outputs import LossOutput, Representation, RepresentationSpec
from ...parts.pretrained import build
from ..sources.condition import Condition
from ..sources.conditional_generator import ConditionalGenerator, ConditionalGeneratorConfig, describe_source
from ..sources.conditioning import SourceEncoder
from ..sources.source_encoders import encoder_configs, load_source_encoders
from ..sources.statistics import ChannelStatistics
from .backbone import Backbone, keep_labels
from .noising import PREDICTIONS, TIMESTEP_SAMPLINGS, draw_levels, noising_process
from .scheduling import build_scheduler, describe_scheduler, initial_noise


class DiffusionGeneratorConfig(ConditionalGeneratorConfig):
    """
    Args:
        denoiser_config: the diffusers backbone.
        target_shape: the shape of what is made, channels first, for example `[16, 4, 4]`.
        scheduler: a diffusers scheduler as its own `config` describes it, with `_class_name`.
        prediction: what the backbone's output means: `"velocity"`, `"noise"` or `"sample"`.
        timestep_sampling: which noise levels training sees: `"uniform"`, `"logit_normal"` or `"mode"`
            (Esser et al., 2024, section 3.1).
        source_noise: standard deviation, in units of the source's own, of the noise that training adds to a source
            representation, so that the generator bears a prior's errors (Ho et al., 2021, section 4.2).
    """

    model_type = "regen_diffusion"
    sub_configs_defaults = {
        **ConditionalGeneratorConfig.sub_configs_defaults,
        "denoiser_config": SubConfigSpec(config_class=DiffusersModuleConfig, optional=True),
    }

    denoiser_config: dict | PreTrainedConfig | None = None
    target_shape: list[int] | tuple[int, ...] = (3, 32, 32)
    scheduler: dict | None = None
    prediction: str = "velocity"
    timestep_sampling: str = "logit_normal"
    source_noise: float = 0.0
    generation_arguments = {"guidance": GUIDANCE, "num_inference_steps": replace(STEPS, default=20)}

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        for name, known in (("prediction", PREDICTIONS), ("timestep_sampling", TIMESTEP_SAMPLINGS)):
            if getattr(self, name) not in known:
                raise ValueError(f"`{name}` must be one of {', '.join(known)}, got {getattr(self, name)!r}.")
        if None in self.target_shape:
            raise ValueError(f"`target_shape` must be whole numbers, got {tuple(self.target_shape)}.")
        if self.scheduler is None:
            self.scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler"}

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec(tuple(self.target_shape))


class DiffusionGenerator(ConditionalGenerator):
    """Makes continuous targets by diffusion (Ho et al., 2020) or flow matching (Lipman et al., 2023).

    Which of the two is decided by the scheduler: a flow-matching one interpolates `x_t = (1 - t) x + t noise` and
    follows the velocity `noise - x`. Its loss is always the squared error of the velocity, whatever the backbone
    predicts. A source representation is resized to the target's grid and stacked onto the noisy target where the
    backbone has channels for both; elsewhere it is read as a text is.

    Example:
        >>> from diffusers import DiTTransformer2DModel
        >>> denoiser = DiTTransformer2DModel(2, 8, in_channels=4, num_layers=1, sample_size=4, num_embeds_ada_norm=9)
        >>> prior = DiffusionGenerator.from_components(denoiser, target_shape=(4, 4, 4), num_classes=9)
        >>> prior.generate(class_labels=torch.tensor([[3]]), num_inference_steps=2).values.shape
        torch.Size([1, 4, 4, 4])
    """

    config_class = DiffusionGeneratorConfig
    supports_gradient_checkpointing = True

    def __init__(
        self,
        config: DiffusionGeneratorConfig,
        denoiser: DiffusersModule | None = None,
        source_encoders: dict[str, PreTrainedModel] | None = None,
    ):
        super().__init__(config)
        self.denoiser = denoiser or build(config.denoiser_config, DiffusersModule._from_config)
        self._backbone = Backbone(self.denoiser.net, config)
        keep_labels(self.denoiser.net)
        self._process = noising_process(self.make_scheduler(), config.prediction)
        if config.source_noise and not self._backbone.stacks_source:
            raise ValueError(f"`source_noise` {config.source_noise} needs a source that is stacked onto the target.")
        hidden_width, pooled_width = self._backbone.hidden_width, self._backbone.pooled_width
        width = hidden_width or pooled_width or 1
        stacks = self._backbone.stacks_source
        self.source_encoder = SourceEncoder(config, width, source_encoders, reads_representation=not stacks)
        same = pooled_width is None or pooled_width == width
        self.pooled_projection = nn.Identity() if same else nn.Linear(width, pooled_width)
        self.statistics = ChannelStatistics(config.target_shape[0])
        self.post_init()

    @classmethod
    def from_components(
        cls,
        denoiser: torch.nn.Module | str,
        target_shape: tuple[int, ...],
        source_encoder: Any = None,
        scheduler: Any = "FlowMatchEulerDiscreteScheduler",
        representation_encoder: Any = None,
        **settings,
    ) -> "DiffusionGenerator":
        """
        Args:
            denoiser: a diffusers model, or the Hub name or folder of one.
            target_shape: the shape of what is made, channels first.
            source_encoder: a transformers encoder of text, images or waveforms by name, live, or new from a config;
                several in a list; `None` where X is nothing of this kind.
            scheduler: a diffusers scheduler, or the name of its class for one with default settings.
            representation_encoder: likewise, for the positions of a source representation.
            settings: the other fields of [`DiffusionGeneratorConfig`].
        """
        check_settings(cls.config_class, settings)
        shell = DiffusersModule.host(denoiser)
        scheduler = describe_scheduler(scheduler)
        encoders = load_source_encoders(source_encoder, representation_encoder)
        config = cls.config_class(
            denoiser_config=shell.config.to_dict(),
            **encoder_configs(encoders),
            target_shape=list(target_shape),
            scheduler=scheduler,
            **settings,
        )
        generator = cls(config, denoiser=shell, source_encoders=encoders).to(shell.device)
        generator._probe()
        return generator.checked().eval()

    @classmethod
    def hosts(cls, described: dict, target: RepresentationSpec) -> bool:
        sequence = len(target.shape) == 2 and target.shape[1] is None  # which are for AlignedDiffusionGenerator
        if target.num_codes is not None or sequence or "_class_name" not in described:
            return False
        return not hasattr(diffusers_class(described["_class_name"], "ModelMixin"), "encode")

    @classmethod
    def for_spec(cls, part, target: RepresentationSpec, source: RepresentationSpec | None, **settings):
        return cls.from_components(part, target.shape, **describe_source(source), **settings)

    @torch.no_grad()
    def _probe(self) -> None:
        """Runs the backbone once on zeros; raises `ValueError` where it cannot take what it will be given."""
        device, training = self.device, self.training
        noisy = torch.zeros(1, *self.config.target_shape, device=device)
        null = self.source_encoder.null.expand(1, 1, -1)
        condition = Condition(null, torch.ones(1, 1, dtype=torch.long, device=device), null[:, 0])
        stacked = None
        if self._backbone.stacks_source:
            stacked = torch.zeros(1, self.config.source_shape[0], *self.config.target_shape[1:], device=device)
        hidden, timestep = torch.zeros(1, dtype=torch.bool, device=device), torch.ones(1, device=device)
        self.eval()
        try:
            labels = None if self.config.num_classes is None else torch.zeros(1, 1, dtype=torch.long, device=device)
            output = self._denoise(noisy, timestep, condition, stacked, labels, hidden)
            scheduler = self.make_scheduler()
            scheduler.set_timesteps(2, device=device)
            scheduler.step(output, scheduler.timesteps[0], noisy)
        except Exception as error:
            name = type(self.denoiser.net).__name__
            raise ValueError(f"{name} cannot take what DiffusionGenerator gives it: {error}") from error
        finally:
            self.train(training)
        if output.shape != noisy.shape:
            shapes = f"{tuple(output.shape[1:])} and not {tuple(noisy.shape[1:])}"
            raise ValueError(f"{type(self.denoiser.net).__name__} gives {shapes}, which is the target_shape.")

    def make_scheduler(self):
        """A new diffusers scheduler, as the config describes it, for values of unit variance."""
        return build_scheduler(self.config.scheduler, self.config.prediction)

    @learns
    def forward(
        self,
        target: torch.Tensor,
        target_mask: torch.Tensor | None = None,
        **source: torch.Tensor,
    ) -> LossOutput:
        """The denoising loss, at one random noise level for each example.

        Args:
            target: `(batch, *config.target_shape)`.
            target_mask: `(batch, *config.target_shape[1:])`; padding does not count.
            source: what [`SourceEncoder`] reads.
        """
        sample = self.statistics.normalize(target)
        condition = self.source_encoder(**source, batch_size=len(sample))
        hidden = self.source_encoder.draw_hidden(condition)
        stacked = self._stacked(source, sample)
        if stacked is not None:
            stacked = stacked + self.config.source_noise * torch.randn_like(stacked)
        process = self._process
        level = draw_levels(self.config.timestep_sampling, len(sample), sample.device)
        noise = torch.randn_like(sample)
        noisy, timestep = process.add_noise(sample, noise, level)
        output = self._denoise(noisy, timestep, condition, stacked, source.get("class_labels"), hidden)
        predicted, wanted = process.compare(output, sample, noise, noisy, timestep)
        error = (predicted - wanted).square().mean(1)
        return LossOutput.of({"denoising": masked_mean(error, target_mask)})

    @generates
    def generate(
        self,
        guidance: float | None = None,
        num_inference_steps: int | None = None,
        generator: Randomness | None = None,
        **source: torch.Tensor,
    ) -> Representation:
        """
        Args:
            guidance: how far to go from the null source towards the source (Ho and Salimans, 2022); 1 is no guidance.
            num_inference_steps: steps of the scheduler.
            generator: a `torch.Generator`, one for each row, or a seed; gives the same targets for the same sources,
                however they are batched.
            source: what [`SourceEncoder`] reads, or `batch_size` where that is nothing.
        """
        asked = self.config.generation_settings(guidance=guidance, num_inference_steps=num_inference_steps)
        guidance, steps = asked["guidance"], asked["num_inference_steps"]
        self.config.check_guidance(guidance)
        condition = self.source_encoder(**source)
        rows, class_labels = len(condition.hidden), source.get("class_labels")
        scheduler = self.make_scheduler()
        scheduler.set_timesteps(steps, device=self.device)
        process = noising_process(scheduler, self.config.prediction)
        sample, step_options = initial_noise(scheduler, (rows, *self.config.target_shape), generator, self.device)
        stacked = self._stacked(source, sample)
        for timestep in scheduler.timesteps:
            noisy = process.scale_input(sample, timestep)
            output = self._guided(noisy, timestep.expand(rows), condition, stacked, class_labels, guidance)
            output = process.scheduler_output(output, noisy, timestep)
            sample = scheduler.step(output, timestep, sample, **step_options, return_dict=False)[0]
        return Representation(values=self.statistics.denormalize(sample).to(self.dtype))

    def _guided(self, noisy, timestep, condition: Condition, stacked, class_labels, guidance: float) -> torch.Tensor:
        rows = len(noisy)
        shown = torch.zeros(rows, dtype=torch.bool, device=noisy.device)
        if guidance == 1:
            return self._denoise(noisy, timestep, condition, stacked, class_labels, shown)

        def twice(tensor):
            return None if tensor is None else torch.cat([tensor, tensor])

        hidden = torch.cat([shown, ~shown])
        both = self._denoise(
            twice(noisy), twice(timestep), condition.map(twice), twice(stacked), twice(class_labels), hidden
        )
        towards, away = both.chunk(2)
        return away + guidance * (towards - away)

    def _denoise(
        self,
        noisy: torch.Tensor,
        timestep: torch.Tensor,
        condition: Condition,
        stacked: torch.Tensor | None,
        class_labels: torch.Tensor | None,
        hidden: torch.Tensor,
    ) -> torch.Tensor:
        """The backbone's output in float32, with the source hidden in the rows where `hidden` is true."""
        condition = self.source_encoder.hide(condition, hidden)
        pooled, labels = self.pooled_projection(condition.pooled), self._native_labels(class_labels, hidden)
        if stacked is not None:
            shown = torch.where(hidden.view(-1, *[1] * (noisy.ndim - 1)), torch.zeros_like(stacked), stacked)
            noisy = torch.cat([noisy, shown], dim=1)
        taken = self._backbone.arguments(condition, pooled, labels, noisy)
        timestep = timestep * self._backbone.timestep_scale
        output = self.denoiser(noisy.to(self.dtype), timestep=timestep, **taken, return_dict=False)[0]
        return output[:, : self.config.target_shape[0]].float()  # a learned variance may follow

    def _native_labels(self, class_labels: torch.Tensor | None, hidden: torch.Tensor) -> torch.Tensor | None:
        """Classes for a backbone that embeds them itself; its null class is the one after the last."""
        if "encoder_hidden_states" in self._backbone.takes:
            return None
        if self.config.num_classes is None:
            embeds = self.denoiser.net.config.get("num_embeds_ada_norm") is not None
            return torch.zeros(len(hidden), dtype=torch.long, device=hidden.device) if embeds else None
        return torch.where(hidden, self.config.num_classes, class_labels[:, 0])

    def _stacked(self, given: dict[str, torch.Tensor], sample: torch.Tensor) -> torch.Tensor | None:
        """The source representation at unit variance on the target's grid, where it is stacked onto the target."""
        if not self._backbone.stacks_source:
            return None
        if given.get("source_mask") is not None and not given["source_mask"].all():
            raise ValueError("`source_mask` has padding, but the source is stacked onto targets of one size.")
        return nn.functional.interpolate(self.source_encoder.statistics.normalize(given["source"]), sample.shape[2:])
