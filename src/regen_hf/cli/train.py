"""`regen-hf train`."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from ..runtime.processes import processes
from ..training.arguments import StageArguments, StageResult
from .loading import load_data, load_model
from .options import DataArguments, ModelArguments, mapping, refuse_unused
from .parsing import converted, unknown_argument

PARTS = ("extractor", "prior", "decoder")
STAGES = (*PARTS, "joint")


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
        refuse_unused(self, "streaming", "shuffle_buffer")
        if self.streaming and self.representations:
            raise ValueError("`representations` cannot be had with `streaming`: they belong to rows of the dataset.")

    def check_stages(self, stages: list[str]) -> None:
        """Raises `ValueError` for what none of the stages makes use of."""
        if self.representations and ("extractor" in stages or not {"prior", "decoder"} & set(stages)):
            raise ValueError(f"`representations` are for prior and decoder, and of no use to the stages {stages}.")


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
        measure_statistics: measure mean and deviation of what the trained parts make and read again, and do not keep
            those that they have.
        report_to: trackers of accelerate, such as `tensorboard` or `trackio`.
        resume: go on where the run in the output folder was interrupted.
        overwrite: begin anew where there is a run in the output folder, in place of what it made.
        license: of the weights, for the card, such as `apache-2.0`; it must allow for those of the parts and the data.
    """

    output_folder: str
    stages: list[str] = dataclasses.field(default_factory=lambda: ["prior"])
    extractor: dict | str | None = None
    prior: dict | str | None = None
    decoder: dict | str | None = None
    joint: dict | str | None = None
    samples: list[str] = dataclasses.field(default_factory=list)
    measure_statistics: bool = False
    report_to: list[str] = dataclasses.field(default_factory=list)
    resume: bool = False
    overwrite: bool = False
    license: str | None = None

    def __post_init__(self):
        for stage in self.stages or [None]:
            if stage not in STAGES:
                raise ValueError(f"`stages` must be of {', '.join(STAGES)}, got {stage!r}.")
        for stage in STAGES:
            setattr(self, stage, mapping(stage, getattr(self, stage)))
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
        refuse_unused(self, "perceptual_backbone", "perceptual_weight")
        for name in ("perceptual_weight", "adversarial_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be at least 0, got {getattr(self, name)}.")

    def check_stages(self, stages: list[str]) -> None:
        """Raises `ValueError` for what none of the stages makes use of."""
        for name in ("perceptual_backbone", "adversarial_weight"):
            if getattr(self, name) and "extractor" not in stages:
                raise ValueError(f"`{name}` is for the stage extractor, which `stages` does not name: {stages}.")


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
        refuse_unused(self, "lora", "lora_rank")
        for part in self.lora:
            if part not in PARTS:
                raise ValueError(f"`lora` must be of {', '.join(PARTS)}, got {part!r}.")

    def check_stages(self, stages: list[str]) -> None:
        """Raises `ValueError` for adapters that no stage trains, and for a stage that would train none."""
        for part in self.lora:
            if not {part, "joint"} & set(stages):
                raise ValueError(f"`lora` names {part}, which `stages` does not: {stages}.")
        for stage in stages:
            if self.lora and stage not in [*self.lora, "joint"]:
                raise ValueError(f"`stages` names {stage}, but `lora` gives adapters to nothing but {self.lora}.")


@dataclasses.dataclass
class SharedArguments(StageArguments):
    """Each stage.

    These hold for all stages; what is given for a stage alone overrides them.
    """

    max_steps: int | None = None  # may be given for each stage alone

    def __post_init__(self):
        """What holds for all may be wrong for none, so nothing is checked before it is put together."""

    def check_stages(self, stages: list[str]) -> None:
        """Raises `ValueError` for what none of the stages makes use of."""
        if self.predicted and "decoder" not in stages:
            raise ValueError(f"`predicted` is for the stage decoder, which `stages` does not name: {stages}.")


