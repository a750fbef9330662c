"""The composite: extractor, prior and decoder as one model."""

import math
from typing import Any

import torch
from torch import nn

from .configuration_regeneration import SEVERAL, RegenerationConfig
from .parts.auto import load_extractor, load_generator
from .parts.contracts import PreTrainedExtractor, PreTrainedGenerator, check_settings
from .parts.generation import Randomness, check_finite, check_source, learns, row_generators, rows_of
from .parts.outputs import LossOutput, RegenerationOutput, Repeatable, Representation
from .parts.pretrained import build
from .parts.settings import Argument, check_arguments, refuse_unknown


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
        return cls(cls.config_class(**configs, **settings), **parts).checked().eval()

    @property
    def without_gradient(self) -> list[nn.Module]:
        within = [] if self.decoder_model is None else self.decoder_model.without_gradient
        return [self.extractor, *self.prior.without_gradient, *within]

    @property
    def input_limits(self) -> dict[str, tuple[int | None, int | None]]:
        return self.prior.input_limits

    @property
    def longest_target(self) -> int | None:
        return None if self.decoder_model is None else self.decoder_model.longest_target

    def check_source(self, **source: torch.Tensor) -> None:
        self.prior.check_source(**source)

    @torch.no_grad()
    def encode(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> Representation:
        """Y to Y′."""
        made = self.extractor.encode(target, target_mask)
        check_finite(made.values, f"{type(self.extractor).__name__} made")
        return made

    @torch.no_grad()
    def decode(self, representation: Representation, **decoder_kwargs) -> Representation:
        """Y′ to Y, by the decoder, or by the extractor where there is none; `decoder_kwargs` are the decoder's."""
        if self.decoder_model is not None:
            masked = {} if representation.mask is None else {"source_mask": representation.mask}
            return self.decoder_model.generate(source=representation.values, **masked, **decoder_kwargs)
        if decoder_kwargs:
            raise TypeError(f"`decoder_kwargs` must be empty, got {sorted(decoder_kwargs)}: this model has no decoder.")
        check_finite(representation.values, "`representation` has")
        made = self.extractor.decode(representation)
        check_finite(made.values, f"{type(self.extractor).__name__} made")
        return made

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

    @learns
    def forward(self, target: torch.Tensor, target_mask: torch.Tensor | None = None, **source) -> LossOutput:
        """The prior's loss of making `encode(target)` from the source, and the decoder's of making `target` from it.

        The extractor stays as it is: it is learned from Y alone, by its own `forward`.
        """
        representation = self.encode(target, target_mask)
        masked = {} if representation.mask is None else {"target_mask": representation.mask}
        losses = {"prior": self.prior(target=representation.values, **masked, **source)}
        if self.decoder_model is not None:
            given = {"source": representation.values, "source_mask": representation.mask, "target_mask": target_mask}
            given = {name: value for name, value in given.items() if value is not None}
            losses["decoder"] = self.decoder_model(target=target, **given)
        terms = {f"{part}_{name}": term for part, out in losses.items() for name, term in (out.terms or {}).items()}
        return LossOutput(loss=sum(out.loss for out in losses.values()), terms=terms)

    @property
    def source_names(self) -> frozenset[str]:
        return self.prior.source_names

    def generate_names(self) -> set[str]:
        return super().generate_names() | self.prior.generate_names()

    @torch.no_grad()
    def generate(
        self,
        *,
        return_representation: bool = False,
        num_return_sequences: int = 1,
        num_hypotheses: int | None = None,
        decoder_kwargs: dict | None = None,
        generator: Randomness | None = None,
        **prior_kwargs,
    ) -> RegenerationOutput:
        """X to Y by way of Y′.

        Args:
            return_representation: give Y′ beside Y, as `output.representation`, and what each link of a chain makes
                as `output.representations`.
            num_return_sequences: targets for each source; they follow each other in the batch. Of a prior that
                searches with beams they are made of so many beams.
            num_hypotheses: decode so many Y′ for each source, the best of the prior's beams, and give the Y for which
                `log p(Y′ | X) + log p(Y | Y′)` is highest; for parts that know how likely what they make is. 1 by
                default.
            decoder_kwargs: arguments of the decoder's `generate`.
            generator: a `torch.Generator`, one for each target, or a seed, for the prior and the decoder; gives the
                same targets for the same sources, however they are batched.
            prior_kwargs: the source, and arguments of the prior's `generate`, such as `guidance`.
        """
        check_arguments(self.config.generation, self.config.generation_arguments)
        given = {"num_hypotheses": num_hypotheses, "decoder_kwargs": decoder_kwargs, **prior_kwargs}
        defaults = self.config.generation or {}
        asked = {**defaults, **{name: own for name, own in given.items() if own is not None}}
        if isinstance(decoder_kwargs, dict):
            asked["decoder_kwargs"] = {**defaults.get("decoder_kwargs", {}), **decoder_kwargs}
        hypotheses, decoder_kwargs = asked.pop("num_hypotheses", 1), dict(asked.pop("decoder_kwargs", {}))
        Argument(bool).check("return_representation", return_representation)
        self._check_generation(asked, decoder_kwargs, num_return_sequences, hypotheses)
        check_source(self, asked)
        asked = self._several(asked, num_return_sequences, hypotheses)
        if generator is not None:
            copies = rows_of(asked, self.source_names) * asked.get("num_return_sequences", 1)
            # one for each target, which the prior draws from and then the decoder
            asked["generator"] = row_generators(generator, copies)
            if self.decoder_model is not None:
                decoder_kwargs.setdefault("generator", asked["generator"])
        representation = self.prior.generate(**asked)
        if return_representation and isinstance(self.decoder_model, RegenerationModel):
            decoder_kwargs["return_representation"] = True
        target = self.decode(representation, **decoder_kwargs)
        if hypotheses > 1:
            rows = _likeliest(representation, target, hypotheses)
            representation, target = _rows(representation, rows), _rows(target, rows)
        output = RegenerationOutput(values=target.values, mask=target.mask)
        if None not in (representation.scores, target.scores):
            output.scores = representation.scores + target.scores
        if return_representation:
            output.representation = representation
            output.representations = (representation, *(getattr(target, "representations", None) or ()))
        return output

    def _check_generation(self, prior_kwargs: dict, decoder_kwargs: dict, several: int, hypotheses: int) -> None:
        """Raises before anything is made, also what the decoder would raise."""
        SEVERAL.check("num_return_sequences", several)
        SEVERAL.check("num_hypotheses", hypotheses)
        refuse_unknown(prior_kwargs, self.generate_names(), f"the `generate` of {type(self).__name__}")
        if several > 1 and hypotheses > 1:
            raise ValueError(
                f"`num_hypotheses` {hypotheses} gives one target, but `num_return_sequences` asks for {several}: give "
                "one of the two."
            )
        if self.decoder_model is None:
            if hypotheses > 1:
                raise ValueError(f"`num_hypotheses` {hypotheses} needs a decoder to try them with.")
            return
        refuse_unknown(decoder_kwargs, self.decoder_model.generate_names(), "the decoder, by `decoder_kwargs`")
        arguments = self.decoder_model.config.generation_arguments
        check_arguments({k: v for k, v in decoder_kwargs.items() if k in arguments}, arguments, "decoder_kwargs")

    def _several(self, prior_kwargs: dict, several: int, hypotheses: int) -> dict:
        """The prior's arguments for so many Y′ of each source, which it finds itself, or of repeated rows."""
        said = {**(self.prior.config.generation or {}), **prior_kwargs}
        takes = self.prior.config.generation_arguments
        if "num_return_sequences" in takes:
            prior_kwargs = {**prior_kwargs, "num_return_sequences": 1}
        if hypotheses > 1:
            beams = max(hypotheses, said.get("num_beams") or 1)
            return {**prior_kwargs, "num_beams": beams, "num_return_sequences": hypotheses}
        searches = "num_return_sequences" in takes and (said.get("num_beams") or 1) > 1
        if several > 1 and (searches or ("do_sample" in takes and said.get("do_sample") is not False)):
            return {**prior_kwargs, "num_return_sequences": several}
        return {
            name: value.repeat_interleave(several, dim=0) if torch.is_tensor(value) else value
            for name, value in prior_kwargs.items()
        }


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
