"""Codes all at once, by masked prediction and a few steps of decoding."""

import functools
import math
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from ...parts.generation import GUIDANCE, STEPS, Randomness, generates, learns
from ...parts.outputs import LossOutput, Representation, RepresentationSpec
from ...parts.settings import Argument
from ..sources.condition import Condition
from ..sources.conditional_generator import describe_source
from ..sources.conditioning import sinusoids
from .masked_decoding import SCHEDULES, fill, split_steps
from .parallel import ParallelGenerator, ParallelGeneratorConfig, hosts_encoder

MOST_PLACES = 1_000_000
"""A `length` of more is a slip, or a shared config that wants to fill memories."""

POSITION_SCALE = 0.02
"""That of new code embeddings, so that neither drowns the other."""


class MaskedGeneratorConfig(ParallelGeneratorConfig):
    """
    Args:
        target_shape: the shape of the codes, for example `[8, 8]`; the last size may be `None`, where it varies.
        num_codes: the number of different codes in each codebook.
        num_codebooks: the number of codebooks; more than one are the first dimension of `target_shape`.
        codebook_order: `"in_turn"`, each codebook after those before it, as codecs want whose later books refine the
            earlier; or `"any"`, all of them together, the most confident first, as voices of a score.
        source_stride: how many places of the source are aligned with each place of the target: 1 for a melody and the
            voices beneath it. Then their mean is added to it, instead of being read after the target, and what is
            made has a place for each `source_stride` of the source; `None` where the source is read as a whole.
        masking_schedule: how much is masked after which part of the steps: `"cosine"` or `"linear"`; or `"all"`, for
            codes that are made in a single step (Gu et al., 2018), or in one of each codebook with `"in_turn"`: none
            of them sees another of that step, so take a low `temperature`.
    """

    model_type = "regen_masked"

    num_codes: int = 256
    num_codebooks: int = 1
    codebook_order: str = "in_turn"
    source_stride: int | None = None
    masking_schedule: str = "cosine"

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.masking_schedule not in SCHEDULES:
            known = ", ".join(SCHEDULES)
            raise ValueError(f"`masking_schedule` must be one of {known}, got {self.masking_schedule!r}.")
        if self.codebook_order not in ("in_turn", "any"):
            raise ValueError(f"`codebook_order` must be in_turn or any, got {self.codebook_order!r}.")
        if None in self.target_shape[:-1]:
            raise ValueError(f"`target_shape` may be None in its last place only, got {list(self.target_shape)}.")
        self.check_steps(self.generation_settings()["num_inference_steps"])

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec(tuple(self.target_shape), self.num_codes, self.num_codebooks, self.target_rate)

    @property
    def fewest_steps(self) -> int:
        """Steps in which all codebooks can be made."""
        return self.num_codebooks if self.codebook_order == "in_turn" else 1

    @property
    def generation_arguments(self) -> dict[str, Argument]:
        steps = self.fewest_steps if self.masking_schedule == "all" else max(12, self.fewest_steps)
        return {
            "guidance": GUIDANCE,
            "num_inference_steps": replace(STEPS, least=self.fewest_steps, default=steps),
            "temperature": Argument(above=0, default=1.0),
            "choice_temperature": Argument(least=0, default=2.0),
            "length": Argument(int, 1, MOST_PLACES),
        }

    def check_steps(self, steps: int) -> None:
        """Raises `ValueError` for what cannot be `num_inference_steps`."""
        if self.masking_schedule == "all" and steps != self.fewest_steps:
            raise ValueError(
                f"`num_inference_steps` must be {self.fewest_steps} with masking_schedule 'all', got {steps}."
            )


