"""X and Y to tensors, tensors back to Y."""

import json
import os
from collections.abc import Sequence
from typing import Any

from transformers import BatchFeature, ProcessorMixin
from transformers.utils import PROCESSOR_NAME

from .modalities import Modality
from .parts.contracts import _LocalClass
from .parts.pushing import Pushed

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
        """Writes `processor_config.json` and what the modalities hold, such as the tokenizer."""
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", os.path.basename(os.fspath(save_directory))), **kwargs)
        os.makedirs(save_directory, exist_ok=True)
        for part, subfolder in SUBFOLDERS.items():
            getattr(self, part).save(os.path.join(save_directory, subfolder))
        path = os.path.join(save_directory, PROCESSOR_NAME)
        self.to_json_file(path)
        return [path]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs) -> "RegenerationProcessor":
        """Loads a processor from a folder or from the Hub."""
        name = os.fspath(pretrained_model_name_or_path)
        settings, _ = cls.get_processor_dict(name, **kwargs)
        places = {k: v for k, v in kwargs.items() if k in ("revision", "token", "cache_dir", "local_files_only")}
        return cls(
            **{
                part: Modality.load_described(name, settings.get(part) or {}, subfolder, **places)
                for part, subfolder in SUBFOLDERS.items()
            }
        )