def train(
    asked: ModelArguments,
    data: PairArguments,
    run: RunArguments,
    losses: LossArguments,
    lora: LoraArguments,
    shared: SharedArguments,
) -> None:
    """Trains a regenerator stage by stage: Y′ from Y alone, X→Y′ from pairs, Y′→Y from Y alone.

    examples:
      regen-hf train --model outputs/untrained --dataset outputs/pairs --source_column text --target_column image \\
        --output_folder outputs/run --stages extractor prior --max_steps 20000 --prior '{"max_steps": 100000}'
      regen-hf train --config recipes/train.yaml --resume

    several processes:
      accelerate launch --config_file recipes/ddp_8_gpus.yaml -m regen_hf train ...
      torchrun --nproc_per_node 2 -m regen_hf train ...
    """
    from transformers import set_seed

    from ..stages.lora import add_lora
    from ..stages.regenerator import train_regenerator

    stages = {name: _stage(name, getattr(run, name), shared) for name in STAGES if name in run.stages}
    for options in (data, shared, losses, lora):
        options.check_stages(run.stages)
    if lora.lora and Path(asked.model).resolve() == Path(run.output_folder, "model").resolve():
        raise ValueError(f"`output_folder` must be another: adapters would be written over {asked.model}.")
    model, processor = load_model(asked)
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ValueError(f"`model` {asked.model} is adapters: give the regenerator that they belong to.")
    set_seed(shared.seed)  # of new adapters and losses
    if lora.lora:
        add_lora(model, lora.lora, lora.lora_rank)
    stream = {"streaming": data.streaming, "shuffle_buffer": data.shuffle_buffer, "seed": shared.seed}
    results = train_regenerator(
        model,
        processor,
        load_data(data.dataset, data.split, data.dataset_config, **stream),
        run.output_folder,
        source_column=data.source_column,
        target_column=data.target_column,
        unpaired=data.unpaired and load_data(data.unpaired, "train", **stream),
        validation=data.validation_split and _validation(data),
        representations=data.representations and _representations(data.representations),
        extractor_losses=_losses(losses),
        samples=run.samples,
        on_bad_example=data.on_bad_example,
        measure_statistics=run.measure_statistics,
        resume=run.resume,
        overwrite=run.overwrite,
        license=run.license,
        report_to=run.report_to,
        **stages,
    )
    if processes().is_main_process:
        _print_losses(results)
        print(f"the model is in {Path(run.output_folder) / 'model'}")


def _print_losses(results: list[StageResult]) -> None:
    for result in results:
        validation = f", validation loss {result.validation[-1][1]:.4f}" if result.validation else ""
        loss = f"loss {result.losses[-1][1]:.4f}{validation}"
        print(f"{result.name}: {result.steps:,} steps in {result.seconds:.0f} s, {loss}")


def _stage(name: str, own: dict[str, Any] | None, shared: SharedArguments) -> StageArguments:
    """The arguments of one stage: its own over those of all."""
    from transformers import HfArgumentParser

    parser = HfArgumentParser(StageArguments)
    actions = {action.dest: action for action in parser._actions}
    values = dataclasses.asdict(shared)
    if name != "decoder":
        values["predicted"] = 0.0  # given for all, it is meant for the one that has it
    for key, value in (own or {}).items():
        if key not in actions:
            raise unknown_argument(f"`{name}`", key, actions)
        values[key] = converted(parser, actions[key], value)
    if values["max_steps"] is None:
        raise ValueError(f"--max_steps must be given, for all stages or for {name} alone.")
    try:
        return StageArguments(**values)
    except ValueError as error:
        raise ValueError(f"stage {name}: {error}") from error


def _validation(data: PairArguments):
    """What to validate on. Of a stream, no more is downloaded than this, and it is held in memory."""
    from datasets import Dataset

    found = load_data(data.dataset, data.validation_split, data.dataset_config, streaming=data.streaming)
    if not data.streaming:
        return found
    stream = found.decode(False) if found.features else found
    return Dataset.from_list(list(stream), features=found.features)


def _representations(name: str):
    from ..cache.representations import RepresentationCache

    return RepresentationCache(name) if Path(name).is_dir() else RepresentationCache.from_hub(name)


def _losses(asked: LossArguments) -> list:
    from ..losses import AdversarialLoss, PerceptualLoss

    losses = []
    if asked.perceptual_backbone:
        losses.append(PerceptualLoss(asked.perceptual_backbone, asked.perceptual_weight))
    if asked.adversarial_weight:
        losses.append(AdversarialLoss(weight=asked.adversarial_weight))
    return losses
