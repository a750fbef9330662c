"""How a generator reads its source: text, a class, or a representation."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoModel, AutoModelForTextEncoding, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.configuration_utils import SubConfigSpec
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

from ..contracts import GeneratorConfig
from ..outputs import RepresentationSpec


class ConditionalGeneratorConfig(GeneratorConfig):
    """
    Args:
        source_encoder_config: the transformers encoder that reads text.
        num_classes: the number of classes, where the source is a class.
        source_shape: the shape of the representation, where the source is one.
        condition_dropout: how often training hides the source, so that `generate` can be guided; 0 learns no null
            source and forbids guidance.
    """

    sub_configs_defaults = {
        "source_encoder_config": SubConfigSpec(config_class=AutoConfig, model_type="bert", optional=True)
    }

    source_encoder_config: dict | PreTrainedConfig | None = None
    num_classes: int | None = None
    source_shape: list[int] | tuple[int, ...] | None = None
    condition_dropout: float = 0.1

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if not 0 <= self.condition_dropout < 1:
            raise ValueError(f"`condition_dropout` must be in [0, 1), got {self.condition_dropout}.")
        if self.source_encoder_config is not None and self.num_classes is not None:
            raise ValueError("a generator reads text (`source_encoder_config`) or classes (`num_classes`), not both.")

    @property
    def source_spec(self) -> RepresentationSpec | None:
        return None if self.source_shape is None else RepresentationSpec(tuple(self.source_shape))

    def check_guidance(self, guidance: float) -> None:
        """Raises `ValueError` if `guidance` asks for a null source that was never learned."""
        if guidance != 1 and self.condition_dropout == 0:
            raise ValueError(
                f"`guidance` must be 1, got {guidance}: this {type(self).__name__} has `condition_dropout` 0, so it "
                "has learned no null source to be guided away from."
            )


def load_source_encoder(source_encoder: "str | PreTrainedModel | PreTrainedConfig") -> PreTrainedModel:
    """A text encoder by Hub name or folder, which is frozen, a live one as it is, or a new one from a config.

    Of a model of text and something else, such as CLIP, it is the part that reads text.
    """
    if isinstance(source_encoder, PreTrainedModel):
        return source_encoder
    if isinstance(source_encoder, str):
        config = AutoConfig.from_pretrained(source_encoder).get_text_config()
        encoder_class = _text_encoder_class(config)
        encoder = encoder_class.from_pretrained(source_encoder, config=config, use_safetensors=True)
        return encoder.requires_grad_(False)
    if isinstance(source_encoder, PreTrainedConfig):
        return _text_encoder_class(source_encoder).from_config(source_encoder)
    raise TypeError(f"`source_encoder` must be a name, a model or a config, got {type(source_encoder).__name__}.")


def _text_encoder_class(config: PreTrainedConfig) -> type:
    if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING:
        return AutoModelForTextEncoding
    if config.is_encoder_decoder:
        raise ValueError(
            f"`source_encoder` must be an encoder: what {type(config).__name__} gives at its end is its decoder's. "
            "T5 and its like are known to transformers as text encoders."
        )
    return AutoModel


@dataclass
class Condition:
    """What the source says: `hidden` `(batch, length, width)`, its `mask` `(batch, length)`, and their mean."""

    hidden: torch.Tensor
    mask: torch.Tensor
    pooled: torch.Tensor

    def map(self, function) -> "Condition":
        """The same with `function` applied to each tensor."""
        return Condition(function(self.hidden), function(self.mask), function(self.pooled))


class SourceEncoder(PreTrainedModel):
    """Turns text or a class into hidden states, and stands in a learned null source where there is nothing to read.

    A `PreTrainedModel`, because transformers loses the tied weights of a model that is the child of anything else.

    Args:
        config: the generator's.
        width: the size of the hidden states that the generator takes.
        encoder: a live text encoder instead of a new one.
    """

    config_class = ConditionalGeneratorConfig
    base_model_prefix = ""
    _supports_sdpa = True

    def __init__(self, config: ConditionalGeneratorConfig, width: int, encoder: PreTrainedModel | None = None):
        super().__init__(config)
        self.encoder = self.class_embedding = None
        if config.source_encoder_config is not None:
            self.encoder = encoder or load_source_encoder(config.source_encoder_config)
            found = self.encoder.config.hidden_size
            self.projection = nn.Identity() if found == width else nn.Linear(found, width)
        elif config.num_classes is not None:
            self.class_embedding = nn.Embedding(config.num_classes, width)
        self.null = nn.Parameter(torch.zeros(width))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.normal_(self.null, std=0.02)

    def train(self, mode: bool = True) -> "SourceEncoder":
        """A frozen encoder stays as it is in use, without dropout."""
        super().train(mode)
        if self.encoder is not None and not any(p.requires_grad for p in self.encoder.parameters()):
            self.encoder.eval()
        return self

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        class_labels: torch.Tensor | None = None,
        batch_size: int = 1,
    ) -> Condition:
        """
        Args:
            input_ids: `(batch, length)`, `torch.long`.
            attention_mask: `(batch, length)`, 1 for real tokens.
            class_labels: `(batch, 1)`, `torch.long`.
            batch_size: the number of rows where there is neither text nor class.
        """
        self._check(input_ids, class_labels)
        if self.encoder is not None:
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            hidden = self.projection(self.encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state)
        elif self.class_embedding is not None:
            hidden = self.class_embedding(class_labels)
            mask = torch.ones(hidden.shape[:2], dtype=torch.long, device=hidden.device)
        else:
            hidden = self.null.expand(batch_size, 1, -1)
            mask = torch.ones(batch_size, 1, dtype=torch.long, device=hidden.device)
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
        return Condition(hidden, mask, pooled)

    def _check(self, input_ids: torch.Tensor | None, class_labels: torch.Tensor | None) -> None:
        for name, given, read in (
            ("input_ids", input_ids, self.encoder),
            ("class_labels", class_labels, self.class_embedding),
        ):
            if (given is None) != (read is None):
                kind = "text" if self.encoder is not None else "a class" if self.class_embedding is not None else None
                reads = f"this generator's source is {kind}" if kind else "this generator reads neither text nor class"
                raise ValueError(f"`{name}` is {'missing' if given is None else 'not taken'}: {reads}.")

    def hide(self, condition: Condition, hidden: torch.Tensor) -> Condition:
        """The condition with the null source in the rows where `hidden` `(batch,)` is true."""
        null = self.null.to(condition.hidden.dtype)
        return Condition(
            torch.where(hidden[:, None, None], null, condition.hidden),
            torch.where(hidden[:, None], torch.ones_like(condition.mask), condition.mask),
            torch.where(hidden[:, None], null, condition.pooled),
        )


class ChannelStatistics(nn.Module):
    """Mean and standard deviation of each channel, fitted once on training data and stored in the checkpoint.

    Diffusion assumes values of unit variance; this is the one place where it is given and taken back.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def init_weights(self) -> None:
        """The identity, until `fit` is called."""
        init.zeros_(self.mean)
        init.ones_(self.std)

    @torch.no_grad()
    def fit(self, batches) -> None:
        """Measures batches of `(batch, channels, ...)`, one at a time.

        Raises:
            ValueError: if there are none, or if they hold NaN or infinite values.
        """
        count, total, squares = 0, 0.0, 0.0
        for batch in batches:
            flat = batch.double().transpose(0, 1).flatten(1)
            count, total, squares = count + flat.shape[1], total + flat.sum(1), squares + flat.square().sum(1)
        if not count or not torch.isfinite(squares).all():
            raise ValueError(f"statistics need finite values, got {count} values, some of them NaN or infinite.")
        mean = total / count
        self.mean.copy_(mean)
        self.std.copy_((squares / count - mean.square()).clamp(min=1e-10).sqrt())

    def normalize(self, values: torch.Tensor) -> torch.Tensor:
        """To zero mean and unit variance, in float32."""
        mean, std = self._shaped(values)
        return (values.float() - mean) / std

    def denormalize(self, values: torch.Tensor) -> torch.Tensor:
        """The reverse of `normalize`."""
        mean, std = self._shaped(values)
        return values.float() * std + mean

    def _shaped(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (1, -1) + (1,) * (values.ndim - 2)
        return self.mean.float().view(shape), self.std.float().view(shape)
