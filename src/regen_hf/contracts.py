"""The two contracts: an extractor makes Y′ from Y, a generator makes something from a source."""

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


class PreTrainedExtractor(_LocalClass, PreTrainedModel):
    """Makes the abstraction Y′ of a target Y. A handcrafted rule is an extractor without weights.

    A subclass defines `encode`; `decode` where there is a way back; and `forward`, a self-supervised loss on targets
    alone, where the extractor can be learned.
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
        raise NotImplementedError(f"{type(self).__name__} has nothing to learn.")

    @property
    def is_trainable(self) -> bool:
        """Whether there is anything to learn: a rule has no parameters."""
        return next(self.parameters(), None) is not None


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


class PreTrainedGenerator(_LocalClass, PreTrainedModel):
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
        """Measures once, on training data, what the generator needs to know about it. Most need nothing."""

    def forward(self, target: torch.Tensor, target_mask: torch.Tensor | None = None, **source) -> LossOutput:
        """The training loss of making `target` from the source."""
        raise NotImplementedError

    def generate(self, **source) -> Representation:
        """Targets for a batch of sources."""
        raise NotImplementedError
