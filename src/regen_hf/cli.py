"""The command line: `regen-hf train`, `extract` and `generate`, each over one documented dataclass."""

import argparse
import dataclasses
import difflib
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .arguments import StageArguments
from .processes import processes

STAGES = ("extractor", "prior", "decoder", "joint")
LAUNCH = """several processes:
  accelerate launch --config_file recipes/ddp_8_gpus.yaml -m regen_hf {command} ...
  torchrun --nproc_per_node 2 -m regen_hf {command} ..."""


@dataclasses.dataclass
class DataArguments:
    """Where the data is.

    Args:
        dataset: Hub name or folder of a dataset.
        dataset_config: its configuration, where it has several.
        split: its split.
        streaming: read it as a stream, without downloading or preparing all of it first.
        source_column: the column of X.
        target_column: the column of Y.
    """

    dataset: str | None = None
    dataset_config: str | None = None
    split: str = "train"
    streaming: bool = False
    source_column: str = "source"
    target_column: str = "target"


@dataclasses.dataclass
class TrainArguments(DataArguments):
    """Trains the stages of a regenerator.

    The stage arguments hold for all stages that are trained; those of one stage alone are given as a mapping.

    Args:
        model: Hub name or folder of a regenerator, trained or not.
        output_folder: where the trained model, its representations, samples and checkpoints go.
        stages: what to train: `extractor`, `prior`, `decoder` or `joint`; they are trained in this order.
        extractor: arguments of this stage alone, as JSON on the command line or as a section of the file.
        prior: arguments of this stage alone.
        decoder: arguments of this stage alone.
        joint: arguments of this stage alone.
        unpaired: Hub name or folder of a dataset of further Y, for the extractor and the decoder.
        validation_split: split of the dataset to measure the loss on at each evaluation.
        representations: folder of the extracted Y′ of the dataset, or the Hub name of one, if it was extracted before.
        perceptual_backbone: Hub name or folder of a vision backbone, for a perceptual loss of the extractor.
        perceptual_weight: of that loss.
        adversarial_weight: of an adversarial loss of the extractor; 0 for none.
        lora: parts that get low-rank adapters, which alone are trained and saved.
        lora_rank: of the adapters.
        samples: some X to generate for at each evaluation.
        on_bad_example: `raise` an error for an example that cannot be read, or `skip` it.
        resume: go on where the run in the output folder was interrupted.
        report_to: trackers of accelerate, such as `tensorboard` or `trackio`.
        trust_remote_code: allow the model's repository to run code of its own.
    """

    model: str | None = None
    output_folder: str | None = None
    stages: list[str] = dataclasses.field(default_factory=lambda: ["prior"])
    extractor: dict | str | None = None
    prior: dict | str | None = None
    decoder: dict | str | None = None
    joint: dict | str | None = None
    unpaired: str | None = None
    validation_split: str | None = None
    representations: str | None = None
    perceptual_backbone: str | None = None
    perceptual_weight: float = 0.1
    adversarial_weight: float = 0.0
    lora: list[str] = dataclasses.field(default_factory=list)
    lora_rank: int = 8
    samples: list[str] = dataclasses.field(default_factory=list)
    on_bad_example: str = "raise"
    resume: bool = False
    report_to: list[str] = dataclasses.field(default_factory=list)
    trust_remote_code: bool = False

    def __post_init__(self):
        _need(self, "model", "dataset", "output_folder")
        for stage in self.stages:
            if stage not in STAGES:
                raise ValueError(f"`stages` must be of {', '.join(STAGES)}, got {stage!r}.")
        for stage in STAGES:
            setattr(self, stage, _mapping(stage, getattr(self, stage)))
            if getattr(self, stage) and stage not in self.stages:
                raise ValueError(f"`{stage}` has arguments, but `stages` does not name it: {self.stages}.")


@dataclasses.dataclass
class ExtractArguments(DataArguments):
    """Extracts the Y′ of a dataset once and keeps it.

    Args:
        model: Hub name or folder of a regenerator.
        output_folder: the cache; an interrupted extraction into it is continued.
        keep_columns: columns to keep beside Y′, such as the source, so that the cache can be trained on alone.
        batch_size: examples that are encoded at once.
        num_workers: processes that read data beside the one that encodes.
        push_to_hub: name of a dataset on the Hub to push the cache to.
        trust_remote_code: allow the model's repository to run code of its own.
    """

    model: str | None = None
    output_folder: str | None = None
    keep_columns: list[str] = dataclasses.field(default_factory=list)
    batch_size: int = 64
    num_workers: int = 0
    push_to_hub: str | None = None
    trust_remote_code: bool = False

    def __post_init__(self):
        _need(self, "model", "dataset", "output_folder")


@dataclasses.dataclass
class GenerateArguments(DataArguments):
    """Generates Y for some X.

    Args:
        model: Hub name or folder of a regenerator, or of adapters for one.
        output: file to write to; the suffix is that of the kind of data.
        sources: the X themselves; or give a dataset and its source column.
        num_return_sequences: how many Y for each X.
        batch_size: how many are generated at once.
        seed: of the noise, so that the same command generates the same.
        generation: further arguments of `generate` as JSON, such as `{"guidance": 2.0, "num_inference_steps": 20}`.
        trust_remote_code: allow the model's repository to run code of its own.
    """

    model: str | None = None
    output: str | None = None
    sources: list[str] = dataclasses.field(default_factory=list)
    num_return_sequences: int = 1
    batch_size: int = 8
    seed: int = 0
    generation: dict | str | None = None
    trust_remote_code: bool = False

    def __post_init__(self):
        _need(self, "model", "output")
        if bool(self.sources) == bool(self.dataset):
            raise ValueError("give either `sources` or a `dataset` with its `source_column`.")
        self.generation = _mapping("generation", self.generation)


def train(arguments: TrainArguments, shared: dict[str, Any]) -> None:
    """`regen-hf train`."""
    from .stages import train_regenerator

    stages = {name: _stage(name, arguments, shared) for name in STAGES if name in arguments.stages}
    model, processor = _load(arguments.model, arguments.trust_remote_code)
    if arguments.lora:
        from .lora import add_lora

        add_lora(model, arguments.lora, arguments.lora_rank)
    unpaired = arguments.unpaired and _data(arguments, arguments.unpaired, "train")
    validation = arguments.validation_split and _data(arguments, arguments.dataset, arguments.validation_split, False)
    results = train_regenerator(
        model,
        processor,
        _data(arguments, arguments.dataset, arguments.split),
        arguments.output_folder,
        source_column=arguments.source_column,
        target_column=arguments.target_column,
        unpaired=unpaired,
        validation=validation,
        representations=arguments.representations and _representations(arguments.representations),
        extractor_losses=_losses(arguments),
        samples=arguments.samples,
        on_bad_example=arguments.on_bad_example,
        resume=arguments.resume,
        report_to=arguments.report_to,
        **stages,
    )
    for result in results:
        print(f"{result.name}: {result.steps} steps, {result.seconds:.0f} s, loss {result.losses[-1][1]:.4f}")
    print(f"the model is in {Path(arguments.output_folder) / 'model'}")


def extract(arguments: ExtractArguments, shared: dict[str, Any]) -> None:
    """`regen-hf extract`."""
    from .extraction import extract as extract_representations

    model, processor = _load(arguments.model, arguments.trust_remote_code)
    model.extractor.to(processes().device)
    dataset = _data(arguments, arguments.dataset, arguments.split)
    cache = extract_representations(
        model.extractor,
        processor.target,
        processor.target.prepare_column(dataset, arguments.target_column),
        arguments.target_column,
        arguments.output_folder,
        columns=arguments.keep_columns,
        batch_size=arguments.batch_size,
        num_workers=arguments.num_workers,
    )
    if processes().is_main_process:
        print(f"{len(cache):,} representations, {cache.spec}, are in {arguments.output_folder}")
        if arguments.push_to_hub:
            print(f"pushed to {cache.push_to_hub(arguments.push_to_hub)}")


def generate(arguments: GenerateArguments, shared: dict[str, Any]) -> None:
    """`regen-hf generate`."""
    import torch
    from transformers import pipeline

    pipe = pipeline("regeneration", model=arguments.model, trust_remote_code=arguments.trust_remote_code)
    sources = arguments.sources
    if arguments.dataset:
        sources = list(_data(arguments, arguments.dataset, arguments.split)[arguments.source_column])
    found = pipe(
        sources,
        batch_size=arguments.batch_size,
        num_return_sequences=arguments.num_return_sequences,
        generator=torch.Generator().manual_seed(arguments.seed),
        **arguments.generation,
    )
    if arguments.num_return_sequences > 1:
        found = [each for several in found for each in several]
    captions = [str(source) for source in sources for _ in range(arguments.num_return_sequences)]
    print(pipe.processor.target.save_samples(found, captions, Path(arguments.output)))


COMMANDS: dict[str, tuple[Callable, tuple[type, ...]]] = {
    "train": (train, (TrainArguments, StageArguments)),
    "extract": (extract, (ExtractArguments,)),
    "generate": (generate, (GenerateArguments,)),
}


