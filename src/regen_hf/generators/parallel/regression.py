"""Continuous targets all at once and without chance: one forward pass."""

import math
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from ...parts.generation import Randomness, generates, learns
from ...parts.lengths import masked_mean
from ...parts.outputs import LossOutput, Representation, RepresentationSpec
from ..sources.condition import Condition
from ..sources.conditional_generator import describe_source
from ..sources.statistics import ChannelStatistics
from .parallel import ParallelGenerator, ParallelGeneratorConfig, hosts_encoder


class RegressionGeneratorConfig(ParallelGeneratorConfig):
    """
    Args:
        target_shape: the shape of what is made, channels first: `[D]` for one vector, `[C, L]` or `[C, H, W]`.
        condition_dropout: 0, because there is nothing to guide.
    """

    model_type = "regen_regression"

    target_shape: list[int] | tuple[int, ...] = (3, 8, 8)
    condition_dropout: float = 0.0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.condition_dropout:
            raise ValueError(
                f"`condition_dropout` must be 0, got {self.condition_dropout}: regression has no guidance."
            )
        if None in self.target_shape:
            raise ValueError(f"`target_shape` must be whole numbers, got {list(self.target_shape)}.")

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec(tuple(self.target_shape), rate=self.target_rate)


class RegressionGenerator(ParallelGenerator):
    """Makes continuous targets by regression: the same source always gives the same target.

    Where a source fits many targets it gives their mean, which is blurred: for what X decides, such as the pitch of a
    text that is read aloud, or a decoder Y′→Y that little is left to.

    Example:
        >>> from transformers import BertConfig
        >>> backbone = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
        >>> decoder = RegressionGenerator.from_components(backbone, target_shape=(3, 4, 4), num_classes=3)
        >>> decoder.generate(class_labels=torch.tensor([[2]])).values.shape
        torch.Size([1, 3, 4, 4])
    """

    config_class = RegressionGeneratorConfig
    config: RegressionGeneratorConfig

    def __init__(
        self,
        config: RegressionGeneratorConfig,
        backbone: PreTrainedModel | None = None,
        source_encoders: dict[str, PreTrainedModel] | None = None,
    ):
        super().__init__(config, backbone, source_encoders)
        positions = math.prod(config.target_shape[1:])
        self._check_room(positions, 1)
        self.queries = nn.Parameter(torch.zeros(positions, self._width))
        self.head = nn.Linear(self.backbone.config.hidden_size, config.target_shape[0])
        self.statistics = ChannelStatistics(config.target_shape[0])
        self.post_init()

    @classmethod
    def from_components(
        cls,
        backbone: str | PreTrainedModel | PreTrainedConfig,
        target_shape: tuple[int, ...],
        source_encoder: Any = None,
        representation_encoder: Any = None,
        **settings,
    ) -> "RegressionGenerator":
        """
        Args:
            backbone: a transformers encoder by name, live, or new from a config.
            target_shape: the shape of what is made, channels first.
            source_encoder: a transformers encoder of text, images or waveforms by name, live, or new from a config;
                several in a list; `None` where X is nothing of this kind.
            representation_encoder: likewise, for the positions of a source representation.
            settings: the other fields of [`RegressionGeneratorConfig`].
        """
        settings["target_shape"] = list(target_shape)
        return cls._from_parts(backbone, source_encoder, representation_encoder, **settings)

    @classmethod
    def hosts(cls, described: dict, target: RepresentationSpec) -> bool:
        return target.num_codes is None and hosts_encoder(described)

    @classmethod
    def for_spec(cls, part, target: RepresentationSpec, source: RepresentationSpec | None, **settings):
        if target.num_codes is not None:
            raise ValueError(f"RegressionGenerator makes continuous values, not {target}; MaskedGenerator makes codes.")
        settings = {"target_rate": target.rate, **describe_source(source), **settings}
        return cls.from_components(part, target.shape, **settings)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.normal_(self.queries, std=0.02)

    @learns
    def forward(
        self,
        target: torch.Tensor,
        target_mask: torch.Tensor | None = None,
        **source: torch.Tensor,
    ) -> LossOutput:
        """The mean squared and the mean absolute error, of values with unit variance.

        Args:
            target: `(batch, *config.target_shape)`.
            target_mask: `(batch, *config.target_shape[1:])`; padding does not count.
            source: what [`SourceEncoder`] reads.
        """
        made = self._make(self.source_encoder(**source, batch_size=len(target)))
        error = made - self.statistics.normalize(target)
        weights = torch.ones_like(error[:, 0]) if target_mask is None else target_mask.to(error.dtype)
        terms = {"squared": error.square(), "absolute": error.abs()}
        terms = {name: masked_mean(term.mean(1), weights) for name, term in terms.items()}
        return LossOutput.of(terms, reconstruction=self.statistics.denormalize(made))

    @generates
    def generate(self, *, generator: Randomness | None = None, **source: torch.Tensor) -> Representation:
        """
        Args:
            generator: makes no difference, because nothing is drawn; it is what other generators take.
            source: what [`SourceEncoder`] reads, or `batch_size` where that is nothing.
        """
        made = self._make(self.source_encoder(**source))
        return Representation(values=self.statistics.denormalize(made).to(self.dtype))

    def _make(self, condition: Condition) -> torch.Tensor:
        """Values of unit variance `(batch, *config.target_shape)`, in float32."""
        states = self._read(self.queries.expand(len(condition.hidden), -1, -1), condition)
        return self.head(states).float().movedim(2, 1).reshape(-1, *self.config.target_shape)