class MaskedGenerator(ParallelGenerator):
    """Makes codes by masked prediction, as MaskGIT (Chang et al., 2022) and MAGNeT (Ziv et al., 2024) do.

    Training hides a part of the codes and asks for them. `generate` begins with all of them hidden and keeps, at each
    step, those it is most confident of. Several codebooks are made in turn, each seeing those before it
    (SoundStorm, Borsos et al., 2023, section 3), or in any order (Huang et al., 2017, arXiv:1903.07227).

    Example:
        >>> from transformers import BertConfig
        >>> backbone = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
        >>> prior = MaskedGenerator.from_components(backbone, target_shape=(2, 2), num_codes=16, num_classes=3)
        >>> prior.generate(class_labels=torch.tensor([[2]]), num_inference_steps=2).values.shape
        torch.Size([1, 2, 2])
    """

    config_class = MaskedGeneratorConfig
    config: MaskedGeneratorConfig

    def __init__(
        self,
        config: MaskedGeneratorConfig,
        backbone: PreTrainedModel | None = None,
        source_encoders: dict[str, PreTrainedModel] | None = None,
    ):
        super().__init__(config, backbone, source_encoders)
        books, codes = config.num_codebooks, config.num_codes
        self.code_embedding = nn.Embedding(books * (codes + 1), self._width)  # the last of each book is the mask
        self.head = nn.Linear(self.backbone.config.hidden_size, books * codes)
        if config.target_shape[-1] is not None:
            self._check_room(math.prod(self._places(None)), 1 if config.source_stride is None else 0)
        self.post_init()

    @classmethod
    def from_components(
        cls,
        backbone: str | PreTrainedModel | PreTrainedConfig,
        target_shape: tuple[int | None, ...],
        num_codes: int,
        num_codebooks: int = 1,
        source_encoder: Any = None,
        representation_encoder: Any = None,
        **settings,
    ) -> "MaskedGenerator":
        """
        Args:
            backbone: a transformers encoder by name, live, or new from a config.
            target_shape, num_codes, num_codebooks: what the codes are.
            source_encoder: a transformers encoder of text, images or waveforms by name, live, or new from a config;
                several in a list; `None` where X is nothing of this kind.
            representation_encoder: likewise, for the positions of a source representation.
            settings: the other fields of [`MaskedGeneratorConfig`].
        """
        codes = {"target_shape": list(target_shape), "num_codes": num_codes, "num_codebooks": num_codebooks}
        return cls._from_parts(backbone, source_encoder, representation_encoder, **codes, **settings)

    @classmethod
    def hosts(cls, described: dict, target: RepresentationSpec) -> bool:
        return target.num_codes is not None and hosts_encoder(described)

    @classmethod
    def for_spec(cls, part, target: RepresentationSpec, source: RepresentationSpec | None, **settings):
        settings = {"target_rate": target.rate, **describe_source(source), **settings}
        return cls.from_components(part, target.shape, target.num_codes, target.num_codebooks, **settings)

    @learns
    def forward(
        self,
        target: torch.Tensor,
        target_mask: torch.Tensor | None = None,
        **source: torch.Tensor,
    ) -> LossOutput:
        """The cross-entropy of codes that are hidden: in turn in one codebook of each row, in any order in all.

        Args:
            target: `(batch, *config.target_shape)`.
            target_mask: `(batch, *config.target_shape without codebooks)`; padding does not count.
            source: what [`SourceEncoder`] reads.
        """
        codes = target.reshape(len(target), self.config.num_codebooks, -1)
        real = torch.ones_like(codes[:, 0], dtype=torch.bool) if target_mask is None else target_mask.flatten(1).bool()
        condition = self.source_encoder(**source, batch_size=len(codes))
        condition = self.source_encoder.hide(condition, self.source_encoder.draw_hidden(condition))
        asked, hidden = self._draw_masks(real)
        states = self._states(codes.masked_fill(hidden, self.config.num_codes), condition, real)
        loss = 0.0
        for book in range(self.config.num_codebooks):
            here = asked[:, book]
            logits = self._logits(states[here], book)
            loss = loss + nn.functional.cross_entropy(logits, codes[:, book][here], reduction="sum")
        loss = loss / asked.sum().clamp(min=1)
        return LossOutput.of({"cross_entropy": loss})

    def _draw_masks(self, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Which codes `(batch, codebooks, length)` are asked for, of each row at least one and no padding; and which
        are hidden: those, and in turn all of later codebooks."""
        books = self.config.num_codebooks
        if self.config.codebook_order == "any":
            asked = self._drawn(real.repeat(1, books)).unflatten(1, (books, -1))
            return asked, asked
        chosen = torch.randint(books, (len(real), 1, 1), device=real.device)
        book = torch.arange(books, device=real.device)[:, None]
        asked = self._drawn(real)[:, None] & (book == chosen)
        return asked, asked | (book > chosen)

    def _drawn(self, real: torch.Tensor) -> torch.Tensor:
        """Some of the real places `(batch, places)`, as many as after a random part of the steps are still hidden."""
        ratio = SCHEDULES[self.config.masking_schedule](torch.rand(len(real), 1, device=real.device))
        number = (ratio * real.sum(1, keepdim=True)).ceil().clamp(min=1)
        order = torch.rand(real.shape, device=real.device).masked_fill(~real, 2.0)
        return (order.argsort(1).argsort(1) < number) & real

    def _states(self, codes: torch.Tensor, condition: Condition, real: torch.Tensor | None) -> torch.Tensor:
        """Hidden states `(batch, length, width)` of codes and masks `(batch, codebooks, length)`."""
        embeds = self._embed(codes)
        if self.config.source_stride is None:
            return self._read(embeds, condition, real)
        condition.check_places(embeds.shape[1])
        return self._read(embeds + condition.hidden.to(embeds.dtype), None, real)

    def _embed(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes and masks `(batch, codebooks, length)` to `(batch, length, width)`, summed over the codebooks."""
        firsts = (self.config.num_codes + 1) * torch.arange(codes.shape[1], device=codes.device)
        embeds = self.code_embedding(codes + firsts[:, None]).sum(1)
        if self._room is not None:
            return embeds
        # where positions are only relative, masks beside masks would all look the same
        return embeds + POSITION_SCALE * sinusoids(embeds.shape[1], embeds.shape[2], embeds)

    def _logits(self, states: torch.Tensor, level: int) -> torch.Tensor:
        """Of the codes of one codebook, in float32."""
        rows = slice(level * self.config.num_codes, (level + 1) * self.config.num_codes)
        return nn.functional.linear(states, self.head.weight[rows], self.head.bias[rows]).float()

    @generates
    def generate(
        self,
        *,
        guidance: float | None = None,
        num_inference_steps: int | None = None,
        temperature: float | None = None,
        choice_temperature: float | None = None,
        length: int | None = None,
        generator: Randomness | None = None,
        **source: torch.Tensor,
    ) -> Representation:
        """
        Args:
            guidance: how far to go from the null source towards the source (Ho and Salimans, 2022); 1 is no guidance.
            num_inference_steps: forward passes, of all codebooks together; in turn the first gets twice as many as
                another.
            temperature: flattens what codes are drawn from, as in transformers.
            choice_temperature: the noise in which codes are kept, which falls to 0 at the last step.
            length: the size of the last dimension, where `target_shape` leaves it open and there is no `source_stride`.
            generator: a `torch.Generator`, one for each row, or a seed; gives the same targets for the same sources,
                however they are batched.
            source: what [`SourceEncoder`] reads, or `batch_size` where that is nothing.
        """
        asked = self.config.generation_settings(
            guidance=guidance, num_inference_steps=num_inference_steps, temperature=temperature,
            choice_temperature=choice_temperature, length=length,
        )  # fmt: skip
        self._check_generation(asked)
        condition, guidance = self.source_encoder(**source), asked["guidance"]
        real = None if self.config.source_stride is None else condition.mask.bool()
        places = self._places(asked["length"] if real is None else real.shape[1])
        rows, books = len(condition.hidden), self.config.num_codebooks
        codes = torch.full((rows, books, math.prod(places)), self.config.num_codes, device=self.device)
        if real is not None:
            condition.check_places(codes.shape[2])
            codes = codes.masked_fill(~real[:, None], 0)
        if guidance != 1:
            without = torch.arange(2 * rows, device=self.device) >= rows
            condition = self.source_encoder.hide(condition.map(lambda tensor: torch.cat([tensor, tensor])), without)
        in_turn = self.config.codebook_order == "in_turn"
        groups = [slice(book, book + 1) for book in range(books)] if in_turn else [slice(books)]
        for group, steps in zip(groups, split_steps(asked["num_inference_steps"], len(groups)), strict=True):
            if real is None:  # else rows are of different lengths, and each must be made as by itself
                steps = min(steps, codes[:, group][0].numel())
            predict = functools.partial(self._guided, codes, group, condition, real, guidance)
            fill(
                codes[:, group], predict, steps, mask=self.config.num_codes, schedule=self.config.masking_schedule,
                temperature=asked["temperature"], choice_temperature=asked["choice_temperature"],
                real=real, generators=generator,
            )  # fmt: skip
        mask = real if self.config.target_shape[-1] is None else None
        return Representation(codes.view(rows, *([books] if books > 1 else []), *places), mask)

    def _guided(self, codes: torch.Tensor, group: slice, condition: Condition, real, guidance: float) -> torch.Tensor:
        """Logits `(batch, places, codes)` of all places of some codebooks, codebook by codebook."""

        def logits(codes: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
            states = self._states(codes, condition, real)
            return torch.cat([self._logits(states, book) for book in range(codes.shape[1])[group]], dim=1)

        if guidance == 1:
            return logits(codes, real)
        towards, away = logits(codes.repeat(2, 1, 1), None if real is None else real.repeat(2, 1)).chunk(2)
        return away + guidance * (towards - away)

    def _check_generation(self, asked: dict[str, Any]) -> None:
        self.config.check_guidance(asked["guidance"])
        self.config.check_steps(asked["num_inference_steps"])
        needed = self.config.target_shape[-1] is None and self.config.source_stride is None
        if (asked["length"] is None) == needed:
            need = "is missing" if needed else "is not taken"
            given = f"target_shape is {tuple(self.config.target_shape)}, source_stride {self.config.source_stride}"
            raise ValueError(f"`length` {need}: {given}.")

    def _places(self, length: int | None) -> list[int]:
        """The target's shape without its codebooks."""
        shape = list(self.config.target_shape[1 if self.config.num_codebooks > 1 else 0 :])
        return shape if shape[-1] is not None else [*shape[:-1], length]
