"""X and Y to tensors, tensors back to Y."""

import json
import os
from collections.abc import Sequence
from typing import Any

from transformers import BatchFeature, ProcessorMixin
from transformers.utils import PROCESSOR_NAME

from .modalities import Modality
from .parts.contracts import _LocalClass
from .parts.foreign_files import check_described, check_files, place_of
from .parts.pushing import Pushed, asked_of_hub
from .parts.saving import read_whole, saved_into

SUBFOLDERS = {"source": "", "target": "target"}  # where each side keeps what it saves, such as a tokenizer


class RegenerationProcessor(Pushed, _LocalClass, ProcessorMixin):
    """Holds the kind of data that X is and the kind that Y is.

    Args:
        source: for example `TextModality(tokenizer, max_length=16)`.
        target: for example `ImageModality(size=32)`.
    """

    def __init__(self, source: Modality, target: Modality):
        for name, value in (("source", source), ("target", target)):
            if not isinstance(value, Modality):
                raise TypeError(f"`{name}` must be a Modality of regen_hf, got {type(value).__name__}.")
        super().__init__()
        self.source = source
        self.target = target

    @classmethod
    def get_attributes(cls) -> list[str]:
        return []  # the modalities save and load what they hold

    def __call__(self, source: Sequence[Any] | None = None, target: Sequence[Any] | None = None) -> BatchFeature:
        """Examples of X, of Y or of both as one batch of tensors, under the names that the models take."""
        batch = {} if source is None else self.source.as_source(source)
        if target is not None:
            batch |= self.target.as_target(target)
        return BatchFeature(batch)

    def to_dict(self) -> dict[str, Any]:
        parts = {"source": self.source, "target": self.target}
        described = {name: {"modality": type(part).__name__, **part.to_dict()} for name, part in parts.items()}
        return {"processor_class": type(self).__name__, **described}

    def to_json_string(self) -> str:
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> list[str]:
        """Writes `processor_config.json` and what the modalities hold, such as the tokenizer.

        Raises:
            TypeError: for an argument that has no effect.
            OSError: where the folder cannot be written to; it is then as it was.
        """
        hub = asked_of_hub(save_directory, push_to_hub, kwargs)
        with saved_into(save_directory) as new:
            for part, subfolder in SUBFOLDERS.items():
                getattr(self, part).save(os.path.join(new, subfolder))
            self.to_json_file(os.path.join(new, PROCESSOR_NAME))
        if push_to_hub:
            self.push_to_hub(**hub)
        return [os.path.join(save_directory, PROCESSOR_NAME)]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs) -> "RegenerationProcessor":
        """Loads a processor from a folder or from the Hub.

        Raises:
            ValueError: where a file of it leads out of its folder, or names what is no modality.
        """
        name = os.fspath(pretrained_model_name_or_path)
        return read_whole(name, lambda: cls._load(name, **kwargs))

    @classmethod
    def _load(cls, name: str, **kwargs) -> "RegenerationProcessor":
        place = place_of(kwargs)
        if os.path.isdir(name):
            check_files(name, **place)
        try:
            settings, _ = cls.get_processor_dict(name, **kwargs)
        except RecursionError as error:
            raise ValueError(f"{PROCESSOR_NAME} of {name} is nested too deeply.") from error
        check_described(settings, f"{PROCESSOR_NAME} of {name}")
        places = {key: value for key, value in place.items() if key != "subfolder"}
        return cls(
            **{
                part: Modality.load_described(name, settings.get(part) or {}, subfolder, **places)
                for part, subfolder in SUBFOLDERS.items()
            }
        )
