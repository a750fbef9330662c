"""How a generator reads its source: text, a class, an image, audio, a representation, or several of them."""

import inspect
import math

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from ...parts.lengths import by_length
from ...parts.outputs import RepresentationSpec
from ...parts.pretrained import position_limit
from .condition import Condition
from .conditional_generator import ConditionalGeneratorConfig
from .source_encoders import READERS, build_source_encoder
from .statistics import ChannelStatistics


class SourceEncoder(PreTrainedModel):
    """Turns what there is of a source into hidden states, kind by kind, and puts a learned null source where
    there is nothing to read.

    A `PreTrainedModel`, because transformers loses the tied weights of a model that is the child of anything else.

    Args:
        config: the generator's.
        width: the size of the hidden states that the generator takes.
        encoders: live encoders instead of new ones, as [`load_source_encoders`] gives them.
        reads_representation: false where the generator stacks a source representation onto what it makes.
    """

    config_class = ConditionalGeneratorConfig
    base_model_prefix = ""
    _supports_sdpa = True

    def __init__(
        self,
        config: ConditionalGeneratorConfig,
        width: int,
        encoders: dict[str, PreTrainedModel] | None = None,
        reads_representation: bool = True,
    ):
        super().__init__(config)
        self.width = width
        self.projections = nn.ModuleDict()
        for name in dict.fromkeys((*READERS.values(), "representation_encoder")):  # two inputs have one reader
            described = getattr(config, f"source_{name}_config")
            live = (encoders or {}).get(f"source_{name}")
            encoder = None if described is None else live or build_source_encoder(described)
            setattr(self, name, encoder)
            if encoder is not None:
                self.projections[name] = _fitting(_output_width(encoder), width)
        # a conformer, such as Wav2Vec2BertModel, has another name for vectors that it reads
        embeds = (
            inspect.signature(self.representation_encoder.forward).parameters if self.representation_encoder else ()
        )
        self._embeds = "inputs_embeds" if "inputs_embeds" in embeds else "input_features"
        self.class_embedding = None if config.num_classes is None else nn.Embedding(config.num_classes, width)
        self.statistics = self.representation_embedding = None
        self.reads_representation = reads_representation and config.source_shape is not None
        if config.source_shape is not None and config.source_num_codes is None:
            self.statistics = ChannelStatistics(config.source_shape[0])
        if self.reads_representation:
            self.representation_embedding = self._representation_embedding()
        self.null = nn.Parameter(torch.zeros(width))
        self.post_init()

    def _representation_embedding(self) -> nn.Module:
        config, encoder = self.config, self.representation_encoder
        width = self.width if encoder is None else _input_width(encoder)
        if config.source_num_codes is None:
            return nn.Linear(config.source_shape[0], width)
        return nn.Embedding(config.source_num_codes * config.source_num_codebooks, width)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.normal_(self.null, std=0.02)
        if isinstance(module, ChannelStatistics):
            module.init_weights()

    @property
    def input_limits(self) -> dict[str, tuple[int | None, int | None]]:
        """As [`PreTrainedGenerator.input_limits`]."""
        limits = {} if self.class_embedding is None else {"class_labels": (self.class_embedding.num_embeddings, 1)}
        if getattr(self.encoder, "main_input_name", None) == "input_ids":
            words = self.encoder.get_input_embeddings()
            positions = position_limit(self.encoder) or getattr(self.encoder.config, "max_position_embeddings", None)
            limits["input_ids"] = (getattr(words, "num_embeddings", None), positions)
        if self.representation_encoder is not None:
            limits["source"] = (self.config.source_num_codes, position_limit(self.representation_encoder))
        return limits

    def forward(self, **source) -> Condition:
        """What [`SourceEncoder.read`] gives, joined along the length; with `source_stride`, means of so many places."""
        parts = self.read(**source)
        hidden, mask = (torch.cat([getattr(part, name) for part in parts], dim=1) for name in ("hidden", "mask"))
        condition, stride = Condition.of(hidden, mask), self.config.source_stride
        return condition if stride is None else condition.strided(stride)

    def read(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        class_labels: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        input_values: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        padding_mask: torch.Tensor | None = None,
        source: torch.Tensor | None = None,
        source_mask: torch.Tensor | None = None,
        batch_size: int | None = None,
    ) -> list[Condition]:
        """Each kind of source by itself, in the order of the arguments, a class after what encoders read.

        Args:
            input_ids, attention_mask: text, `(batch, length)`; 1 for real tokens.
            class_labels: classes, `(batch, 1)`, `torch.long`.
            pixel_values: images, `(batch, channels, height, width)`, as their encoder wants them.
            input_values: waveforms, `(batch, samples)`.
            input_features: features of waveforms instead, `(batch, frames, bins)` or as else the encoder of audio
                takes them.
            padding_mask: `(batch, samples)`, or `(batch, frames)` with `input_features`; 1 for real ones. Waveforms
                go by equal length through an encoder that takes no mask because it normalises over time.
            source, source_mask: a representation, `(batch, *config.source_shape)`, and `(batch, length)`, true where
                it is no padding.
            batch_size: the number of rows where there is nothing to read; 1 if not given.
        """
        given = dict(
            input_ids=input_ids, pixel_values=pixel_values, input_values=input_values, input_features=input_features
        )
        self._check(**given, class_labels=class_labels, source=source)
        masks = dict(input_ids=attention_mask, input_values=padding_mask, input_features=padding_mask)
        read = [self._encoded(name, values, masks.get(name)) for name, values in given.items() if values is not None]
        if class_labels is not None:
            read.append(_unpadded(self.class_embedding(class_labels)))
        if source is not None and self.reads_representation:
            read.append(self._represented(source, source_mask))
        if not read:
            rows = batch_size or (1 if source is None else len(source))
            read.append(_unpadded(self.null.expand(rows, 1, -1)))
        return [Condition.of(*each) for each in read]

    def _encoded(self, name: str, values: torch.Tensor, mask: torch.Tensor | None):
        encoder, project = getattr(self, READERS[name]), self.projections[READERS[name]]
        if name != "input_ids":
            values = values.to(encoder.dtype)
        if hasattr(encoder, "_get_feat_extract_output_lengths"):
            lengths = values.new_full((len(values),), values.shape[1]).long() if mask is None else mask.sum(1)
            _check_frames(encoder._get_feat_extract_output_lengths(lengths.clone()), name, lengths, encoder)

        def read(rows: torch.Tensor, **masked) -> torch.Tensor:
            return encoder(**{encoder.main_input_name: rows}, **masked).last_hidden_state

        if mask is None:
            return _unpadded(project(read(values)))
        if name == "input_values" and getattr(encoder.config, "feat_extract_norm", None) == "group":
            found = by_length(lambda rows: read(rows).transpose(1, 2), values, mask.bool())
            return project(found.values.transpose(1, 2)), found.mask.long()
        hidden = read(values, attention_mask=mask)
        hidden_mask = _hidden_mask(encoder, mask, hidden.shape[1]).long()
        if name != "input_ids":
            _check_frames(hidden_mask.sum(1), name, mask.sum(1), encoder)
        return project(hidden), hidden_mask

    def _represented(self, source: torch.Tensor, mask: torch.Tensor | None):
        config = self.config
        if config.source_num_codes is None:
            values = self.statistics.normalize(source).to(self.representation_embedding.weight.dtype)
            hidden = self.representation_embedding(
                values.flatten(2).movedim(1, 2) if values.ndim > 2 else values[:, None]
            )
        else:
            codes = source.unflatten(0, (-1, 1)) if config.source_num_codebooks == 1 else source
            offsets = config.source_num_codes * torch.arange(config.source_num_codebooks, device=source.device)
            codes = codes + offsets.view(1, -1, *[1] * (codes.ndim - 2))
            hidden = self.representation_embedding(codes.flatten(2)).sum(1)
        mask = torch.ones(hidden.shape[:2], dtype=torch.long, device=hidden.device) if mask is None else mask.long()
        if (encoder := self.representation_encoder) is None:
            return hidden + sinusoids(hidden.shape[1], self.width, hidden), mask
        hidden = encoder(**{self._embeds: hidden}, attention_mask=mask).last_hidden_state
        return self.projections["representation_encoder"](hidden), mask

    def fit_statistics(self, sources) -> None:
        """Measures mean and deviation of training sources, where the source is a continuous representation."""
        if self.statistics is not None and sources is not None:
            self.statistics.fit(sources)

    def _check(self, **given: torch.Tensor | None) -> None:
        encoders = {name: getattr(self, reader) for name, reader in READERS.items()}
        read = {
            name: each if getattr(each, "main_input_name", None) == name else None for name, each in encoders.items()
        }
        read |= {"class_labels": self.class_embedding, "source": self.config.source_shape}
        for name, values in given.items():
            if (values is None) != (read[name] is None):
                names = [f"`{each}`" for each, reader in read.items() if reader is not None]
                reads = f"this generator reads {' and '.join(names) or 'nothing'}"
                raise ValueError(f"`{name}` is {'missing' if values is None else 'not taken'}: {reads}.")
        spec, source = self.config.source_spec, given["source"]
        if source is not None and not spec.fits(
            RepresentationSpec(tuple(source.shape[1:]), spec.num_codes, spec.num_codebooks)
        ):
            raise ValueError(f"`source` must be {spec}, got the shape {tuple(source.shape[1:])}.")

    def draw_hidden(self, condition: Condition) -> torch.Tensor:
        """Rows `(batch,)` whose source training hides, as often as `condition_dropout` says."""
        hidden = condition.hidden
        return torch.rand(len(hidden), device=hidden.device) < self.config.condition_dropout

    def hide(self, condition: Condition, hidden: torch.Tensor) -> Condition:
        """The condition with the null source in the rows where `hidden` `(batch,)` is true."""
        null = self.null.to(condition.hidden.dtype)
        return Condition(
            torch.where(hidden[:, None, None], null, condition.hidden),
            torch.where(hidden[:, None], torch.ones_like(condition.mask), condition.mask),
            torch.where(hidden[:, None], null, condition.pooled),
        )


def sinusoids(length: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """Positions `(length, width)` as sines and cosines (Vaswani et al., 2017, section 3.5)."""
    rates = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(10000.0) / width))
    angles = torch.arange(length, device=like.device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width].to(like.dtype)


def _check_frames(frames: torch.Tensor, name: str, lengths: torch.Tensor, encoder: PreTrainedModel) -> None:
    """Raises `ValueError` where what is heard is too short to be read."""
    if (frames < 1).any():
        row = int((frames < 1).nonzero()[0])
        raise ValueError(
            f"row {row} of `{name}` has a length of {int(lengths[row])}, too short for one frame of "
            f"{type(encoder).__name__}."
        )


def _unpadded(hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return hidden, torch.ones(hidden.shape[:2], dtype=torch.long, device=hidden.device)


def _hidden_mask(encoder: PreTrainedModel, mask: torch.Tensor, length: int) -> torch.Tensor:
    """Which of `length` hidden states are real, by the encoder's own account where it has one."""
    if hasattr(encoder, "_get_output_attention_mask"):
        return encoder._get_output_attention_mask(mask, target_length=length)
    if hasattr(encoder, "_get_feature_vector_attention_mask"):
        return encoder._get_feature_vector_attention_mask(length, mask)
    if mask.shape[1] == length:
        return mask
    return nn.functional.adaptive_max_pool1d(mask[:, None].float(), length)[:, 0]


def _fitting(found: int, width: int) -> nn.Module:
    return nn.Identity() if found == width else nn.Linear(found, width)


def _input_width(encoder: PreTrainedModel) -> int:
    return getattr(encoder.config, "feature_projection_input_dim", None) or encoder.config.hidden_size


def _output_width(encoder: PreTrainedModel) -> int:
    return getattr(encoder.config, "output_hidden_size", None) or encoder.config.hidden_size
