"""Codes in the order of their source, all at once, by connectionist temporal classification."""

import inspect
import warnings
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CTC_MAPPING_NAMES

from ...parts.contracts import check_settings
from ...parts.generation import Randomness, check_finite, generates, learns
from ...parts.outputs import LossOutput, Representation, RepresentationSpec
from ...parts.pretrained import HubReference, hosted
from ...parts.settings import MANY, Argument
from ..sources.alignment import ctc_loss
from ..sources.conditional_generator import ConditionalGenerator, ConditionalGeneratorConfig, describe_source
from ..sources.conditioning import SourceEncoder
from ..sources.source_encoders import READERS, build_source_encoder, encoder_configs, load_source_encoders
from ..sources.spec_augment import zero_spans
from .ctc_decoding import best_path, padded, prefix_beam_search


class CTCGeneratorConfig(ConditionalGeneratorConfig):
    """
    Args:
        num_codes: the number of different codes; the blank is one more, after them.
        target_shape: `[None]`: one code at each place, and any number of places.
        target_rate: how many codes make a second.
        upsampling: how many places each hidden state of the source becomes; there must be a place for each code, and
            one more between two that are equal.
        time_masks, frequency_masks: how many spans of frames and of bins are zeroed in each example in training, where
            the encoder reads `input_features` `(batch, frames, bins)`.
        condition_dropout: 0, because there is no guidance.
    """

    model_type = "regen_ctc"

    num_codes: int = 256
    target_shape: list[int | None] | tuple[int | None, ...] = (None,)
    target_rate: float | None = None
    upsampling: int = 1
    time_masks: int = 0
    frequency_masks: int = 0
    condition_dropout: float = 0.0
    generation_arguments = dict.fromkeys(("num_beams", "num_return_sequences"), Argument(int, 1, MANY, default=1))

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.condition_dropout:
            raise ValueError(f"`condition_dropout` must be 0, got {self.condition_dropout}: CTC has no guidance.")
        if tuple(self.target_shape) != (None,):
            raise ValueError(f"`target_shape` must be [None], codes of any length, got {list(self.target_shape)}.")
        for name, least in {"num_codes": 1, "upsampling": 1, "time_masks": 0, "frequency_masks": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}, got {getattr(self, name)}.")

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec((None,), self.num_codes, rate=self.target_rate)

    @property
    def encoder_config(self) -> PreTrainedConfig:
        """Of the one encoder; raises `ValueError` where there is none, or more to read than it reads."""
        names = [f"source_{each}" for each in (*dict.fromkeys(READERS.values()), "representation_encoder")]
        found = {name: own for name in names if (own := getattr(self, f"{name}_config")) is not None}
        reads_all = self.source_shape is None or "source_representation_encoder" in found
        if len(found) != 1 or not reads_all or self.num_classes is not None:
            others = {"source_shape": self.source_shape, "num_classes": self.num_classes}
            others = [f"{name} {value}" for name, value in others.items() if value is not None]
            raise ValueError(
                "a CTC generator reads one source by one encoder: `source_encoder`, or `representation_encoder` where "
                f"the source is a representation; got {', '.join([*found, *others]) or 'none'}."
            )
        return next(iter(found.values()))


