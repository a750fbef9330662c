"""Writing codes autoregressively: how transformers' `generate` is led, and its tokens read as codes."""

import contextlib
import copy
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig, GenerationMixin, LogitsProcessorList
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.utils import ModelOutput

from ...parts.generation import Randomness, generates
from ...parts.outputs import Representation
from ...parts.settings import check_arguments
from ..sources.condition import Condition
from ..sources.source_encoders import SOURCE_NAMES
from .configuration_autoregressive import LENGTHS, SAMPLING
from .drawing import AllFinite, Drawing, DrawingBeams
from .guided_cache import cache_of, paired

LIVE = {"past_key_values", "cache_implementation", "logits_processor", "stopping_criteria"}
"""What a caller may give besides, but no config."""
MISSING = object()


class CodeWriting:
    """The half of [`AutoregressiveGenerator`] that writes. The other half reads the source, in `_read` and `_hide`, and
    gives hidden states of what is written so far, in `_hidden_states` and `_with_copies`."""

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        return self.source_encoder

    def _step(self, condition: Condition, ids, past_key_values, use_cache, guidance: float) -> Seq2SeqLMOutput:
        at_once = self._order.rows(1)
        tokens = ids.unflatten(0, (-1, at_once))
        condition = condition.map(lambda tensor: tensor[::at_once].contiguous())
        if guidance != 1:  # row 2i is guided by row 2i + 1, which sees the null source
            away = self._hide(condition, torch.ones(len(tokens), dtype=torch.bool, device=ids.device))
            condition = paired(condition, away)
            tokens = tokens.repeat_interleave(2, dim=0)
        position = 0 if past_key_values is None else past_key_values.get_seq_length()
        if position and self._has_prefix:
            position -= condition.hidden.shape[1]
        output = self._hidden_states(tokens, position, condition, past_key_values, use_cache)
        books = self._order.next_books(position + tokens.shape[-1] - 1)
        states = self._with_copies(output.last_hidden_state[:, -1:], tokens, position, condition)
        logits = self.head.next_logits(states[:, 0], books, self._tied_rows())
        if guidance != 1:
            towards, away = logits.unflatten(0, (-1, 2)).unbind(1)
            logits = torch.where(towards.isinf(), towards, away + guidance * (towards - away))
        return Seq2SeqLMOutput(logits=logits.flatten(0, 1)[:, None], past_key_values=past_key_values)

    def _tokens(self) -> dict[str, int | None]:
        """What begins, ends and pads a sequence, by the names of transformers' `GenerationConfig`."""
        start = self._order.start
        ends = {"eos_token_id": self._order.end if self.config.ends else None}
        return {"decoder_start_token_id": start, "bos_token_id": start, "pad_token_id": start, **ends}

    def adjust_generation_fn(self, *args, **kwargs) -> None:
        """As transformers' own; raises `ValueError` for a generation_config.json with what `generate` does not take."""
        super().adjust_generation_fn(*args, **kwargs)
        self._told(self.generation_config, "generation_config.json")

    def generate_names(self) -> set[str]:
        return super().generate_names() | LIVE

    @generates
    def generate(
        self,
        *,
        guidance: float | None = None,
        generator: Randomness | None = None,
        generation_config: GenerationConfig | None = None,
        **source_and_generation,
    ) -> Representation:
        """
        Args:
            guidance: how far the logits go from those of the null source towards those of the source; 1 is none.
            generator: a `torch.Generator`, one for each row, or a seed; gives the same targets for the same sources,
                however they are batched.
            generation_config: arguments of transformers' `generate`, which those given by name come before.
            source_and_generation: what [`SourceEncoder`] reads, or `batch_size` where that is nothing; and what
                transformers' `generate` takes: `do_sample`, `temperature`, `top_k`, `top_p`, `num_beams`, ... The
                likeliest codes are given of what is read, such as text, and with beams; else they are drawn, and
                wherever a `temperature` or the like is given.

        Returns:
            Codes `(batch, *config.target_shape)`, with a mask where their number varies. Then beams without sampling
            and guidance come with their log-probabilities as `scores`.
        """
        source = {name: value for name, value in source_and_generation.items() if name in SOURCE_NAMES}
        given = {"guidance": guidance, **source_and_generation}
        given = {name: value for name, value in given.items() if name not in source and value is not None}
        generation = self._asked({**self._told(generation_config, "generation_config"), **_counted(given)})
        guidance = generation.pop("guidance")
        self.config.check_guidance(guidance)
        condition = self._read(source)
        if generation.get("num_beams", 1) == 1:  # transformers would repeat rows, not those of one target together
            condition = self._several(condition, generation.pop("num_return_sequences", 1), generation["do_sample"])
        generation["logits_processor"] = [*generation.get("logits_processor", [])]
        drawn, beams = generation["do_sample"] and generator is not None, generation.get("num_beams", 1) > 1
        if drawn and not beams:
            generation["logits_processor"].append(Drawing(generator))
        with DrawingBeams(generator) if drawn and beams else contextlib.nullcontext():
            output = self._write(condition, guidance, generation)
        made = self._written(
            output.sequences[:, 1:], None if self.config.source_stride is None else condition.mask.bool()
        )
        if (scores := output.get("sequences_scores")) is not None and made.mask is not None and guidance == 1:
            penalty = generation.get("length_penalty", 1.0)  # transformers' scores are divided by length ** penalty
            longest = output.sequences.shape[1] - 1
            length = made.mask.sum(1) * self.config.num_codebooks + 1  # with the end, where there is room for it
            made.scores = scores * (length.clamp(max=longest) if self.config.ends else longest) ** penalty
        return made

    def _told(self, generation_config: GenerationConfig | None, where: str) -> dict[str, Any]:
        """What a `GenerationConfig` says; raises `ValueError` for what `generate` does not take, and other tokens."""
        told = {} if generation_config is None else generation_config.to_dict()
        own = {**self._tokens(), "transformers_version": told.get("transformers_version")}
        told = {name: value for name, value in told.items() if value is not None and own.get(name, MISSING) != value}
        check_arguments(told, self.config.generation_arguments, where)
        return _counted(told)

    def _asked(self, given: dict[str, Any]) -> dict[str, Any]:
        """Arguments of transformers' `generate`: what is given over what the model's configs say over defaults."""
        check_arguments(self.config.generation, self.config.generation_arguments)
        said = {**_counted(self.config.generation or {}), **self._told(self.generation_config, "generation_config")}
        if given.get("num_beams", 1) > 1 or given.keys() & SAMPLING.keys():
            said.pop("do_sample", None)  # which was said for another search
        asked = {"guidance": 1.0, "top_k": 0, **said, **given}
        beams = asked.get("num_beams", 1) > 1
        draws = bool(given.keys() & SAMPLING.keys()) or asked.get("num_return_sequences", 1) > 1
        draws = (not beams and (draws or not self.config.gives_likeliest)) or bool(given.keys() & SAMPLING.keys())
        asked.setdefault("do_sample", draws)
        if not asked["do_sample"]:  # transformers warns of options that only sampling reads
            asked = {name: value for name, value in asked.items() if name in given or name not in SAMPLING}
        if self.config.order == "delay" and beams:
            raise ValueError(f"`num_beams` must be 1 with `order` 'delay', got {asked['num_beams']}.")
        return asked

    def _write(self, condition: Condition, guidance: float, generation: dict[str, Any]) -> ModelOutput:
        """What transformers' `generate` gives: `sequences`, each with the start, and the scores of beams."""
        config, order = self.config, self._order
        given = generation.keys() & {"past_key_values", "cache_implementation"}
        if (guidance != 1 or not self._attends) and not given and generation.setdefault("use_cache", True):
            generation["past_key_values"] = cache_of(self.language_model, self._attends, guidance)
        places, rows = config.places, None if config.ends else config.places
        if config.source_stride is not None:
            places = condition.hidden.shape[1]
            if not config.varies:
                condition.check_places(config.places)
            if places > config.places:
                raise ValueError(f"the source has {places} places, more than the {config.places} of this generator.")
            rows = condition.mask.sum(1)
        watch = AllFinite(type(self).__name__)
        own = [*order.repetitions(generation), watch, order.processor(rows)]
        processors = [*generation["logits_processor"], *own]
        generation["logits_processor"] = [each for each in processors if each is not None]
        generation |= self._lengths(order.length(places), generation)
        repeated = order.rows(1)
        scored = generation.get("num_beams", 1) > 1 and not generation["do_sample"]
        return GenerationMixin.generate(
            self,
            encoder_outputs=BaseModelOutput(last_hidden_state=condition.hidden.repeat_interleave(repeated, dim=0)),
            attention_mask=condition.mask.repeat_interleave(repeated, dim=0),
            guidance=guidance,
            return_dict_in_generate=True,
            output_scores=scored,
            **self._tokens(),
            **generation,
        )

    def _several(self, condition: Condition, number: int, draws: bool) -> Condition:
        if number > 1 and not draws:
            raise ValueError(f"`num_return_sequences` {number} without sampling or beams is the same target each time.")
        return condition.map(lambda tensor: tensor.repeat_interleave(number, dim=0))

    def _sample(self, input_ids, logits_processor, *args, generation_config: GenerationConfig, **kwargs) -> ModelOutput:
        """As transformers' own; what [`Drawing`] has drawn of all that the other processors leave is taken."""
        if drawing := [each for each in logits_processor if isinstance(each, Drawing)]:
            others = [each for each in logits_processor if not isinstance(each, Drawing)]
            logits_processor = LogitsProcessorList([*others, *drawing])
            generation_config = copy.copy(generation_config)
            generation_config.do_sample = False
        return super()._sample(input_ids, logits_processor, *args, generation_config=generation_config, **kwargs)

    def _lengths(self, length: int, generation: dict[str, Any]) -> dict[str, int]:
        """How many tokens are written at least and at most, of `length` that there is room for.

        Raises:
            ValueError: where more are asked for, or fewer of targets that all have one length.
        """
        told = {name: generation.pop(name) for name in LENGTHS if name in generation}
        if not self.config.ends:
            for name, value in [
                *told.items(),
                *((name, generation[name]) for name in ("max_time",) if name in generation),
            ]:
                if value != length or name == "max_time":
                    raise ValueError(
                        f"`{name}` {value} does not fit: all {length} tokens of {self.config.target_spec} are written."
                    )
            return {"min_new_tokens": length, "max_new_tokens": length}
        lengths = {"min_new_tokens": 0, "max_new_tokens": length, **told}
        if not lengths["min_new_tokens"] <= lengths["max_new_tokens"] <= length:
            raise ValueError(
                f"there is room for {length} new tokens, but `min_new_tokens` is {lengths['min_new_tokens']} and "
                f"`max_new_tokens` {lengths['max_new_tokens']}."
            )
        return lengths

    def _written(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> Representation:
        """The codes of tokens; `mask` `(batch, places)` says where they end, where the source does."""
        codes = self._order.codes(tokens)
        shape = tuple(self.config.target_shape)
        if not self.config.varies:
            if (found := codes.shape[2]) != self.config.places:
                raise ValueError(
                    f"{found} places were written, but {self.config.target_spec} has {self.config.places}."
                )
            return Representation(values=codes.reshape(-1, *shape))
        if mask is None:
            mask = (codes < self.config.num_codes).all(1).cumprod(1).bool()
        mask = mask.repeat_interleave(len(codes) // len(mask), dim=0)  # of several targets for each source
        codes = codes.masked_fill(~mask[:, None], 0)[:, :, : max(int(mask.sum(1).max()), 1)]
        return Representation(values=codes if len(shape) > 1 else codes[:, 0], mask=mask[:, : codes.shape[2]])


def _counted(told: dict[str, Any]) -> dict[str, Any]:
    """With lengths as numbers of new tokens, so that what is said in one place comes before what is said in another."""
    told = dict(told)
    for name, other in (("max_new_tokens", "max_length"), ("min_new_tokens", "min_length")):
        if told.get(other) is None:
            continue
        if told.get(name) is not None:
            raise ValueError(f"give `{name}` or `{other}`, not both, got {told[name]} and {told[other]}.")
        told[name] = max(told.pop(other) - 1, 0)  # the start of the sequence is one
    return told
