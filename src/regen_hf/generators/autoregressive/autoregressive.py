"""Codes made autoregressively by the decoder of any language model of transformers."""

from typing import Any

import torch
from torch import nn
from transformers import EncoderDecoderCache, GenerationConfig, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from ...parts.contracts import PreTrainedGenerator, check_settings
from ...parts.generation import learns
from ...parts.outputs import LossOutput, RepresentationSpec
from ..sources.alignment import ctc_loss
from ..sources.condition import Condition
from ..sources.conditional_generator import describe_source
from ..sources.conditioning import SourceEncoder
from ..sources.perturbing import perturb
from ..sources.source_encoders import SOURCE_NAMES, encoder_configs, load_source_encoders
from .code_order import ORDERS, CodeHead
from .configuration_autoregressive import AutoregressiveGeneratorConfig
from .copying import CopyAttention
from .language_model import (
    LanguageModel,
    build_decoder,
    linear_head,
    load_language_model,
    resize_vocabulary,
    sees_source,
)
from .writing import CodeWriting

MOST_PLACES = 1500  # where nothing else limits them: half a minute of most codecs


class AutoregressiveGenerator(CodeWriting, PreTrainedGenerator, GenerationMixin):
    """Makes codes by next-code prediction, as DALL·E (Ramesh et al., 2021), LlamaGen (Sun et al., 2024) and MusicGen
    (Copet et al., 2023) do.

    A decoder with cross-attention attends to the source; before any other, such as Llama's, the source is put as a
    prefix. Where a pretrained language model has as many tokens as there are codes, the codes are its tokens: it
    keeps its embeddings and its head.

    Example:
        >>> from transformers import GPT2Config
        >>> decoder = GPT2Config(n_positions=4, n_embd=8, n_layer=1, n_head=2)
        >>> prior = AutoregressiveGenerator.from_components(decoder, target_shape=(2, 2), num_codes=16, num_classes=3)
        >>> prior.generate(class_labels=torch.tensor([[2]]), do_sample=False).values.shape
        torch.Size([1, 2, 2])
    """

    config_class = AutoregressiveGeneratorConfig
    source_names = SOURCE_NAMES
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_flash_attn = True

    def __init__(
        self,
        config: AutoregressiveGeneratorConfig,
        language_model: PreTrainedModel | None = None,
        source_encoders: dict[str, PreTrainedModel] | None = None,
    ):
        super().__init__(config)
        self.language_model = language_model or build_decoder(config.language_model_config)
        self._attends = sees_source(self.language_model)
        self._has_prefix = not self._attends and config.source_stride is None
        self._order = ORDERS[config.order](config.num_codes, config.num_codebooks)
        self._check_positions()
        width = self.language_model.config.hidden_size
        self.head = CodeHead(width, config.num_codes, config.num_codebooks, config.ends, tied=config.ties_head)
        if config.ties_head and (found := self.language_model.get_input_embeddings().embedding_dim) != width:
            raise ValueError(f"`ties_head` needs embeddings as wide as the hidden states, got {found} and {width}.")
        self.copy_attention = CopyAttention(width, config.num_codes) if config.copies else None
        reads = not config.reads_codes
        self.source_encoder = SourceEncoder(config, width, source_encoders, reads_representation=reads)
        self.alignment_head = nn.Linear(width, config.num_codes + 1) if config.alignment_weight else None
        self.post_init()
        self.generation_config = GenerationConfig(**self._tokens())

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, CodeHead) and module.weight is not None:
            init.normal_(module.weight, std=0.02)
        if isinstance(module, CopyAttention):
            module.init_weights()

    @classmethod
    def from_components(
        cls,
        language_model: str | PreTrainedModel | PreTrainedConfig,
        target_shape: tuple[int | None, ...],
        num_codes: int,
        source_encoder: Any = None,
        representation_encoder: Any = None,
        **settings,
    ) -> "AutoregressiveGenerator":
        """
        Args:
            language_model: a language model of transformers by name, live, or new from a config: a decoder, such as
                GPT-2 or Llama, or an encoder-decoder, such as T5 or BART, whose encoder then reads the source text
                if there is no other source.
            target_shape, num_codes: what the codes are.
            source_encoder: a transformers encoder of text, images or waveforms by name, live, or new from a config;
                several in a list; `None` where X is nothing of this kind.
            representation_encoder: likewise, for the positions of a source representation.
            settings: the other fields of [`AutoregressiveGeneratorConfig`].
        """
        check_settings(cls.config_class, settings)
        encoders = load_source_encoders(source_encoder, representation_encoder)
        others = encoders or any(settings.get(name) for name in ("num_classes", "source_shape"))
        reads_prefix = settings.get("prefix_vocabulary_size")
        loaded = load_language_model(language_model, has_source=not reads_prefix)
        if loaded.encoder is not None and not others and not reads_prefix:
            encoders = {"source_encoder": loaded.encoder}
        if target_shape[-1] is None:
            settings.setdefault("max_places", min(MOST_PLACES, _room(loaded.decoder, settings)))
        same = num_codes == loaded.decoder.config.vocab_size and settings.get("num_codebooks", 1) == 1
        settings.setdefault("shares_vocabulary", same and not isinstance(language_model, PreTrainedConfig))
        head = linear_head(loaded.model) if settings["shares_vocabulary"] else None
        config = cls.config_class(
            language_model_config=loaded.decoder.config.to_dict(),
            **encoder_configs(encoders),
            target_shape=list(target_shape),
            num_codes=num_codes,
            **settings,
        )
        kept = max(config.prefix_vocabulary_size or 0, num_codes if config.shares_vocabulary else 0)
        resize_vocabulary(loaded.decoder, config.vocabulary_size, kept)
        config.language_model_config = type(loaded.decoder.config).from_dict(loaded.decoder.config.to_dict())
        generator = cls(config, language_model=loaded.decoder, source_encoders=encoders)
        if config.shares_vocabulary:
            generator._take_tokens(loaded, head)
        return generator.checked().eval()

    @classmethod
    def hosts(cls, described: dict, target: RepresentationSpec) -> bool:
        kind = described.get("model_type")
        writes = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
        return target.num_codes is not None and (writes or kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)

    @classmethod
    def for_spec(cls, part, target: RepresentationSpec, source: RepresentationSpec | None, **settings):
        described = {"num_codebooks": target.num_codebooks, "target_rate": target.rate, **describe_source(source)}
        return cls.from_components(part, target.shape, target.num_codes, **{**described, **settings})

    def _check_positions(self) -> None:
        decoder, length = self.language_model, self._order.length(self.config.places) + int(self.config.ends)
        positions = getattr(decoder.config, "max_position_embeddings", None)
        if positions is not None and positions < length:
            raise ValueError(
                f"{type(decoder).__name__} has {positions} positions, but {self.config.target_spec} needs {length}."
            )

    @torch.no_grad()
    def _take_tokens(self, loaded: LanguageModel, head: torch.Tensor | None) -> None:
        """The codes are the tokens of a pretrained model, and so are the two ends where it knows them."""
        embeddings = self.language_model.get_input_embeddings().weight
        if loaded.start is not None:
            embeddings[-1] = embeddings[loaded.start]
        if self.config.ties_head:
            if head is None or not torch.allclose(head[: self.config.num_codes], embeddings[: self.config.num_codes]):
                raise ValueError(
                    f"`ties_head` needs a language model whose head is its embeddings; {type(loaded.model).__name__} "
                    "has another."
                )
        elif head is not None:
            self.head.weight[:-1] = head[: self.config.num_codes]
            if loaded.end is not None:
                self.head.weight[-1] = head[loaded.end]

    def _tied_rows(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The head's rows of the codes and of the end, where they are those of the embeddings."""
        if not self.config.ties_head:
            return None
        rows, first = self.language_model.get_input_embeddings().weight, self.config.first_code
        return rows[first : first + self.config.num_codes * self.config.num_codebooks], rows[-1:]

    @learns
    def forward(
        self,
        target: torch.Tensor | None = None,
        target_mask: torch.Tensor | None = None,
        *,
        encoder_outputs: BaseModelOutput | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        past_key_values: EncoderDecoderCache | None = None,
        use_cache: bool | None = None,
        guidance: float | None = None,
        return_dict: bool = True,
        **source: torch.Tensor,
    ) -> LossOutput | Seq2SeqLMOutput:
        """With `target` `(batch, *config.target_shape)`, the mean cross-entropy of its codes, and
        `config.alignment_weight` times the loss of aligning them to the source; the remaining arguments are those of
        one step of transformers' `generate`, and what [`SourceEncoder`] reads."""
        if target is None:
            condition = Condition.of(encoder_outputs.last_hidden_state, attention_mask)
            return self._step(condition, decoder_input_ids, past_key_values, use_cache, guidance or 1.0)
        if attention_mask is not None:
            source["attention_mask"] = attention_mask
        if (places := self._flat(target).shape[2]) > self.config.places:
            raise ValueError(f"`target` has {places} places, more than the {self.config.places} of this generator.")
        if self.training and self.config.source_noise and source.get("source") is not None:
            given = source["source"], source.get("source_mask")
            perturbed = perturb(*given, self.config.source_noise, self.config.source_num_codes)
            source |= {"source": perturbed.values, "source_mask": perturbed.mask}
        condition = aligned = self._read(source, len(target))
        condition = self._hide(condition, self.source_encoder.draw_hidden(condition))
        mask = None if target_mask is None else target_mask.flatten(1)
        if self.config.source_stride is not None:
            condition.check_places(places)
        tokens, labels = self._order.tokens(self._flat(target), mask, self.config.ends)
        states = self._hidden_states(tokens, 0, condition, use_cache=False).last_hidden_state[:, -tokens.shape[-1] :]
        states = self._with_copies(states, tokens, 0, condition)
        terms = {"cross_entropy": self.head.cross_entropy(states, labels, self._tied_rows())}
        if self.alignment_head is not None:
            aligned = aligned.in_front()
            logits = self.alignment_head(aligned.hidden)
            terms["alignment"] = self.config.alignment_weight * ctc_loss(logits, aligned.mask, target, target_mask)
        return LossOutput.of(terms)

    def _flat(self, codes: torch.Tensor) -> torch.Tensor:
        """`(batch, codebooks, places)`"""
        return codes.flatten(2) if self.config.num_codebooks > 1 else codes.flatten(1)[:, None]

    @property
    def input_limits(self) -> dict[str, tuple[int | None, int | None]]:
        own = {} if self.config.reads_codes else {"input_ids": (self.config.prefix_vocabulary_size, None)}
        return {**self.source_encoder.input_limits, **(own if self.config.prefix_vocabulary_size else {})}

    @property
    def longest_target(self) -> int | None:
        return self.config.places if self.config.varies else None

    def check_source(self, **source) -> None:
        self._read(source)

    def _read(self, source: dict[str, torch.Tensor], rows: int | None = None) -> Condition:
        """What the source says. As a prefix it has its padding in front, so that what is written follows it at once."""
        if self.config.prefix_vocabulary_size:
            condition = self._own_tokens(source)
        else:
            condition = self.source_encoder(**source, **({} if rows is None else {"batch_size": rows}))
        return condition.at_the_end() if self._has_prefix else condition

    def _hide(self, condition: Condition, rows: torch.Tensor) -> Condition:
        """With the null source in some rows `(batch,)`: once in the place of a prefix, however long that was."""
        found = self.source_encoder.hide(condition, rows)
        if not self._has_prefix:
            return found
        last = torch.zeros_like(found.mask)
        last[:, -1] = 1
        return Condition(found.hidden, torch.where(rows[:, None], last, found.mask), found.pooled)

    def _own_tokens(self, source: dict[str, torch.Tensor]) -> Condition:
        """What the language model reads itself, in its own embeddings, after all else that there is."""
        names = ("source", "source_mask") if self.config.reads_codes else ("input_ids", "attention_mask")
        ids, mask = (source.get(name) for name in names)
        if ids is None:
            what = "codes" if self.config.reads_codes else "text"
            raise ValueError(f"`{names[0]}` is missing: the language model of this generator reads the {what} itself.")
        hidden = self.language_model.get_input_embeddings()(ids)
        mask = torch.ones_like(ids) if mask is None else mask.long()
        others = {name: value for name, value in source.items() if name not in names and value is not None}
        checked = {"source": ids} if self.config.reads_codes else {}
        condition = self.source_encoder(**checked, **others, batch_size=len(ids))
        if others:
            hidden, mask = torch.cat([condition.hidden, hidden], 1), torch.cat([condition.mask, mask], 1)
        return Condition.of(hidden, mask)

    def _embed(self, tokens: torch.Tensor, position: int) -> torch.Tensor:
        """`(batch, length, width)` of tokens `(batch, codebooks at a step, length)` that begin at `position`."""
        positions = torch.arange(position, position + tokens.shape[-1], device=tokens.device)
        rows = self.config.first_code + self._order.slots(positions) * self.config.num_codes + tokens
        rows = rows.masked_fill(tokens >= self.config.num_codes, self.config.vocabulary_size - 1)
        return self.language_model.get_input_embeddings()(rows).sum(1)

    def _hidden_states(self, tokens: torch.Tensor, position: int, condition: Condition, cache=None, use_cache=None):
        """The decoder's output for tokens `(batch, codebooks at a step, length)` that begin at `position`."""
        embedded = self._embed(tokens, position)
        if self.config.source_stride is not None:
            last = condition.mask.sum(1, keepdim=True) - 1  # of each row, where codebooks go on after it
            positions = torch.arange(position, position + tokens.shape[-1], device=tokens.device)
            beside = torch.minimum(self._order.places(positions)[None], last)
            embedded = embedded + condition.hidden.take_along_dim(beside[..., None], 1).to(embedded.dtype)
        if self._attends:
            return self.language_model(
                inputs_embeds=embedded, encoder_hidden_states=condition.hidden,
                encoder_attention_mask=condition.mask, past_key_values=cache, use_cache=use_cache,
            )  # fmt: skip
        mask = torch.ones(len(tokens), position + tokens.shape[-1], dtype=torch.long, device=tokens.device)
        if self._has_prefix:
            mask = torch.cat([condition.mask, mask], dim=1)
        limit = getattr(self.language_model.config, "max_position_embeddings", None)
        if limit is not None and mask.shape[1] > limit:
            name = type(self.language_model).__name__
            raise ValueError(f"{name} has {limit} positions, but a source and what is written take {mask.shape[1]}.")
        places = (mask.cumsum(1) - 1).clamp(min=0)
        if position == 0 and self._has_prefix:
            embedded = torch.cat([condition.hidden.to(embedded.dtype), embedded], dim=1)
        return self.language_model(
            inputs_embeds=embedded, attention_mask=mask, position_ids=places[:, -embedded.shape[1] :],
            past_key_values=None if cache is None else cache.self_attention_cache, use_cache=use_cache,
        )  # fmt: skip

    def _with_copies(
        self, states: torch.Tensor, tokens: torch.Tensor, position: int, condition: Condition
    ) -> torch.Tensor:
        if self.copy_attention is None:
            return states
        embeddings = self.language_model.get_input_embeddings()
        size = getattr(embeddings, "embed_scale", 1.0) * embeddings.weight.detach().square().sum(-1).mean()
        written = self._embed(tokens, position)[:, -states.shape[1] :]
        return self.copy_attention(states, written, condition, size)


def _room(decoder: PreTrainedModel, settings: dict[str, Any]) -> int:
    """As many places as a decoder has positions for."""
    books, positions = settings.get("num_codebooks", 1), getattr(decoder.config, "max_position_embeddings", None)
    if positions is None:
        return MOST_PLACES
    return positions - books if settings.get("order") == "delay" else (positions - 1) // books
