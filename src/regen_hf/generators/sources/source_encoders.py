"""The encoders of transformers that read a source, by name, live, or new."""

import os

import torch
from transformers import AutoModel, AutoModelForTextEncoding, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

from ...parts.foreign_files import place_of
from ...parts.pretrained import HubReference, build, freeze, hosted

READERS = {
    "input_ids": "encoder",
    "pixel_values": "image_encoder",
    "input_values": "audio_encoder",
    "input_features": "audio_encoder",
}
"""Which part of [`SourceEncoder`] reads an input, by the name that transformers gives the input."""

MASKS = {"attention_mask", "padding_mask", "source_mask"}
SOURCE_NAMES = frozenset(READERS) | MASKS | {"class_labels", "source", "batch_size"}
"""The arguments of a generator that are its source: those of [`SourceEncoder.read`]."""


def load_source_encoders(parts, representation_encoder=None) -> dict[str, PreTrainedModel]:
    """Encoders for [`SourceEncoder`], each under the name that its config has in a generator's, without `_config`.

    Args:
        parts: an encoder of text, images or waveforms, or a list of such; by Hub name, folder or [`HubReference`],
            which are frozen, live as they are, or new from a config.
        representation_encoder: the same for the representation.
    """
    found = {}
    for part in parts if isinstance(parts, list | tuple) else [] if parts is None else [parts]:
        encoder = load_source_encoder(part)
        if (reader := READERS.get(encoder.main_input_name)) is None:
            raise ValueError(
                f"`source_encoder` must read {', '.join(READERS)}, but {type(encoder).__name__} reads "
                f"{encoder.main_input_name}."
            )
        if f"source_{reader}" in found:
            raise ValueError(f"`source_encoder` has two encoders that read {encoder.main_input_name}.")
        found[f"source_{reader}"] = encoder
    if representation_encoder is not None:
        found["source_representation_encoder"] = load_source_encoder(representation_encoder)
    return found


def encoder_configs(encoders: dict[str, PreTrainedModel]) -> dict[str, dict]:
    """The fields of a generator's config that describe what [`load_source_encoders`] gives."""
    return {f"{name}_config": encoder.config.to_dict() for name, encoder in encoders.items()}


def load_source_encoder(part) -> PreTrainedModel:
    """An encoder by Hub name, folder or [`HubReference`], which is frozen, a live one as it is, or a new one.

    Of a model of text and something else, such as CLIP, it is the part that reads text; of an encoder-decoder, such
    as BART, it is the encoder.
    """
    try:
        encoder = hosted(part, _load_encoder, build_source_encoder)
    except TypeError as error:
        raise TypeError(f"`source_encoder`: {error}") from error
    with torch.device("meta"):
        rebuilt = type(build_source_encoder(encoder.config))
    if rebuilt is not type(encoder):
        name = type(encoder).__name__
        raise ValueError(f"`source_encoder` must be an encoder alone, a {rebuilt.__name__} here, got a {name}.")
    return freeze(encoder) if isinstance(part, str | os.PathLike | HubReference) else encoder


def _load_encoder(name: str, **kwargs) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(name, trust_remote_code=False, **place_of(kwargs))
    config = config.get_text_config() if hasattr(config, "text_config") else config
    if _reads_text_only(config):
        return AutoModelForTextEncoding.from_pretrained(name, config=config, **kwargs)
    model = AutoModel.from_pretrained(name, config=config, **kwargs)
    if not config.is_encoder_decoder:
        return model
    if kwargs.get("revision"):
        raise ValueError(f"`{name}` is an encoder-decoder, whose encoder alone cannot be referred to: give its name.")
    return model.get_encoder()


def build_source_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """A new encoder."""
    if _reads_text_only(config):
        return build(config, AutoModelForTextEncoding.from_config)
    model = build(config)
    return model.get_encoder() if config.is_encoder_decoder else model


def _reads_text_only(config: PreTrainedConfig) -> bool:
    return type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING
