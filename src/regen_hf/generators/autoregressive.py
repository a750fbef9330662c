"""Codes one after the other, by any transformers decoder that attends to its source."""

import contextlib
import inspect
import math

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    EncoderDecoderCache,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.models.auto.configuration_auto import AutoConfig

from ..contracts import PreTrainedGenerator, check_settings
from ..outputs import LossOutput, Representation, RepresentationSpec
from .conditioning import ConditionalGeneratorConfig, SourceEncoder, load_source_encoder


class AutoregressiveGeneratorConfig(ConditionalGeneratorConfig):
    """
    Args:
        language_model_config: the transformers decoder; it needs cross-attention, `num_codes + 1` tokens (the last one
            starts every sequence) and room for as many positions as there are codes.
        target_shape: the shape of the codes, for example `[8, 8]`; they are written row by row.
        num_codes: the number of different codes.
    """

    model_type = "regen_autoregressive"
    sub_configs_defaults = {
        **ConditionalGeneratorConfig.sub_configs_defaults,
        "language_model_config": SubConfigSpec(config_class=AutoConfig, model_type="gpt2", optional=True),
    }

    language_model_config: dict | PreTrainedConfig | None = None
    target_shape: list[int] | tuple[int, ...] = (8, 8)
    num_codes: int = 256
    is_encoder_decoder: bool = True

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.source_shape is not None:
            raise ValueError("`source_shape` must be None: AutoregressiveGenerator reads text or classes.")

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec(tuple(self.target_shape), self.num_codes)

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """The decoder's configuration, from which transformers' `generate` makes its caches."""
        return self.language_model_config if decoder and self.language_model_config is not None else self

    @property
    def vocab_size(self) -> int:
        """What transformers' `generate` chooses from."""
        return self.num_codes


class AutoregressiveGenerator(PreTrainedGenerator, GenerationMixin):
    """Makes codes by next-code prediction, as DALL·E (Ramesh et al., 2021) and LlamaGen (Sun et al., 2024) do.

    Example:
        >>> from transformers import GPT2Config
        >>> decoder = GPT2Config(vocab_size=17, n_positions=4, n_embd=8, n_layer=1, n_head=2, add_cross_attention=True)
        >>> prior = AutoregressiveGenerator.from_components(decoder, target_shape=(2, 2), num_codes=16, num_classes=3)
        >>> prior.generate(class_labels=torch.tensor([[2]]), do_sample=False).values.shape
        torch.Size([1, 2, 2])
    """

    config_class = AutoregressiveGeneratorConfig
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_flash_attn = True

    def __init__(
        self,
        config: AutoregressiveGeneratorConfig,
        language_model: PreTrainedModel | None = None,
        source_encoder: PreTrainedModel | None = None,
    ):
        super().__init__(config)
        self.language_model = language_model or AutoModelForCausalLM.from_config(config.language_model_config)
        self._check_language_model()
        self.source_encoder = SourceEncoder(config, self.language_model.config.hidden_size, source_encoder)
        self.post_init()
        start = config.num_codes
        self.generation_config.update(decoder_start_token_id=start, bos_token_id=start, pad_token_id=start)
        self.generation_config.eos_token_id = None

    @classmethod
    def from_components(
        cls,
        language_model: str | PreTrainedModel | PreTrainedConfig,
        target_shape: tuple[int, ...],
        num_codes: int,
        source_encoder: str | PreTrainedModel | PreTrainedConfig | None = None,
        **settings,
    ) -> "AutoregressiveGenerator":
        """
        Args:
            language_model: a transformers decoder by name, live, or new from a config.
            target_shape, num_codes: what the codes are.
            source_encoder: a transformers encoder by name, live, or new from a config; `None` where X is no text.
            settings: the other fields of [`AutoregressiveGeneratorConfig`].
        """
        check_settings(AutoregressiveGeneratorConfig, settings)
        if isinstance(language_model, str):
            language_model = AutoModelForCausalLM.from_pretrained(language_model, use_safetensors=True)
        elif isinstance(language_model, PreTrainedConfig):
            language_model = AutoModelForCausalLM.from_config(language_model)
        encoder = None if source_encoder is None else load_source_encoder(source_encoder)
        config = AutoregressiveGeneratorConfig(
            language_model_config=language_model.config.to_dict(),
            source_encoder_config=None if encoder is None else encoder.config.to_dict(),
            target_shape=list(target_shape),
            num_codes=num_codes,
            **settings,
        )
        return cls(config, language_model=language_model, source_encoder=encoder)

    def _check_language_model(self) -> None:
        config, name = self.language_model.config, type(self.language_model).__name__
        length = math.prod(self.config.target_shape)
        if "encoder_hidden_states" not in inspect.signature(self.language_model.forward).parameters:
            raise ValueError(f"{name} cannot attend to a source: its forward takes no `encoder_hidden_states`.")
        if getattr(config, "add_cross_attention", True) is False:
            raise ValueError(f"{name} has `add_cross_attention` False, so it would not see the source; set it to True.")
        if config.vocab_size < self.config.num_codes + 1:
            raise ValueError(
                f"{name} has vocab_size {config.vocab_size}, but num_codes {self.config.num_codes} and the start of a "
                f"sequence need {self.config.num_codes + 1}."
            )
        if (positions := getattr(config, "max_position_embeddings", None)) is not None and positions < length:
            raise ValueError(
                f"{name} has {positions} positions, but target_shape {tuple(self.config.target_shape)} needs {length}."
            )

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        return self.source_encoder

    def forward(
        self,
        target: torch.Tensor | None = None,
        target_mask: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        class_labels: torch.Tensor | None = None,
        *,
        encoder_outputs: BaseModelOutput | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        past_key_values: EncoderDecoderCache | None = None,
        use_cache: bool | None = None,
        guidance: float | None = None,
        return_dict: bool = True,
    ) -> LossOutput | Seq2SeqLMOutput:
        """With `target` `(batch, *config.target_shape)`, the mean cross-entropy of its codes; the remaining arguments
        are those of one step of transformers' `generate`."""
        if target is None:
            return self._step(
                encoder_outputs, attention_mask, decoder_input_ids, past_key_values, use_cache, guidance or 1.0
            )
        codes = target.flatten(1)
        condition = self.source_encoder(input_ids, attention_mask, class_labels, batch_size=len(codes))
        hidden = torch.rand(len(codes), device=codes.device) < self.config.condition_dropout
        condition = self.source_encoder.hide(condition, hidden)
        start = codes.new_full((len(codes), 1), self.config.num_codes)
        logits = self._logits(torch.cat([start, codes[:, :-1]], dim=1), condition.hidden, condition.mask).logits
        ignored = codes if target_mask is None else codes.masked_fill(~target_mask.flatten(1).bool(), -100)
        loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), ignored.flatten(), ignore_index=-100)
        return LossOutput(loss=loss, terms={"cross_entropy": loss.detach()})

    def _logits(self, ids: torch.Tensor, hidden: torch.Tensor, mask: torch.Tensor, **cache):
        output = self.language_model(input_ids=ids, encoder_hidden_states=hidden, encoder_attention_mask=mask, **cache)
        output.logits = output.logits[..., : self.config.num_codes]  # never the start of a sequence
        return output

    def _step(self, encoder_outputs, mask, ids, past_key_values, use_cache, guidance: float) -> Seq2SeqLMOutput:
        hidden = encoder_outputs.last_hidden_state
        mask = torch.ones(hidden.shape[:2], dtype=torch.long, device=hidden.device) if mask is None else mask
        if guidance != 1:  # row 2i is guided by row 2i + 1, which sees the null source
            null = self.source_encoder.null.to(hidden.dtype).expand_as(hidden)
            hidden = torch.stack([hidden, null], dim=1).flatten(0, 1)
            mask = torch.stack([mask, torch.ones_like(mask)], dim=1).flatten(0, 1)
            ids = ids.repeat_interleave(2, dim=0)
        output = self._logits(ids, hidden, mask, past_key_values=past_key_values, use_cache=use_cache)
        logits = output.logits
        if guidance != 1:
            towards, away = logits.float().unflatten(0, (-1, 2)).unbind(1)
            logits = away + guidance * (towards - away)
        return Seq2SeqLMOutput(logits=logits, past_key_values=output.past_key_values)

    @torch.no_grad()
    def generate(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        class_labels: torch.Tensor | None = None,
        *,
        guidance: float | None = None,
        generator: torch.Generator | None = None,
        batch_size: int = 1,
        **generation,
    ) -> Representation:
        """
        Args:
            input_ids, attention_mask: source text, `(batch, length)`.
            class_labels: source classes, `(batch, 1)`.
            guidance: how far the logits go from those of the null source towards those of the source; 1 is none.
            generator: makes sampling repeatable for the same batch.
            batch_size: how many targets, where there is no source at all.
            generation: what transformers' `generate` takes: `do_sample` (true here by default), `temperature`,
                `top_k`, `top_p`, `num_beams`, ...
        """
        defaults = {"guidance": 1.0, "do_sample": True, "top_k": 0, **(self.config.generation or {})}
        default_guidance = defaults.pop("guidance")
        guidance = default_guidance if guidance is None else guidance
        self.config.check_guidance(guidance)
        generation = {**defaults, **generation}
        if not generation["do_sample"]:  # transformers warns of options that only sampling reads
            for name in defaults.keys() & {"top_k", "top_p", "temperature"}:
                generation.pop(name, None)
        rows = next((len(given) for given in (input_ids, class_labels) if given is not None), batch_size)
        condition = self.source_encoder(input_ids, attention_mask, class_labels, batch_size=rows)
        if guidance != 1 and generation.get("use_cache", True):
            generation["past_key_values"] = _PairedCache(DynamicCache(), DynamicCache())
        length = math.prod(self.config.target_shape)
        with _seeded(generator, self.device):
            ids = GenerationMixin.generate(
                self,
                encoder_outputs=BaseModelOutput(last_hidden_state=condition.hidden),
                attention_mask=condition.mask,
                guidance=guidance,
                min_new_tokens=length,
                max_new_tokens=length,
                **generation,
            )
        return Representation(values=ids[:, 1:].reshape(-1, *self.config.target_shape))


class _PairedCache(EncoderDecoderCache):
    """A cache with two rows for each sequence that `generate` knows of."""

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        super().reorder_cache(torch.stack([2 * beam_idx, 2 * beam_idx + 1], dim=1).flatten())


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
