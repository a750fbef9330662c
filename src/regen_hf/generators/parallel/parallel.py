"""What generators share that make all positions of a target at once, by any transformers encoder."""

import torch
from transformers import MODEL_MAPPING, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.configuration_utils import SubConfigSpec
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from ...parts.contracts import check_settings
from ...parts.pretrained import build, embedding_width, hosted, position_limit, refuse_reference
from ..sources.condition import Condition
from ..sources.conditional_generator import ConditionalGenerator, ConditionalGeneratorConfig
from ..sources.conditioning import SourceEncoder
from ..sources.source_encoders import encoder_configs, load_source_encoders


class ParallelGeneratorConfig(ConditionalGeneratorConfig):
    """
    Args:
        backbone_config: the transformers encoder; it sees all positions at once, as BERT, RoBERTa and ModernBERT do.
        target_shape: the shape of what is made, channels or codebooks first.
        target_rate: how many values of the last dimension make a second, for what lasts.
    """

    sub_configs_defaults = {
        **ConditionalGeneratorConfig.sub_configs_defaults,
        "backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="bert", optional=True),
    }

    backbone_config: dict | PreTrainedConfig | None = None
    target_shape: list[int | None] | tuple[int | None, ...] = (8, 8)
    target_rate: float | None = None


class ParallelGenerator(ConditionalGenerator):
    """A generator whose backbone reads the positions of the target and, after them, those of the source, unless a
    subclass aligns the two.

    The source comes last, so that its length does not move the target's positions.
    """

    config: ParallelGeneratorConfig
    supports_gradient_checkpointing = True

    def __init__(
        self,
        config: ParallelGeneratorConfig,
        backbone: PreTrainedModel | None = None,
        source_encoders: dict[str, PreTrainedModel] | None = None,
    ):
        super().__init__(config)
        self.backbone = backbone or build(config.backbone_config)
        self._width = embedding_width(self.backbone)
        self._room = position_limit(self.backbone)
        self.source_encoder = SourceEncoder(config, self._width, source_encoders)

    @classmethod
    def _from_parts(cls, backbone, source_encoder, representation_encoder, **settings):
        check_settings(cls.config_class, settings)
        backbone = load_backbone(backbone)
        encoders = load_source_encoders(source_encoder, representation_encoder)
        config = cls.config_class(
            backbone_config=backbone.config.to_dict(),
            **encoder_configs(encoders),
            **settings,
        )
        return cls(config, backbone=backbone, source_encoders=encoders).checked().eval()

    def _check_room(self, positions: int, source: int) -> None:
        """Raises `ValueError` if the backbone has fewer positions than the target and the source need."""
        if self._room is not None and positions + source > self._room:
            raise ValueError(
                f"{type(self.backbone).__name__} has {self._room} positions, but {positions} of the target and "
                f"{source} of the source need {positions + source}."
            )

    def _read(
        self, embeds: torch.Tensor, condition: Condition | None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Hidden states `(batch, length, width)` of the target's positions.

        Args:
            embeds: `(batch, length, width)`, what stands at each position of the target.
            condition: the source that is read after it.
            mask: `(batch, length)`, true where the target is no padding.
        """
        length = embeds.shape[1]
        mask = torch.ones(embeds.shape[:2], device=embeds.device) if mask is None else mask
        self._check_room(length, 0 if condition is None else condition.hidden.shape[1])
        if condition is not None:
            embeds = torch.cat([embeds, condition.hidden.to(embeds.dtype)], dim=1)
            mask = torch.cat([mask.long(), condition.mask.long()], dim=1)
        return self.backbone(inputs_embeds=embeds, attention_mask=mask.long()).last_hidden_state[:, :length]


def load_backbone(part) -> PreTrainedModel:
    """A transformers encoder by name, live, or new from a config; of one with a head, the encoder.

    Raises:
        ValueError: if it is no encoder that sees all positions at once.
    """
    refuse_reference(part, "backbone")
    try:
        backbone = hosted(part, AutoModel.from_pretrained, build).base_model
    except TypeError as error:
        raise TypeError(f"`backbone`: {error}") from error
    if type(backbone) is not MODEL_MAPPING.get(type(backbone.config), None):
        raise ValueError(f"`backbone` must be what AutoModel gives, {type(backbone).__name__} is not.")
    _probe(backbone)
    padding = getattr(backbone.get_input_embeddings(), "padding_idx", None) or 0
    backbone.resize_token_embeddings(padding + 1, mean_resizing=False)  # it is given embeddings, and needs no words
    return backbone


@torch.no_grad()
def _probe(backbone: PreTrainedModel) -> None:
    """Raises `ValueError` where the first position does not see the last, or nothing can be read at all."""
    name, training = type(backbone).__name__, backbone.training
    backbone.eval()
    try:
        embeds = torch.zeros(2, 2, embedding_width(backbone), dtype=backbone.dtype, device=backbone.device)
        embeds[1, 1] = torch.linspace(-1, 1, embeds.shape[2])
        mask = torch.ones(2, 2, dtype=torch.long, device=backbone.device)
        one, two = backbone(inputs_embeds=embeds, attention_mask=mask).last_hidden_state[:, 0]
    except Exception as error:
        raise ValueError(f"`backbone` {name} does not read `inputs_embeds` as an encoder does: {error}") from error
    finally:
        backbone.train(training)
    if torch.equal(one, two):
        raise ValueError(f"`backbone` {name} reads from left to right, but all positions are made at once.")


def hosts_encoder(described: dict) -> bool:
    """Whether a config.json is of a transformers encoder that sees all positions at once."""
    one_way = described.get("is_decoder") or described.get("is_encoder_decoder")
    kind = described.get("model_type")
    one_way = one_way or kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    return not one_way and kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES
