"""The decoder of a transformers language model, given a vocabulary of codes."""

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING

from ...parts.foreign_files import place_of
from ...parts.pretrained import build, freeze, hosted, refuse_reference
from ..sources.source_encoders import build_source_encoder


@dataclass
class LanguageModel:
    """What a language model brings along.

    Args:
        model: as it was loaded.
        decoder: gives hidden states; without a head.
        encoder: what reads the text, where the model has such a part.
        start, end: its tokens for the two ends of a sequence, where it knows them.
    """

    model: PreTrainedModel
    decoder: PreTrainedModel
    encoder: PreTrainedModel | None
    start: int | None
    end: int | None


def load_language_model(part: Any, has_source: bool) -> LanguageModel:
    """A language model by Hub name, folder, live, or new from a config.

    Args:
        has_source: give the decoder cross-attention, where its class can have it and it is loaded or new.
    """

    refuse_reference(part, "language_model")

    def load(name: str, **kwargs) -> PreTrainedModel:
        described = AutoConfig.from_pretrained(name, trust_remote_code=False, **place_of(kwargs))
        config = _with_cross_attention(described, has_source)
        return _class_for(config).from_pretrained(name, config=config, **kwargs)

    def new(config: PreTrainedConfig) -> PreTrainedModel:
        config = type(config).from_dict(config.to_dict())
        return build(_with_cross_attention(config, has_source), _class_for(config).from_config)

    try:
        model = hosted(part, load, new)
    except TypeError as error:
        raise TypeError(f"`language_model`: {error}") from error
    tokens = [_token(model, name) for name in ("decoder_start_token_id", "bos_token_id", "eos_token_id")]
    start, end = next((token for token in tokens if token is not None), None), tokens[2]
    decoder, encoder = decoder_of(model), _encoder_of(model) if model.config.is_encoder_decoder else None
    if getattr(model.config, "frozen", False):  # halves may have configs of their own
        for half in filter(None, (decoder, encoder)):
            freeze(half)
    return LanguageModel(model, decoder, encoder, start, end)


def _token(model: PreTrainedModel, name: str) -> int | None:
    places = (getattr(model, "generation_config", None), model.config)
    return next((token for place in places if isinstance(token := getattr(place, name, None), int)), None)


def build_decoder(config: PreTrainedConfig) -> PreTrainedModel:
    """A new decoder, without a head."""
    return decoder_of(build(config))


def decoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """The part of a language model that makes hidden states out of what it wrote so far."""
    decoder, inner = model, model.get_decoder()
    while isinstance(inner, PreTrainedModel) and inner is not decoder:
        decoder, inner = inner, inner.get_decoder()
    if decoder is model:  # some give themselves, and ModernBERT's decoder its head
        decoder = model.base_model
    halved = isinstance(inner, PreTrainedModel) or not model.config.is_encoder_decoder  # FSMT's half is no model
    if not halved or "inputs_embeds" not in inspect.signature(decoder.forward).parameters:
        raise ValueError(f"`language_model` {type(model).__name__} has no decoder that reads `inputs_embeds`.")
    return decoder


def sees_source(decoder: PreTrainedModel) -> bool:
    """Whether a decoder attends to a source; if not, the source comes before what it writes."""
    takes = "encoder_hidden_states" in inspect.signature(decoder.forward).parameters
    return takes and getattr(decoder.config, "add_cross_attention", True)


def _with_cross_attention(config: PreTrainedConfig, has_source: bool) -> PreTrainedConfig:
    if has_source and hasattr(config, "add_cross_attention"):
        config.add_cross_attention = config.is_decoder = True
    return config


def _class_for(config: PreTrainedConfig) -> type:
    if type(config) in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING and config.is_encoder_decoder:
        return AutoModelForSeq2SeqLM
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForCausalLM
    raise ValueError(f"`language_model` must be a language model of transformers, got a {type(config).__name__}.")


def _encoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """The encoder of an encoder-decoder, as the class that its config is built into."""
    encoder = model.get_encoder()
    whole = {**encoder.config.to_dict(), "is_encoder_decoder": encoder is not model.get_decoder()}
    built = build_source_encoder(type(encoder.config).from_dict(whole))
    if type(encoder) is type(built):
        return encoder
    weights = model.state_dict()
    built.load_state_dict({name: weights[name] for name in built.state_dict()})
    return built.to(model.device, model.dtype)


@torch.no_grad()
def linear_head(model: PreTrainedModel) -> torch.Tensor | None:
    """`(vocabulary, width)`, what turns hidden states into logits, in the scale in which the model uses it.

    `None` where a head is no linear map, as one with capped logits.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear):
        return None
    model.eval()
    ids = torch.arange(3, device=model.device)[None]
    given = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    output = model(input_ids=ids, **given, output_hidden_states=True)
    states = output.get("decoder_hidden_states") or output.hidden_states
    raw = nn.functional.linear(states[-1], head.weight)
    scale = (output.logits * raw).sum() / raw.square().sum()
    if not torch.allclose(output.logits, scale * raw, rtol=1e-3, atol=1e-4):
        return None
    return head.weight.detach().clone() * scale


@torch.no_grad()
def resize_vocabulary(decoder: PreTrainedModel, size: int, kept: int) -> None:
    """Gives a decoder `size` tokens, of which the first `kept` mean what they did."""
    decoder.set_input_embeddings(copy.deepcopy(decoder.get_input_embeddings()))  # an encoder may share them
    std = decoder.get_input_embeddings().weight.float().std().item()
    decoder.resize_token_embeddings(size, mean_resizing=False)
    if hasattr(decoder.config, "decoder_vocab_size"):  # Marian builds its decoder of this one
        decoder.config.decoder_vocab_size = size
    init.normal_(decoder.get_input_embeddings().weight[kept:], std=std)
    if not kept:  # what was padding among its own tokens is a code now
        decoder.config.pad_token_id = decoder.get_input_embeddings().padding_idx = None
