"""The two contracts: an extractor makes Y′ from Y, a generator makes something from a source."""

import dataclasses
import difflib
import inspect
import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from .outputs import LossOutput, Representation, RepresentationSpec
from .part import Part, PartConfig, _LocalClass
from .pushing import Pushed
from .settings import check_arguments


def check_settings(config_class: type[PreTrainedConfig], settings: dict) -> None:
    """Raises `TypeError` for a setting that is no field of the config, which transformers would keep without using."""
    known = {field.name for field in dataclasses.fields(config_class)}
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else "."
            raise TypeError(f"`{name}` is no setting of {config_class.__name__}{hint}")


def check_numbers(config: PreTrainedConfig) -> None:
    """Raises `ValueError` for a field that is NaN or infinite, which comparisons let pass; JSON may hold both."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name, None)
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"`{field.name}` must be finite, got {value!r}.")


class ExtractorConfig(PartConfig):
    """Says what Y′ is, before any weight is loaded."""

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        check_numbers(self)

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

    @property
    def normalization(self) -> tuple[list[float], list[float]] | None:
        """Mean and standard deviation of each channel of Y′, where they are known before any data is seen."""
        return None


class PreTrainedExtractor(Pushed, _LocalClass, Part, PreTrainedModel):
    """Makes the abstraction Y′ of a target Y.

    A subclass defines `encode`; `decode` where there is a way back; and `forward`, a self-supervised loss on targets
    alone. A rule is a [`RuleExtractor`].
    """

    config: ExtractorConfig
    main_input_name = "target"
    input_modalities = ("image", "text", "audio", "video")
    base_model_prefix = ""
    _supports_sdpa = True

    @classmethod
    def hosts(cls, described: dict) -> bool:
        """Whether `from_components` makes an extractor of a model of another library with this config.json."""
        return False

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
        return any(parameter.requires_grad for parameter in self.parameters())


class Rule:
    """An extractor or a generator without weights: it is built from its config alone."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, config: PreTrainedConfig | None = None, **kwargs):
        """From the config alone, since there are no weights; the rule works in whatever dtype it is given."""
        return cls(config or cls.config_class.from_pretrained(pretrained_model_name_or_path, **kwargs))

    @classmethod
    def from_components(cls, **settings):
        """The rule with these fields of its config; raises `TypeError` for one that it does not have."""
        check_settings(cls.config_class, settings)
        return cls(cls.config_class(**settings))

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    @property
    def device(self) -> torch.device:
        """The CPU; the rule works wherever its input is."""
        return torch.device("cpu")


class RuleExtractor(Rule, PreTrainedExtractor):
    """An extractor without weights: a handcrafted rule, named in the config and saved with the model."""

    def forward(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> LossOutput:
        raise NotImplementedError(f"{type(self).__name__} is a rule and has nothing to learn.")

    @property
    def is_trainable(self) -> bool:
        return False


class GeneratorConfig(PartConfig):
    """Says what a generator makes, before any weight is loaded.

    Args:
        generation: default keyword arguments of `generate`, for example `{"guidance": 2.0}`. Only what
            `generation_arguments` names, with values that it allows: a config may be somebody else's.
    """

    generation: dict | None = None
    generation_arguments = {}  # without a type, since it is no field
    """What `generate` takes besides the source, each an [`Argument`] by its name."""

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        check_numbers(self)
        if isinstance(self.generation, dict):  # numbers of NumPy would not be saved
            self.generation = {k: v.item() if isinstance(v, np.generic) else v for k, v in self.generation.items()}
        check_arguments(self.generation, self.generation_arguments)

    def generation_settings(self, **given) -> dict:
        """The arguments of `generate`: those `given` that are not `None`, else those of `generation`, else defaults."""
        given = {name: value for name, value in given.items() if value is not None}
        check_arguments(self.generation, self.generation_arguments)  # which may have been changed since
        defaults = {name: argument.default for name, argument in self.generation_arguments.items()}
        return {**defaults, **(self.generation or {}), **given}

    @property
    def target_spec(self) -> RepresentationSpec:
        """What `generate` gives."""
        raise NotImplementedError

    @property
    def source_spec(self) -> RepresentationSpec | None:
        """The representation that `generate` takes as its `source`, or `None` where the source is something else."""
        return None


class PreTrainedGenerator(Pushed, _LocalClass, Part, PreTrainedModel):
    """Makes a target from a source: the prior X→Y′, the decoder Y′→Y, or a whole regenerator X→Y.

    The source comes as keyword arguments with the names that transformers gives them: `input_ids` and
    `attention_mask` for text, `class_labels` for classes, `source` and `source_mask` for a representation.
    """

    config: GeneratorConfig
    source_names: frozenset[str] = frozenset({"source", "source_mask"})
    main_input_name = "target"
    input_modalities = ("image", "text", "audio", "video")
    output_modalities = ("image", "text", "audio", "video")
    base_model_prefix = ""
    _supports_sdpa = True

    @classmethod
    def hosts(cls, described: dict, target: RepresentationSpec) -> bool:
        """Whether `for_spec` makes a generator of such targets of a model of another library with this config.json."""
        return False

    @property
    def without_gradient(self) -> list[nn.Module]:
        """What `forward` uses without training it."""
        return []

    @classmethod
    def for_spec(cls, part, target: RepresentationSpec, source: RepresentationSpec | None, **settings):
        """A generator of targets as `target` describes them, from a representation where there is `source`."""
        raise NotImplementedError

    @property
    def input_limits(self) -> dict[str, tuple[int | None, int | None]]:
        """For each input of whole numbers how many different ones the generator knows, and how many in a row; `None`
        for as many as there are. By default nothing is known."""
        return {}

    @property
    def longest_target(self) -> int | None:
        """How many places a target may have where their number varies; `None` for as many as there are."""
        return None

    def check_source(self, **source: torch.Tensor) -> None:
        """Raises an error of its own where a source cannot be read; by default nothing is known before training."""

    def fit_statistics(
        self,
        targets: Iterable[torch.Tensor | Representation],
        sources: Iterable[torch.Tensor | Representation] | None = None,
    ) -> None:
        """Measures once, on training data, what the generator needs to know about it; by default nothing.

        Args:
            targets: batches of targets; they may be iterated more than once.
            sources: batches of the source representations that belong to them, where the source is one.
        """

    def assign_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Takes what is known of the targets before any data is seen; by default nothing is needed.

        Args:
            mean, std: of each channel, or one number for all.
        """

    def forward(self, target: torch.Tensor, target_mask: torch.Tensor | None = None, **source) -> LossOutput:
        """The training loss of making `target` from the source."""
        raise NotImplementedError

    def generate(self, **source) -> Representation:
        """Targets for a batch of sources; a subclass's is one of those that [`generates`] holds for."""
        raise NotImplementedError

    def generate_names(self) -> set[str]:
        """The names of all that `generate` takes."""
        parameters = inspect.signature(type(self).generate).parameters.values()
        named = {each.name for each in parameters if each.kind is not each.VAR_KEYWORD} - {"self"}
        return named | self.source_names | set(self.config.generation_arguments)
