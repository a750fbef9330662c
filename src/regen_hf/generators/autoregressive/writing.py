"""Writing codes autoregressively: how transformers' `generate` is led, and its tokens read as codes."""

import contextlib
from typing import Any

import torch
from torch import nn
from transformers import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.utils import ModelOutput

from ...parts.outputs import Representation
from ..sources.condition import Condition
from ..sources.conditioning import SOURCE_NAMES
from .guided_cache import cache_of, paired


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

    @torch.no_grad()
    def generate(
        self,
        *,
        guidance: float | None = None,
        generator: torch.Generator | None = None,
        **source_and_generation,
    ) -> Representation:
        """
        Args:
            guidance: how far the logits go from those of the null source towards those of the source; 1 is none.
            generator: makes sampling repeatable for the same batch.
            source_and_generation: what [`SourceEncoder`] reads, or `batch_size` where that is nothing; and what
                transformers' `generate` takes: `do_sample` (true here by default), `temperature`, `top_k`, `top_p`,
                `num_beams`, ...

        Returns:
            Codes `(batch, *config.target_shape)`, with a mask where their number varies. Then beams without sampling
            and guidance come with their log-probabilities as `scores`.
        """
        defaults = {"guidance": 1.0, "do_sample": True, "top_k": 0, **(self.config.generation or {})}
        default_guidance = defaults.pop("guidance")
        guidance = default_guidance if guidance is None else guidance
        self.config.check_guidance(guidance)
        source = {name: value for name, value in source_and_generation.items() if name in SOURCE_NAMES}
        generation = {k: v for k, v in {**defaults, **source_and_generation}.items() if k not in source}
        if not generation["do_sample"]:  # transformers warns of options that only sampling reads
            for name in defaults.keys() & {"top_k", "top_p", "temperature"}:
                generation.pop(name, None)
        for name in ("num_beams", "num_return_sequences"):
            if self.config.order == "delay" and generation.get(name, 1) != 1:
                raise ValueError(f"`{name}` must be 1 with `order` 'delay', got {generation[name]}.")
        condition = self._read(source)
        with _seeded(generator, self.device):
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
        if processor := order.processor(rows):
            generation["logits_processor"] = [*generation.get("logits_processor", []), processor]
        length = order.length(places)
        generation = {"min_new_tokens": 1 if config.ends else length, "max_new_tokens": length, **generation}
        repeated = order.rows(1)
        scored = generation.get("num_beams", 1) > 1 and not generation["do_sample"]
        return GenerationMixin.generate(
            self,
            encoder_outputs=BaseModelOutput(last_hidden_state=condition.hidden.repeat_interleave(repeated, dim=0)),
            attention_mask=condition.mask.repeat_interleave(repeated, dim=0),
            guidance=guidance,
            return_dict_in_generate=True,
            output_scores=scored,
            **generation,
        )

    def _written(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> Representation:
        """The codes of tokens; `mask` `(batch, places)` says where they end, where the source does."""
        codes = self._order.codes(tokens)
        shape = tuple(self.config.target_shape)
        if not self.config.varies:
            return Representation(values=codes.reshape(-1, *shape))
        if mask is None:
            mask = (codes < self.config.num_codes).all(1).cumprod(1).bool()
        mask = mask.repeat_interleave(len(codes) // len(mask), dim=0)  # of several targets for each source
        codes = codes.masked_fill(~mask[:, None], 0)[:, :, : max(int(mask.sum(1).max()), 1)]
        return Representation(values=codes if len(shape) > 1 else codes[:, 0], mask=mask[:, : codes.shape[2]])


@contextlib.contextmanager
def _seeded(generator: torch.Generator | None, device: torch.device):
    """Lets `generator` decide what transformers draws from the global random state, which is left as it was."""
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
