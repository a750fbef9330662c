"""The arguments of the command line, as documented dataclasses; each is a group of `--help`."""

import dataclasses
import json
from typing import Any

from ..training.arguments import StageArguments

PARTS = ("extractor", "prior", "decoder")
STAGES = (*PARTS, "joint")


@dataclasses.dataclass
class ModelArguments:
    """The model.

    Args:
        model: Hub name or folder of a regenerator.
        trust_remote_code: allow the model's repository to run code of its own.
    """

    model: str
    trust_remote_code: bool = False


@dataclasses.dataclass
class DataArguments:
    """The data.

    Args:
        dataset: Hub name of a dataset, or a folder: one of `save_to_disk`, or one of files that `load_dataset` reads.
        dataset_config: its configuration, where it has several.
        split: its split, or a part of it such as `train[:90%]`.
    """

    dataset: str
    dataset_config: str | None = None
    split: str = "train"


@dataclasses.dataclass
class PairArguments(DataArguments):
    """The data.

    Args:
        source_column: the column of X.
        target_column: the column of Y.
        validation_split: a split to measure the loss on at each evaluation, such as `validation` or `train[90%:]`.
        unpaired: Hub name or folder of a dataset of further Y, for the extractor and the decoder. Its split `train`
            is read, and its column of the name of the other's.
        representations: the Y′ of the dataset, if `regen-hf extract` made it before: its folder or Hub name.
        on_bad_example: `raise` an error for an example that cannot be read, or `skip` it.
        streaming: read the dataset and `unpaired` while they are used, not downloading all of it first.
        shuffle_buffer: how many examples of a stream are held to be shuffled; 0 leaves them in their order.
    """

    source_column: str = "source"
    target_column: str = "target"
    validation_split: str | None = None
    unpaired: str | None = None
    representations: str | None = None
    on_bad_example: str = "raise"
    streaming: bool = False
    shuffle_buffer: int = 1000

    def __post_init__(self):
        if self.shuffle_buffer < 0:
            raise ValueError(f"`shuffle_buffer` must be at least 0, got {self.shuffle_buffer}.")
        _refuse_unused(self, "streaming", "shuffle_buffer")
        if self.streaming and self.representations:
            raise ValueError("`representations` cannot be had with `streaming`: they belong to rows of the dataset.")


@dataclasses.dataclass
class RunArguments:
    """The run.

    Args:
        output_folder: where the trained model, its Y′, samples, logs and checkpoints go.
        stages: which of `extractor`, `prior`, `decoder` and `joint` to train, in this order.
        extractor: arguments of this stage alone, such as `{"max_steps": 5000}`; in the file, a section.
        prior: arguments of this stage alone.
        decoder: arguments of this stage alone.
        joint: arguments of this stage alone.
        samples: some X to generate for at each evaluation.
        report_to: trackers of accelerate, such as `tensorboard` or `trackio`.
        resume: go on where the run in the output folder was interrupted.
    """

    output_folder: str
    stages: list[str] = dataclasses.field(default_factory=lambda: ["prior"])
    extractor: dict | str | None = None
    prior: dict | str | None = None
    decoder: dict | str | None = None
    joint: dict | str | None = None
    samples: list[str] = dataclasses.field(default_factory=list)
    report_to: list[str] = dataclasses.field(default_factory=list)
    resume: bool = False

    def __post_init__(self):
        for stage in self.stages or [None]:
            if stage not in STAGES:
                raise ValueError(f"`stages` must be of {', '.join(STAGES)}, got {stage!r}.")
        for stage in STAGES:
            setattr(self, stage, _mapping(stage, getattr(self, stage)))
            if getattr(self, stage) and stage not in self.stages:
                raise ValueError(f"`{stage}` has arguments, but `stages` does not name it: {', '.join(self.stages)}.")


