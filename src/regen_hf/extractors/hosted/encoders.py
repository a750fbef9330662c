"""Encoders of transformers that features are taken of: which class is one, and how it takes its input."""

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    MODEL_MAPPING,
)
from transformers.utils import cached_file

from ...parts.foreign_files import place_of
from ...parts.pretrained import HubReference, build, freeze, hosted

# What an encoder reads, by what its `forward` calls it.
KINDS = {"pixel_values": "image", "input_values": "audio", "input_ids": "text"}


def encoder_class(config: PreTrainedConfig) -> type[PreTrainedModel] | None:
    """The class whose features are Y′; `None` where what the config describes is no encoder of one thing."""
    named = (config.architectures or [""])[0]
    if named.endswith("WithProjection"):
        return getattr(transformers, named)
    if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING:
        return MODEL_FOR_TEXT_ENCODING_MAPPING[type(config)]
    several = config.is_encoder_decoder or config.get_text_config() is not config
    if several or type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return None
    found = MODEL_MAPPING.get(type(config), None)
    kind = KINDS.get(getattr(found, "main_input_name", None))
    if kind is None or hasattr(found, "decode"):
        return None
    return None if kind == "audio" and not hasattr(config, "conv_stride") else found  # others read spectrograms


def image_part(config: PreTrainedConfig, pooled: bool) -> PreTrainedConfig:
    """The part of CLIP, SigLIP and their like that reads images, with the projection where it is to be pooled."""
    if not hasattr(MODEL_MAPPING.get(type(config), None), "get_text_features"):
        return config
    part = copy.deepcopy(config.vision_config)
    projected = f"{MODEL_MAPPING[type(part)].__name__}WithProjection"
    if pooled and hasattr(transformers, projected):
        part.architectures, part.projection_dim = [projected], config.projection_dim
    return part


def load_encoder(encoder: str | HubReference | PreTrainedModel | PreTrainedConfig, pooled: bool) -> PreTrainedModel:
    """An encoder by name or reference, live, or new from a config; it is frozen, and its config names its class.

    Raises:
        ValueError: if the model is no encoder.
    """

    def load(name: str, **kwargs) -> PreTrainedModel:
        described = AutoConfig.from_pretrained(name, trust_remote_code=False, **place_of(kwargs))
        part = image_part(described, pooled)
        return _found(part).from_pretrained(name, config=part, **kwargs)

    model = freeze(hosted(encoder, load, lambda config: new_encoder(image_part(config, pooled))))
    model.config.architectures = [name_of(model)]
    if (found := _found(model.config)) is not type(model):
        raise ValueError(f"`encoder` must be a {found.__name__}, got {name_of(model)}.")
    return model


def new_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """A new encoder of its config."""
    return build(config, _found(config)._from_config)


def _found(config: PreTrainedConfig) -> type[PreTrainedModel]:
    found = encoder_class(config)
    if found is None:
        raise ValueError(f"`encoder` must be an encoder of images, waves or text: {type(config).__name__} has none.")
    return found


def preprocessing(encoder: Any) -> dict[str, Any]:
    """How the encoder takes its input, as the preprocessor_config.json at its name says."""
    if isinstance(encoder, PreTrainedModel | PreTrainedConfig):
        if getattr(encoder, "name_or_path", "") and isinstance(encoder, PreTrainedModel):
            warnings.warn(
                f"how {name_of(encoder)} takes images or waves is found at a name only: it is taken for "
                "image_mean and image_std of 0.5, or no do_normalize, unless they are given.",
                stacklevel=3,
            )
        return {}
    name, place = (encoder.name, encoder.place) if isinstance(encoder, HubReference) else (encoder, {})
    # a file that is not there is none; one that cannot be looked for is an error
    found = cached_file(name, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False, **place)
    said = json.loads(Path(found).read_text(encoding="utf-8")) if found else {}
    if "image_mean" in said:
        crop = said.get("crop_size") if said.get("do_center_crop", True) else None
        size = crop or said.get("size")
        size = size.get("height", size.get("shortest_edge")) if isinstance(size, dict) else size
        raw = said.get("do_normalize") is False
        return {
            "image_mean": [0.0] * 3 if raw else said["image_mean"],
            "image_std": [1.0] * 3 if raw else said["image_std"],
            "image_size": size,
        }
    return {key: said[key] for key in ("sampling_rate", "do_normalize") if key in said}


def name_of(model: PreTrainedModel) -> str:
    return type(model).__name__