class CTCGenerator(ConditionalGenerator):
    """Makes codes by connectionist temporal classification (Graves et al., 2006): each place of the source says a code
    or nothing, and the same code at places that follow each other is one.

    For what is in the order of its source and no longer, such as the phonemes of speech or, with `upsampling`, the
    letters of phonemes. The codes do not see each other.

    Example:
        >>> from transformers import BertConfig
        >>> encoder = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
        >>> prior = CTCGenerator.from_components(encoder, num_codes=16).eval()
        >>> made = prior.generate(input_ids=torch.tensor([[4, 5, 6]]), num_beams=4, num_return_sequences=2)
        >>> len(made.values), bool(made.scores[0] >= made.scores[1])
        (2, True)
    """

    config_class = CTCGeneratorConfig
    config: CTCGeneratorConfig
    supports_gradient_checkpointing = True

    def __init__(self, config: CTCGeneratorConfig, source_encoders: dict[str, PreTrainedModel] | None = None):
        super().__init__(config)
        described = config.encoder_config
        width = getattr(described, "output_hidden_size", None) or described.hidden_size
        self.source_encoder = SourceEncoder(config, width, source_encoders)
        self.upsample = nn.Linear(width, config.upsampling * width) if config.upsampling > 1 else None
        self.head = nn.Linear(width, config.num_codes + 1)
        self._warned = False
        self._check_masks()
        self.post_init()

    def _check_masks(self) -> None:
        encoder = getattr(self.source_encoder, "audio_encoder", None)
        read = None if encoder is None else encoder.main_input_name
        for name in ("time_masks", "frequency_masks"):
            if (number := getattr(self.config, name)) and read != "input_features":
                found = "there is none that reads audio" if read is None else f"this one reads {read}"
                raise ValueError(f"`{name}` {number} needs an encoder that reads input_features, but {found}.")

    @classmethod
    def from_components(
        cls,
        source_encoder: Any = None,
        *,
        num_codes: int,
        representation_encoder: Any = None,
        **settings,
    ) -> "CTCGenerator":
        """
        Args:
            source_encoder: a transformers encoder of waveforms, spectrograms, text or images by name, live, or new
                from a config; of a model with a CTC head, the encoder. It is trained with the rest, unless it is a
                [`HubReference`] or a live one without anything to train.
            num_codes: how many different codes there are.
            representation_encoder: likewise, instead, for the positions of a source representation, as
                `inputs_embeds`.
            settings: the other fields of [`CTCGeneratorConfig`].
        """
        check_settings(cls.config_class, settings)
        parts = {"source_encoder": source_encoder, "representation_encoder": representation_encoder}
        encoders = load_source_encoders(*(_load_encoder(part, name) for name, part in parts.items()))
        reader = encoders.get("source_representation_encoder")
        if reader is not None and "inputs_embeds" not in inspect.signature(reader.forward).parameters:
            raise ValueError(
                f"`representation_encoder` must read `inputs_embeds`, which {type(reader).__name__} does not."
            )
        config = cls.config_class(
            **encoder_configs(encoders),
            num_codes=num_codes,
            **settings,
        )
        return cls(config, source_encoders=encoders).checked().eval()

    @classmethod
    def hosts(cls, described: dict, target: RepresentationSpec) -> bool:
        has_head = set(described.get("architectures") or ()) & set(MODEL_FOR_CTC_MAPPING_NAMES.values())
        return bool(has_head) and target.num_codes is not None and target.shape == (None,)

    @classmethod
    def for_spec(cls, part, target: RepresentationSpec, source: RepresentationSpec | None, **settings):
        if target.num_codes is None or target.shape != (None,):
            raise ValueError(f"CTCGenerator makes codes (any length, 1 codebook), not {target}.")
        settings = {"target_rate": target.rate, **describe_source(source), **settings}
        reader = "source_encoder" if source is None else "representation_encoder"
        return cls.from_components(**{reader: part}, num_codes=target.num_codes, **settings)

    @learns
    def forward(
        self,
        target: torch.Tensor,
        target_mask: torch.Tensor | None = None,
        **source: torch.Tensor,
    ) -> LossOutput:
        """The negative log-probability of the codes over all alignments, by code, the mean over rows.

        A row with more codes than its source has places for is left out, and the first such is warned of.

        Args:
            target: codes `(batch, length)`.
            target_mask: `(batch, length)`; each row true first, where it is real.
            source: what [`SourceEncoder`] reads.
        """
        mask = torch.ones_like(target, dtype=torch.bool) if target_mask is None else target_mask.bool()
        self._check_codes(target.masked_fill(~mask, 0))
        logits, places = self._logits(self._augmented(source))
        repeated = (target[:, 1:] == target[:, :-1]) & mask[:, 1:]
        fits = self._fitting(mask.sum(1), repeated.sum(1), places.sum(1))
        rows = [each[fits] for each in (logits, places, target, mask)]
        loss = ctc_loss(*rows) if fits.any() else logits[:0].sum()
        return LossOutput.of({"ctc": loss})

    def _check_codes(self, codes: torch.Tensor) -> None:
        if codes.numel() and not 0 <= codes.min() <= codes.max() < self.config.num_codes:
            wrong = codes[(codes < 0) | (codes >= self.config.num_codes)][0]
            raise ValueError(f"`target` must be codes from 0 to {self.config.num_codes - 1}, got {int(wrong)}.")

    def _fitting(self, lengths: torch.Tensor, repeated: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Which rows have a place for each code, and for a blank between codes that are equal."""
        fits = lengths + repeated <= places
        if not self._warned and not fits.all():
            self._warned = True
            row = int((~fits).nonzero()[0])
            warnings.warn(
                f"row {row} of a batch is left out of the loss: its {int(lengths[row])} codes, {int(repeated[row])} of "
                f"them the same as the one before, need {int(lengths[row] + repeated[row])} places, but its source has "
                f"{int(places[row])}. More such rows are left out without a word; a larger `upsampling` gives places.",
                stacklevel=3,
            )
        return fits

    def _augmented(self, source: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        masks = self.config.time_masks, self.config.frequency_masks
        if not self.training or not any(masks) or source.get("input_features") is None:
            return source
        features = zero_spans(source["input_features"], source.get("padding_mask"), *masks)
        return {**source, "input_features": features}

    def _logits(self, source: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """`(batch, places, num_codes + 1)`, and which of the places are real: the first ones of each row."""
        condition = self.source_encoder(**source).in_front()
        hidden, mask = condition.hidden, condition.mask.bool()
        if self.upsample is not None:
            hidden = nn.functional.gelu(self.upsample(hidden).unflatten(2, (self.config.upsampling, -1)).flatten(1, 2))
            mask = mask.repeat_interleave(self.config.upsampling, dim=1)
        return self.head(hidden), mask

    @generates
    def generate(
        self,
        *,
        num_beams: int | None = None,
        num_return_sequences: int | None = None,
        generator: Randomness | None = None,
        **source: torch.Tensor,
    ) -> Representation:
        """
        Args:
            num_beams: how many outputs are kept at each place by the beam search; 1, the default, takes the likeliest
                code or nothing at each place.
            num_return_sequences: how many outputs of each row are given, the likeliest first; they follow each other
                in the batch. Where fewer are found, the last comes again with the score -inf.
            generator: makes no difference, because nothing is drawn; it is what other generators take.
            source: what [`SourceEncoder`] reads.

        Returns:
            Codes `(batch, length)` with a mask, which is all false in a row of which nothing is said; and as `scores`
            their log-probabilities: that of all alignments which the beam search kept, or, with `num_beams` 1, that of
            the likeliest alignment alone.
        """
        asked = self.config.generation_settings(num_beams=num_beams, num_return_sequences=num_return_sequences)
        beams, number = asked["num_beams"], asked["num_return_sequences"]
        if number > beams:
            raise ValueError(f"`num_return_sequences` must be at most num_beams {beams}, got {number}.")
        log_probs, places = self.log_probs(**source)
        check_finite(log_probs, "CTCGenerator made log-probabilities with")
        rows = [row[own].cpu() for row, own in zip(log_probs, places, strict=True)]
        found = [best_path(row) if beams == 1 else prefix_beam_search(row.numpy(), beams) for row in rows]
        found = [own[:number] + [(own[-1][0], -np.inf)] * (number - len(own)) for own in found]
        return padded([each for own in found for each in own], log_probs.device)

    @torch.no_grad()
    def log_probs(self, **source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """How likely each code is at each place of the source, and last of all the blank: `(batch, places, num_codes +
        1)`, `torch.float32`; and which of the places are real, `(batch, places)`."""
        logits, places = self._logits(source)
        return logits.float().log_softmax(-1), places


def _load_encoder(part: Any, name: str) -> PreTrainedModel | None:
    """An encoder by name, live, or new; of a model with a CTC head, the encoder."""
    if part is None:
        return None
    try:
        model = hosted(part, AutoModel.from_pretrained, build_source_encoder)
    except TypeError as error:
        raise TypeError(f"`{name}`: {error}") from error
    encoder = model.base_model
    if type(encoder).__name__ in MODEL_FOR_CTC_MAPPING_NAMES.values():  # such as ParakeetForCTC, which is its own base
        encoder = encoder.get_encoder()
    if encoder is not model and isinstance(part, HubReference):
        raise ValueError(f"`{name}` is a part of a {type(model).__name__}, so it cannot be left on the Hub: name it.")
    return encoder
