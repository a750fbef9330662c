"""The composite: extractor, prior and decoder as one model."""

import math
from typing import Any

import torch
from torch import nn

from .configuration_regeneration import RegenerationConfig
from .parts.auto import load_extractor, load_generator
from .parts.contracts import PreTrainedExtractor, PreTrainedGenerator, check_settings
from .parts.outputs import LossOutput, RegenerationOutput, Repeatable, Representation
from .parts.pretrained import build


class RegenerationModel(PreTrainedGenerator):
    """Generates Y from X by way of Y′ (Tan et al., 2023, arXiv:2301.08846).

    It is a generator itself, so it may be the decoder of another: chains of any length are nesting.

    Example:
        >>> from diffusers import DiTTransformer2DModel
        >>> from regen_hf import DiffusionGenerator, IdentityExtractor, IdentityExtractorConfig
        >>> direct = IdentityExtractor(IdentityExtractorConfig(target_shape=[4, 4, 4]))
        >>> denoiser = DiTTransformer2DModel(2, 8, in_channels=4, num_layers=1, sample_size=4, num_embeds_ada_norm=9)
        >>> prior = DiffusionGenerator.from_components(denoiser, target_shape=(4, 4, 4), num_classes=9)
        >>> model = RegenerationModel.from_components(extractor=direct, prior=prior)
        >>> model.generate(class_labels=torch.tensor([[3]]), num_inference_steps=2).values.shape
        torch.Size([1, 4, 4, 4])
    """

    config_class = RegenerationConfig
    supports_gradient_checkpointing = True

    def __init__(
        self,
        config: RegenerationConfig,
        extractor: PreTrainedExtractor | None = None,
        prior: PreTrainedGenerator | None = None,
        decoder: PreTrainedGenerator | None = None,
    ):
        for name in ("extractor_config", "prior_config"):
            if getattr(config, name) is None:
                raise ValueError(f"`{name}` is missing: a regenerator needs an extractor and a prior.")
        super().__init__(config)
        self.extractor = extractor or build(config.extractor_config)
        self.prior = prior or build(config.prior_config)
        # not `decoder`: accelerate finds devices by substrings of names, and priors have decoders of their own
        self.decoder_model = decoder
        if decoder is None and config.decoder_config is not None:
            self.decoder_model = build(config.decoder_config)
        # the parts' own, so that what is changed there is saved
        config.extractor_config, config.prior_config = self.extractor.config, self.prior.config
        config.decoder_config = None if self.decoder_model is None else self.decoder_model.config
        self.post_init()

    @classmethod
    def from_components(
        cls,
        extractor: Any,
        prior: Any,
        decoder: Any = None,
        **settings,
    ) -> "RegenerationModel":
        """Puts a regenerator together from parts of this library, or from models of transformers and diffusers.

        Each part is live, or a Hub name, a folder or a [`HubReference`]; what it is, is read from its config. A model
        of another library gets what it must fit from the extractor: a language model in the prior's place writes the
        extractor's codes. Where that leaves a choice, make the part by the `from_components` of its class.

        Args:
            extractor: Y→Y′, for example `"facebook/encodec_24khz"`.
            prior: X→Y′, for example `"google-t5/t5-small"`.
            decoder: Y′→Y, for example a vocoder, or another [`RegenerationModel`]; `None` where the extractor decodes.

        Raises:
            ValueError: if the parts do not fit together.
        """
        check_settings(cls.config_class, settings)
        extractor = load_extractor(extractor)
        made, target = extractor.config.representation_spec, extractor.config.target_spec
        prior = load_generator(prior, made)
        if decoder is not None:
            decoder = load_generator(decoder, target, made, slot="decoder")
        if (known := extractor.config.normalization) is not None:
            if not all(map(math.isfinite, (*known[0], *known[1]))) or min(known[1]) <= 0:
                raise ValueError(f"`extractor` must have a finite mean and a deviation above 0 of Y′, got {known}.")
            prior.assign_statistics(*known)
        parts = {"extractor": extractor, "prior": prior, "decoder": decoder}
        # dictionaries, because a config shared with a live part would be changed under it
        configs = {f"{k}_config": None if v is None else v.config.to_dict() for k, v in parts.items()}
        return cls(cls.config_class(**configs, **settings), **parts).checked()

    @property
    def without_gradient(self) -> list[nn.Module]:
        within = [] if self.decoder_model is None else self.decoder_model.without_gradient
        return [self.extractor, *self.prior.without_gradient, *within]

    @torch.no_grad()
    def encode(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> Representation:
        """Y to Y′."""
        return self.extractor.encode(target, target_mask)

    @torch.no_grad()
    def decode(self, representation: Representation, **decoder_kwargs) -> Representation:
        """Y′ to Y, by the decoder, or by the extractor where there is none; `decoder_kwargs` are the decoder's."""
        if self.decoder_model is not None:
            masked = {} if representation.mask is None else {"source_mask": representation.mask}
            return self.decoder_model.generate(source=representation.values, **masked, **decoder_kwargs)
        if decoder_kwargs:
            raise TypeError(f"`decoder_kwargs` must be empty, got {sorted(decoder_kwargs)}: this model has no decoder.")
        return self.extractor.decode(representation)

    def fit_statistics(self, targets, sources=None) -> None:
        """Fits the prior on the Y′ of the targets, and the decoder on the targets and their Y′."""

        def encode(batch: torch.Tensor | Representation) -> Representation:
            values, mask = (batch.values, batch.mask) if isinstance(batch, Representation) else (batch, None)
            return self.encode(values.to(self.device), None if mask is None else mask.to(self.device))

        encoded = Repeatable(lambda: map(encode, targets))
        self.prior.fit_statistics(encoded, sources)
        if self.decoder_model is not None:
            self.decoder_model.fit_statistics(targets, encoded)

    def reconstruct(
        self, target: torch.Tensor, target_mask: torch.Tensor | None = None, **decoder_kwargs
    ) -> Representation:
        """Y to Y′ and back: the best that a perfect prior could do."""
        return self.decode(self.encode(target, target_mask), **decoder_kwargs)

    def forward(self, target: torch.Tensor, target_mask: torch.Tensor | None = None, **source) -> LossOutput:
        """The prior's loss of making `encode(target)` from the source, and the decoder's of making `target` from it.

        The extractor stays as it is: it is learned from Y alone, by its own `forward`.
        """
        representation = self.encode(target, target_mask)
        masked = {} if representation.mask is None else {"target_mask": representation.mask}
        losses = {"prior": self.prior(target=representation.values, **masked, **source)}
        if self.decoder_model is not None:
            given = {"source": representation.values}
            if representation.mask is not None:
                given["source_mask"] = representation.mask
            if target_mask is not None:
                given["target_mask"] = target_mask
            losses["decoder"] = self.decoder_model(target=target, **given)
        terms = {f"{part}_{name}": term for part, out in losses.items() for name, term in (out.terms or {}).items()}
        return LossOutput(loss=sum(out.loss for out in losses.values()), terms=terms)

    @torch.no_grad()
    def generate(
        self,
        *,
        return_representation: bool = False,
        num_return_sequences: int = 1,
        num_hypotheses: int = 1,
        decoder_kwargs: dict | None = None,
        **prior_kwargs,
    ) -> RegenerationOutput:
        """X to Y by way of Y′.

        Args:
            return_representation: give Y′ beside Y, as `output.representation`, and what each link of a chain makes
                as `output.representations`.
            num_return_sequences: targets for each source; they follow each other in the batch.
            num_hypotheses: decode so many Y′ for each source, the best of the prior's beams, and give the Y for which
                `log p(Y′ | X) + log p(Y | Y′)` is highest; for parts that know how likely what they make is.
            decoder_kwargs: arguments of the decoder's `generate`.
            prior_kwargs: the source, and arguments of the prior's `generate`, such as `guidance`. A `generator` is the
                decoder's, too.
        """
        for name, value in (("num_return_sequences", num_return_sequences), ("num_hypotheses", num_hypotheses)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}.")
        if num_return_sequences > 1 and num_hypotheses > 1:
            raise ValueError(
                f"`num_hypotheses` {num_hypotheses} gives one target, but `num_return_sequences` asks for "
                f"{num_return_sequences}: give one of the two."
            )
        if num_return_sequences > 1:
            prior_kwargs = {
                name: value.repeat_interleave(num_return_sequences, dim=0) if torch.is_tensor(value) else value
                for name, value in prior_kwargs.items()
            }
        prior_kwargs = {**(self.config.generation or {}), **prior_kwargs}
        if num_hypotheses > 1:
            if self.decoder_model is None:
                raise ValueError(f"`num_hypotheses` {num_hypotheses} needs a decoder to try them with.")
            beams = max(num_hypotheses, (self.prior.config.generation or {}).get("num_beams", 1))
            prior_kwargs = {"num_beams": beams, **prior_kwargs, "num_return_sequences": num_hypotheses}
        representation = self.prior.generate(**prior_kwargs)
        decoder_kwargs = dict(decoder_kwargs or {})
        if self.decoder_model is not None and prior_kwargs.get("generator") is not None:
            decoder_kwargs.setdefault("generator", prior_kwargs["generator"])
        if return_representation and isinstance(self.decoder_model, RegenerationModel):
            decoder_kwargs["return_representation"] = True
        target = self.decode(representation, **decoder_kwargs)
        if num_hypotheses > 1:
            rows = _likeliest(representation, target, num_hypotheses)
            representation, target = _rows(representation, rows), _rows(target, rows)
        output = RegenerationOutput(values=target.values, mask=target.mask)
        if None not in (representation.scores, target.scores):
            output.scores = representation.scores + target.scores
        if return_representation:
            output.representation = representation
            output.representations = (representation, *(getattr(target, "representations", None) or ()))
        return output


def _likeliest(representation: Representation, target: Representation, of: int) -> torch.Tensor:
    """Of each `of` rows that follow each other, the number of the one with the highest score of both parts together."""
    for name, made in (("prior", representation), ("decoder", target)):
        if made.scores is None:
            raise ValueError(
                f"`num_hypotheses` {of} needs a {name} that scores what it makes: one that searches with beams, such "
                "as CTCGenerator, or AutoregressiveGenerator with num_beams above 1 and without sampling."
            )
    total = (representation.scores + target.scores).view(-1, of)
    return total.argmax(1) + of * torch.arange(len(total), device=total.device)


def _rows(made: Representation, rows: torch.Tensor) -> Representation:
    """Some rows of what a generator made, with what the links of a chain made on the way."""

    def own(value: torch.Tensor | None) -> torch.Tensor | None:
        return None if value is None else value[rows]

    found = {"values": own(made.values), "mask": own(made.mask), "scores": own(made.scores)}
    links = getattr(made, "representations", None)
    if links is None:
        return Representation(**found)
    return RegenerationOutput(**found, representations=tuple(_rows(link, rows) for link in links))