@dataclasses.dataclass
class LossArguments:
    """Further losses of the extractor.

    Args:
        perceptual_backbone: Hub name or folder of a vision backbone, for a loss of what it sees in two images.
        perceptual_weight: of that loss.
        adversarial_weight: of the loss by a discriminator that learns beside the extractor; 0 for none.
    """

    perceptual_backbone: str | None = None
    perceptual_weight: float = 0.1
    adversarial_weight: float = 0.0

    def __post_init__(self):
        _refuse_unused(self, "perceptual_backbone", "perceptual_weight")
        for name in ("perceptual_weight", "adversarial_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"`{name}` must be at least 0, got {getattr(self, name)}.")


@dataclasses.dataclass
class LoraArguments:
    """Low-rank adapters.

    Args:
        lora: parts (`extractor`, `prior`, `decoder`) that get adapters, which alone are trained and saved.
        lora_rank: of the adapters.
    """

    lora: list[str] = dataclasses.field(default_factory=list)
    lora_rank: int = 8

    def __post_init__(self):
        _refuse_unused(self, "lora", "lora_rank")
        for part in self.lora:
            if part not in PARTS:
                raise ValueError(f"`lora` must be of {', '.join(PARTS)}, got {part!r}.")


@dataclasses.dataclass
class SharedArguments(StageArguments):
    """Each stage.

    These hold for all stages; what is given for a stage alone goes over them.
    """

    max_steps: int | None = None  # may be given for each stage alone

    def __post_init__(self):
        """What holds for all may be wrong for none, so nothing is checked before it is put together."""


@dataclasses.dataclass
class TargetArguments(DataArguments):
    """The data.

    Args:
        target_column: the column of Y.
        keep_columns: columns to keep beside Y′, such as the one of X.
        streaming: read the dataset while it is used, not downloading all of it first.
    """

    target_column: str = "target"
    keep_columns: list[str] = dataclasses.field(default_factory=list)
    streaming: bool = False


@dataclasses.dataclass
class CacheArguments:
    """The result.

    Args:
        output_folder: where Y′ goes; what was interrupted there is gone on with.
        push_to_hub: name of a dataset on the Hub to upload it to.
        batch_size: examples that are encoded at once, on each process.
        num_workers: processes that read data beside each one that encodes.
    """

    output_folder: str
    push_to_hub: str | None = None
    batch_size: int = 64
    num_workers: int = 0


@dataclasses.dataclass
class SourceArguments(DataArguments):
    """The sources.

    Args:
        sources: the X themselves; or give a dataset of them.
        source_column: the column of X.
    """

    dataset: str | None = None
    sources: list[str] = dataclasses.field(default_factory=list)
    source_column: str = "source"

    def __post_init__(self):
        _refuse_unused(self, "dataset", "dataset_config", "split", "source_column")
        if bool(self.sources) == bool(self.dataset):
            raise ValueError("give either `sources` or a `dataset` with its `source_column`.")


@dataclasses.dataclass
class GenerationArguments:
    """The result.

    Args:
        output: the file to write; the kind of data decides its suffix.
        num_return_sequences: how many Y for each X.
        batch_size: how many X are generated for at once.
        seed: of the noise; the same command generates the same.
        generation: what else the model's `generate` takes, such as `{"guidance": 2.0, "num_inference_steps": 20}`.
    """

    output: str
    num_return_sequences: int = 1
    batch_size: int = 8
    seed: int = 0
    generation: dict | str | None = None

    def __post_init__(self):
        self.generation = _mapping("generation", self.generation) or {}
        for name in ("batch_size", "num_return_sequences", "generator", "return_representation"):
            if name in self.generation:
                raise ValueError(f"`generation` must not hold {name!r}, which the command sets itself.")


def _refuse_unused(arguments: Any, condition: str, *names: str) -> None:
    """Raises `ValueError` for what was given though it has no effect without another argument."""
    for field in dataclasses.fields(arguments):
        value = getattr(arguments, field.name)
        if field.name in names and value != field.default and not getattr(arguments, condition):
            raise ValueError(f"`{field.name}` is {value!r}, which has no effect without `{condition}`.")


def _mapping(name: str, value: dict | str | None) -> dict[str, Any] | None:
    """A section of the file, or JSON from the command line."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"`{name}` must be a mapping, as JSON, got {value!r}: {error}") from error
    if not isinstance(value, dict | None):
        raise ValueError(f"`{name}` must be a mapping, as JSON, got {value!r}.")
    return value