def main(argv: list[str] | None = None) -> None:
    """Runs a command; errors that name an argument end it with their message and status 2."""
    argv = sys.argv[1:] if argv is None else argv
    listed = "\n".join(f"  {name:<10}{kinds[0].__doc__.splitlines()[0]}" for name, (_, kinds) in COMMANDS.items())
    top = argparse.ArgumentParser(
        prog="regen-hf",
        description="Regeneration learning: generate Y from X by way of an abstraction Y′ of Y.",
        epilog=f"commands:\n{listed}\n\nregen-hf COMMAND --help tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    command = top.parse_args(argv[:1]).command
    run, kinds = COMMANDS[command]
    try:
        run(*parse(command, kinds, argv[1:]))
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or 'stopped'}", file=sys.stderr)
        sys.exit(130)
    except (ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def parse(command: str, kinds: tuple[type, ...], argv: list[str]) -> tuple[Any, dict[str, Any]]:
    """The arguments of a command: an instance of the first kind, and the plain values of the second.

    What the command line says goes over what the file of `--config` says, which goes over the defaults.
    """
    from transformers import HfArgumentParser

    parser = HfArgumentParser(
        kinds,
        prog=f"regen-hf {command}",
        usage=f"regen-hf {command} [--config FILE] [options]",
        description=inspect.cleandoc(kinds[0].__doc__).split("Args:")[0],
        epilog=LAUNCH.format(command=command) if command != "generate" else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    explain(parser, kinds)
    parser.add_argument("--config", help="a YAML or JSON file of these arguments; the command line goes over it")
    for action in parser._actions:
        action.required = False  # it may come from the file; what is missing is told after both are read
    if path := parser.parse_known_args(argv)[0].config:
        parser.set_defaults(**_read(Path(path), {action.dest for action in parser._actions}))
    values = vars(parser.parse_args(argv))
    names = [{field.name for field in dataclasses.fields(kind)} for kind in kinds]
    own = {name: value for name, value in values.items() if name in names[0]}
    shared = {name: value for name, value in values.items() if any(name in each for each in names[1:])}
    return kinds[0](**own), shared


def explain(parser: argparse.ArgumentParser, kinds: tuple[type, ...]) -> None:
    """Gives each option the help that its dataclass's docstring has."""
    from transformers.utils.chat_template_utils import parse_google_format_docstring

    told = {}
    for kind in [each for top in kinds for each in reversed(top.__mro__[:-1])]:
        told |= parse_google_format_docstring(inspect.cleandoc(kind.__doc__))[1]
    for action in parser._actions:
        if action.dest in told:
            default = "" if action.default in (None, [], False) else f" (default: {action.default})"
            action.help = (told[action.dest] + default).replace("%", "%%")


def _read(path: Path, known: set[str]) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"`config` {path} is no YAML or JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"`config` {path} must hold a mapping of arguments, got {type(found).__name__}.")
    for name in found:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ValueError(f"`config` {path} has {name!r}, which is no argument{f': {near[0]}?' if near else '.'}")
    return found


def _need(arguments, *names: str) -> None:
    missing = [f"--{name}" for name in names if getattr(arguments, name) is None]
    if missing:
        raise ValueError(f"{', '.join(missing)} must be given.")


def _mapping(name: str, value: dict | str | None) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"`{name}` must be JSON, got {value!r}: {error}") from error
    if not isinstance(value, dict | None):
        raise ValueError(f"`{name}` must be a mapping, got {value!r}.")
    return value or {}


def _stage(name: str, arguments: TrainArguments, shared: dict[str, Any]) -> StageArguments:
    """The arguments of one stage: its own over those of all."""
    own = getattr(arguments, name)
    for each in own:
        if each not in shared:
            raise ValueError(f"`{name}` has {each!r}, which is no argument of a stage.")
    values = {**shared, **own}
    if values["predicted"] and name != "decoder" and "predicted" not in own:
        values["predicted"] = 0.0  # given for all, meant for the one that has it
    if values["max_steps"] is None:
        raise ValueError(f"--max_steps must be given, for all stages or for {name} alone.")
    return StageArguments(**values)


def _load(name: str, trust_remote_code: bool):
    from transformers import AutoModel, AutoProcessor

    from .modeling_regeneration import RegenerationModel

    model = AutoModel.from_pretrained(name, trust_remote_code=trust_remote_code)
    if not isinstance(model, RegenerationModel):
        raise ValueError(f"`model` {name} is a {type(model).__name__}, not a regenerator.")
    return model, AutoProcessor.from_pretrained(name, trust_remote_code=trust_remote_code)


def _data(arguments: DataArguments, name: str, split: str, streaming: bool | None = None):
    from datasets import load_dataset, load_from_disk

    if (Path(name) / "state.json").is_file():  # of `Dataset.save_to_disk`
        dataset = load_from_disk(name)
        return dataset.to_iterable_dataset() if arguments.streaming and streaming is None else dataset
    if (Path(name) / "dataset_dict.json").is_file():
        dataset = load_from_disk(name)[split]
        return dataset.to_iterable_dataset() if arguments.streaming and streaming is None else dataset
    streaming = arguments.streaming if streaming is None else streaming
    config = arguments.dataset_config if name == arguments.dataset else None
    return load_dataset(name, config, split=split, streaming=streaming)


def _representations(name: str):
    from .representations import RepresentationCache

    return RepresentationCache(name) if Path(name).is_dir() else RepresentationCache.from_hub(name)


def _losses(arguments: TrainArguments) -> list:
    from .losses import AdversarialLoss, PerceptualLoss

    losses = []
    if arguments.perceptual_backbone:
        losses.append(PerceptualLoss(arguments.perceptual_backbone, arguments.perceptual_weight))
    if arguments.adversarial_weight:
        losses.append(AdversarialLoss(weight=arguments.adversarial_weight))
    return losses
