"""The two contracts: an extractor makes Y′ from Y, a generator makes something from a source."""

import dataclasses
import difflib
from collections.abc import Iterable

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from .outputs import LossOutput, Representation, RepresentationSpec


class _LocalClass:
    """Keeps library classes library classes.

    transformers marks a class that it reached through a repository's code file as custom code, and from then on
    every `save_pretrained` copies the class's source file into the folder. Ours come from the installed package.
    """

    @classmethod
    def register_for_auto_class(cls, auto_class: str | None = None) -> None:
        return None


def check_settings(config_class: type[PreTrainedConfig], settings: dict) -> None:
    """Raises `TypeError` for a setting that is no field of the config, which transformers would keep without using."""
    known = {field.name for field in dataclasses.fields(config_class)}
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else "."
            raise TypeError(f"`{name}` is no setting of {config_class.__name__}{hint}")


class _Part:
    """What extractors and generators do otherwise than transformers' models.

    Weights that are missing from a checkpoint, or of another shape, are an error and not a warning.
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """As transformers' own; raises `ValueError` where the checkpoint lacks weights."""
        kwargs.setdefault("use_safetensors", True)  # never a pickle
        wants_info = kwargs.pop("output_loading_info", False)
        model, info = super().from_pretrained(pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs)
        wrong = {k: sorted(map(str, info[k])) for k in ("missing_keys", "mismatched_keys") if info.get(k)}
        for problem, names in wrong.items():
            shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
            raise ValueError(f"{pretrained_model_name_or_path} has {problem.replace('_keys', '')} weights: {shown}.")
        return (model, info) if wants_info else model

    def get_input_embeddings(self) -> None:
        """None: a part does not read tokens through one table, which is what sharding by accelerate asks."""

    def get_output_embeddings(self) -> None:
        """None, as above."""


class ExtractorConfig(_LocalClass, PreTrainedConfig):
    """Says what Y′ is, before any weight is loaded."""

    @property
    def target_spec(self) -> RepresentationSpec:
        """What `encode` takes."""
        raise NotImplementedError

    @property
    def representation_spec(self) -> RepresentationSpec:
        """What `encode` gives."""
        raise NotImplementedError

    @property
    def can_decode(self) -> bool:
        """Whether `decode` leads from Y′ back to Y, so that no decoder is needed."""
        return False


class PreTrainedExtractor(_LocalClass, _Part, PreTrainedModel):
    """Makes the abstraction Y′ of a target Y.

    A subclass defines `encode`; `decode` where there is a way back; and `forward`, a self-supervised loss on targets
    alone. A rule is a [`RuleExtractor`].
    """

    config: ExtractorConfig
    main_input_name = "target"
    input_modalities = ("image", "text", "audio", "video")
    base_model_prefix = ""
    _supports_sdpa = True

    def encode(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> Representation:
        """Y `(batch, *config.target_spec.shape)` to Y′ `(batch, *config.representation_spec.shape)`."""
        raise NotImplementedError

    def decode(self, representation: Representation) -> Representation:
        """Y′ back to Y."""
        raise NotImplementedError(f"{type(self).__name__} has no way back from Y′ to Y: give the model a decoder.")

    def forward(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> LossOutput:
        """The loss of learning Y′ from Y alone."""
        raise NotImplementedError

    @property
    def is_trainable(self) -> bool:
        """Whether there is anything to learn."""
        return True


class RuleExtractor(PreTrainedExtractor):
    """An extractor without weights: a handcrafted rule, named in the config and saved with the model."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, config: ExtractorConfig | None = None, **kwargs):
        """From the config alone, since there are no weights; the rule works in whatever dtype it is given."""
        return cls(config or cls.config_class.from_pretrained(pretrained_model_name_or_path, **kwargs))

    @classmethod
    def from_components(cls, **settings) -> "RuleExtractor":
        """The rule with these fields of its config; raises `TypeError` for one that it does not have."""
        check_settings(cls.config_class, settings)
        return cls(cls.config_class(**settings))

    def forward(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> LossOutput:
        raise NotImplementedError(f"{type(self).__name__} is a rule and has nothing to learn.")

    @property
    def is_trainable(self) -> bool:
        return False

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")


class GeneratorConfig(_LocalClass, PreTrainedConfig):
    """Says what a generator makes, before any weight is loaded.

    Args:
        generation: default keyword arguments of `generate`, for example `{"guidance": 2.0}`.
    """

    generation: dict | None = None

    @property
    def target_spec(self) -> RepresentationSpec:
        """What `generate` gives."""
        raise NotImplementedError

    @property
    def source_spec(self) -> RepresentationSpec | None:
        """The representation that `generate` takes as its `source`, or `None` where the source is something else."""
        return None


class PreTrainedGenerator(_LocalClass, _Part, PreTrainedModel):
    """Makes a target from a source: the prior X→Y′, the decoder Y′→Y, or a whole regenerator X→Y.

    The source comes as keyword arguments with the names that transformers gives them: `input_ids` and
    `attention_mask` for text, `class_labels` for classes, `source` and `source_mask` for a representation.
    """

    config: GeneratorConfig
    main_input_name = "target"
    input_modalities = ("image", "text", "audio", "video")
    output_modalities = ("image", "text", "audio", "video")
    base_model_prefix = ""
    _supports_sdpa = True

    def fit_statistics(self, targets: Iterable[torch.Tensor], sources: Iterable[torch.Tensor] | None = None) -> None:
        """Measures once, on training data, what the generator needs to know about it; by default nothing.

        Args:
            targets: batches of targets; they may be iterated more than once.
            sources: batches of the source representations that belong to them, where the source is one.
        """

    def forward(self, target: torch.Tensor, target_mask: torch.Tensor | None = None, **source) -> LossOutput:
        """The training loss of making `target` from the source."""
        raise NotImplementedError

    def generate(self, **source) -> Representation:
        """Targets for a batch of sources."""
        raise NotImplementedError
