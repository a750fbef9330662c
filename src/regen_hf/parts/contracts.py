"""The two contracts: an extractor makes Y′ from Y, a generator makes something from a source."""

import dataclasses
import difflib
import os
import re
from collections.abc import Iterable, Sequence

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

from .outputs import LossOutput, Representation, RepresentationSpec
from .pretrained import HubReference, load_pretrained, marked_modules


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


def check_whole(name: str, value, least: int = 1) -> None:
    """Raises `ValueError` where a setting is no whole number of at least `least`."""
    if not isinstance(value, int) or value < least:
        raise ValueError(f"`{name}` must be a whole number of at least {least}, got {value!r}.")


class _Part:
    """What extractors and generators do otherwise than transformers' models.

    Weights that are missing from a checkpoint, or of another shape, are an error and not a warning. Models within that
    are frozen stay frozen, and those that are referred to are loaded from where they are.
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
        model._load_references()
        return (model, info) if wants_info else model

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs) -> None:
        """As transformers' own; where all weights are referred to, the file of weights is there and empty."""
        push_to_hub = kwargs.pop("push_to_hub", False)
        repo_id = kwargs.pop("repo_id", os.path.basename(os.path.normpath(save_directory)))
        super().save_pretrained(save_directory, **kwargs)
        written = any(name.endswith(".safetensors") for name in os.listdir(save_directory))
        if not written and kwargs.get("is_main_process", True):
            save_file({}, os.path.join(save_directory, SAFE_WEIGHTS_NAME), metadata={"format": "pt"})
        if push_to_hub:
            self.push_to_hub(repo_id, token=kwargs.get("token"))

    def post_init(self) -> None:
        super().post_init()
        self._keep_frozen()
        for name, module in marked_modules(self, "reference"):
            self._keys_to_ignore_on_save |= {f"{name}.{key}" for key in module.state_dict()}
            self._keys_to_ignore_on_load_missing.add(rf"^{re.escape(name)}\.")

    def _load_references(self) -> None:
        for _, module in marked_modules(self, "reference"):
            reference = HubReference(**module.config.reference)
            same = {"config": module.config} if isinstance(module.config, type(module).config_class) else {}
            there = load_pretrained(reference.name, type(module).from_pretrained, **reference.place, **same)
            module.load_state_dict(there.state_dict())
        self._keep_frozen()

    def _keep_frozen(self) -> None:
        for _, module in marked_modules(self, "frozen"):
            module.requires_grad_(False)

    def train(self, mode: bool = True):
        """A frozen model stays as it is in use, without dropout."""
        super().train(mode)
        for _, module in marked_modules(self, "frozen"):
            module.eval()
        return self

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

    @property
    def normalization(self) -> tuple[list[float], list[float]] | None:
        """Mean and standard deviation of each channel of Y′, where they are known before any data is seen."""
        return None


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
        """Targets for a batch of sources."""
        raise NotImplementedError
