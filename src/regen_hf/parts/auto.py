"""Which class makes a part of a model of another library: the one that says it hosts such a model."""

import os
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import AutoModel, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from .contracts import ExtractorConfig, GeneratorConfig, PreTrainedExtractor, PreTrainedGenerator
from .foreign_files import check_described, check_files
from .outputs import RepresentationSpec
from .pretrained import HubReference, load_pretrained


def load_extractor(part: Any, **settings) -> PreTrainedExtractor:
    """An extractor as it is, or made of a saved one or of a model of another library.

    What the model is, is read from the config that is found at its name.

    Args:
        part: an extractor, or a model of transformers or diffusers; live, new from a config,
            or by Hub name, folder or [`HubReference`].
        settings: what the `from_components` of the class that is found takes.

    Raises:
        ValueError: if no class makes an extractor of such a model.

    Example:
        >>> from diffusers import AutoencoderTiny
        >>> tiny = AutoencoderTiny(encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        ...                        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1))
        >>> load_extractor(tiny, target_shape=(3, 16, 16)).config.representation_spec.shape
        (4, 8, 8)
    """
    if (own := _own(part, "extractor", PreTrainedExtractor)) is not None:
        return _unchanged(own, settings)
    described = read_config(part)
    for extractor_class in _subclasses(PreTrainedExtractor):
        if extractor_class.hosts(described):
            return extractor_class.from_components(part, **settings)
    raise ValueError(f"`extractor` must be a codec, an autoencoder or an encoder: {_shown(part, described)} is none.")


def load_generator(
    part: Any, target: RepresentationSpec, source: RepresentationSpec | None = None, *, slot: str = "prior", **settings
) -> PreTrainedGenerator:
    """A generator as it is, or made of a saved one or of a model of another library.

    Args:
        part: a generator, or a model of transformers or diffusers; live, new from a config,
            or by Hub name, folder or [`HubReference`].
        target, source: what it is to make, and from what representation, if from one.
        slot: what messages call it: `"prior"` or `"decoder"`.
        settings: what the `from_components` of the class that is found takes.

    Raises:
        ValueError: if no class makes such a generator of such a model.
    """
    if (own := _own(part, slot, PreTrainedGenerator)) is not None:
        return _unchanged(own, settings)
    described = read_config(part)
    for generator_class in _subclasses(PreTrainedGenerator):
        if generator_class.hosts(described, target):
            return generator_class.for_spec(part, target, source, **settings)
    raise ValueError(f"`{slot}` must make {target}: no generator does of {_shown(part, described)}.")


def read_config(part: Any) -> dict[str, Any]:
    """The config.json at a Hub name, folder or reference, or of a live model, or a config, as a dictionary."""
    if isinstance(part, nn.Module | PreTrainedConfig):
        config = part.config if isinstance(part, nn.Module) else part
        described = (
            config.to_dict() if isinstance(config, PreTrainedConfig) else {**config, "_class_name": _class(part)}
        )
        return {**described, "_class_name": described["class_name"]} if "class_name" in described else described
    place = part.place if isinstance(part, HubReference) else {}
    name = part.name if place else os.fspath(part)
    if os.path.isdir(name):
        check_files(name, **place)
    described, _ = PreTrainedConfig.get_config_dict(name, **place)
    if not described:
        raise OSError(f"`{part}` has no config.json, so it is no model.")
    check_described(described, f"the config.json of `{name}`")
    return described


def _own(part: Any, name: str, contract: type) -> Any:
    """`part` if it is of `contract`, or was saved as one; `None` if it is of another library."""
    if isinstance(part, str | os.PathLike | HubReference):
        kind = read_config(part).get("model_type")
        if kind in CONFIG_MAPPING and issubclass(CONFIG_MAPPING[kind], ExtractorConfig | GeneratorConfig):
            return _own(load_pretrained(part, AutoModel.from_pretrained), name, contract)
        return None
    if isinstance(part, contract):
        return part
    foreign = hasattr(part, "config") or isinstance(part, PreTrainedConfig)
    if isinstance(part, PreTrainedExtractor | PreTrainedGenerator) or not foreign:
        raise TypeError(f"`{name}` must be a {contract.__name__}, got {type(part).__name__}.")
    return None


def _unchanged(own: Any, settings: dict[str, Any]) -> Any:
    if settings:
        raise TypeError(f"{type(own).__name__} is made already: {', '.join(sorted(settings))} would have no effect.")
    return own


def _subclasses(base: type) -> Iterator[type]:
    for subclass in base.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _class(module: nn.Module) -> str:
    return type(module).__name__


def _shown(part: Any, described: dict[str, Any]) -> str:
    if isinstance(part, nn.Module):
        return f"a {_class(part)}"
    name = described.get("_class_name") or (described.get("architectures") or [described.get("model_type")])[0]
    return f"`{part}` with a {name}"
