"""The command line: `regen-hf train`, `extract` and `generate`, over documented dataclasses."""

import argparse
import dataclasses
import difflib
import inspect
import json
import re
import sys
import textwrap
import typing
from pathlib import Path
from typing import Any

import yaml

from .arguments import StageArguments
from .data_checks import check_columns
from .processes import processes

STAGES = ("extractor", "prior", "decoder", "joint")
# what tells a user enough in one line; anything else is a mistake of ours and shows where it was made
ERRORS = (ValueError, TypeError, OSError, ImportError, FloatingPointError)


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
    extractor: dict | None = None
    prior: dict | None = None
    decoder: dict | None = None
    joint: dict | None = None
    samples: list[str] = dataclasses.field(default_factory=list)
    report_to: list[str] = dataclasses.field(default_factory=list)
    resume: bool = False

    def __post_init__(self):
        for stage in self.stages or [None]:
            if stage not in STAGES:
                raise ValueError(f"`stages` must be of {', '.join(STAGES)}, got {stage!r}.")
        for stage in STAGES:
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
    generation: dict | None = None

    def __post_init__(self):
        for name in ("batch_size", "num_return_sequences", "generator", "return_representation"):
            if name in (self.generation or {}):
                raise ValueError(f"`generation` must not hold {name!r}, which the command sets itself.")


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

    from .lora import add_lora
    from .stages import train_regenerator

    stages = {name: _stage(name, getattr(run, name), shared) for name in STAGES if name in run.stages}
    _check_effects(asked, data, run, losses, lora, shared)
    model, processor = _load(asked)
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ValueError(f"`model` {asked.model} is adapters: give the regenerator that they belong to.")
    set_seed(shared.seed)  # of new adapters and losses
    if lora.lora:
        add_lora(model, lora.lora, lora.lora_rank)
    stream = {"streaming": data.streaming, "shuffle_buffer": data.shuffle_buffer, "seed": shared.seed}
    results = train_regenerator(
        model,
        processor,
        _data(data.dataset, data.split, data.dataset_config, **stream),
        run.output_folder,
        source_column=data.source_column,
        target_column=data.target_column,
        unpaired=data.unpaired and _data(data.unpaired, "train", **stream),
        validation=data.validation_split and _validation(data),
        representations=data.representations and _representations(data.representations),
        extractor_losses=_losses(losses),
        samples=run.samples,
        on_bad_example=data.on_bad_example,
        resume=run.resume,
        report_to=run.report_to,
        **stages,
    )
    if processes().is_main_process:
        for result in results:
            validation = f", validation loss {result.validation[-1][1]:.4f}" if result.validation else ""
            loss = f"loss {result.losses[-1][1]:.4f}{validation}"
            print(f"{result.name}: {result.steps:,} steps in {result.seconds:.0f} s, {loss}")
        print(f"the model is in {Path(run.output_folder) / 'model'}")


def extract(asked: ModelArguments, data: TargetArguments, cache: CacheArguments) -> None:
    """Extracts the Y′ of every Y of a dataset once, for `regen-hf train --representations`.

    examples:
      regen-hf extract --model outputs/run/model --dataset outputs/pairs --target_column image --output_folder outputs/y
      regen-hf extract --config extract.yaml --push_to_hub user/representations

    several processes:
      torchrun --nproc_per_node 2 -m regen_hf extract ...
    """
    from .extraction import extract as extract_representations

    dataset = _data(data.dataset, data.split, data.dataset_config, streaming=data.streaming)
    check_columns(dataset, [data.target_column])
    model, processor = _load(asked)
    model.extractor.to(processes().device)
    made = extract_representations(
        model.extractor,
        processor.target,
        processor.target.prepare_column(dataset, data.target_column),
        data.target_column,
        cache.output_folder,
        columns=data.keep_columns,
        batch_size=cache.batch_size,
        num_workers=cache.num_workers,
    )
    if processes().is_main_process:
        print(f"{len(made):,} representations, {made.spec}, are in {cache.output_folder}")
        if cache.push_to_hub:
            print(f"they were uploaded: {made.push_to_hub(cache.push_to_hub)}")


def generate(asked: ModelArguments, data: SourceArguments, result: GenerationArguments) -> None:
    """Generates Y for some X.

    examples:
      regen-hf generate --model outputs/run/model --sources "red heart" "green cat" --output outputs/sheet
      regen-hf generate --model user/emoji --dataset outputs/pairs --split "train[:16]" --source_column text \\
        --output outputs/sheet --num_return_sequences 4 --generation '{"guidance": 2.0}'
    """
    import torch
    from transformers import pipeline

    if processes().num_processes > 1:
        raise ValueError(f"generate runs in one process, got {processes().num_processes}.")
    sources = data.sources
    if data.dataset:
        dataset = _data(data.dataset, data.split, data.dataset_config)
        check_columns(dataset, [data.source_column])
        sources = list(dataset[data.source_column])
    model, processor = _load(asked)
    found = pipeline("regeneration", model=model, processor=processor)(
        sources,
        batch_size=result.batch_size,
        num_return_sequences=result.num_return_sequences,
        generator=torch.Generator().manual_seed(result.seed),
        **(result.generation or {}),
    )
    samples = [each for several in found for each in several]
    captions = [str(source) for source in sources for _ in range(result.num_return_sequences)]
    print(f"{len(samples):,} generated, see {processor.target.save_samples(samples, captions, Path(result.output))}")


COMMANDS = {
    "train": (
        train,
        (ModelArguments, PairArguments, RunArguments, LossArguments, LoraArguments, SharedArguments),
    ),
    "extract": (extract, (ModelArguments, TargetArguments, CacheArguments)),
    "generate": (generate, (ModelArguments, SourceArguments, GenerationArguments)),
}


def main(argv: list[str] | None = None) -> None:
    """Runs a command; an error that an argument can cause ends it with one line and status 2."""
    argv = sys.argv[1:] if argv is None else argv
    listed = [f"  {name:<10}{run.__doc__.splitlines()[0]}" for name, (run, _) in COMMANDS.items()]
    top = _Parser(
        prog="regen-hf",
        description="Regeneration learning: generate Y from X by way of an abstraction Y′ of Y.",
        epilog="\n".join(["commands:", *listed, "", "`regen-hf COMMAND --help` tells more."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    try:
        command = top.parse_args(argv[:1]).command
        COMMANDS[command][0](*parse(command, argv[1:]))
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or 'stopped.'}", file=sys.stderr)
        sys.exit(130)
    except ERRORS as error:
        if "--traceback" in argv:
            raise
        said = textwrap.shorten(str(error), 800, placeholder=" ... (--traceback tells all)")
        print(f"error: {said or type(error).__name__}", file=sys.stderr)
        sys.exit(2)


def parse(command: str, argv: list[str]) -> list[Any]:
    """The arguments of a command: an instance of each of its dataclasses.

    The command line goes over the file of `--config`, with its sections, and that over the defaults.
    """
    kinds = COMMANDS[command][1]
    types = {name: wanted for kind in kinds for name, wanted in _types(kind).items()}
    # the other spelling that people know
    argv = [re.sub("^--[a-z-]+", lambda name: f"--{name[0][2:].replace('-', '_')}", each) for each in argv]
    found, rest = make_parser(command).parse_known_args(argv)
    told = vars(found)
    if rest:
        raise _unknown("the command line", rest[0], [f"--{name}" for name in types])
    from_file = {} if (path := told.pop("config", None)) is None else _read_file(path)
    for name in from_file:
        if name not in types:
            raise _unknown(f"`config` {path}", name, types)
    told, from_file = (
        {name: _converted(name, types[name], value) for name, value in each.items() if name in types}
        for each in (told, from_file)
    )
    values = {**from_file, **told}
    for name, section in from_file.items():
        if isinstance(section, dict):
            values[name] = {key: value for key, value in section.items() if key not in told} | (told.get(name) or {})
    fields = {field.name: field for kind in kinds for field in dataclasses.fields(kind)}
    if missing := [f"--{name}" for name, field in fields.items() if _required(field) and name not in values]:
        raise ValueError(f"{', '.join(missing)} must be given, on the command line or in the file of --config.")
    return [kind(**{name: values[name] for name in _types(kind) if name in values}) for kind in kinds]


class _Parser(argparse.ArgumentParser):
    """Leaves it to `main` to say what is wrong."""

    def error(self, message: str) -> typing.NoReturn:
        raise ValueError(message)


def make_parser(command: str) -> argparse.ArgumentParser:
    """Reads the syntax of a command line, a group for each dataclass; values stay as they were written."""
    run, kinds = COMMANDS[command]
    about, _, examples = inspect.cleandoc(run.__doc__).partition("\n\n")
    needed = [field.name for kind in kinds for field in dataclasses.fields(kind) if _required(field)]
    parser = _Parser(
        prog=f"regen-hf {command}",
        usage=" ".join([f"regen-hf {command}", *(f"--{name} ..." for name in needed), "[--config FILE] [options]"]),
        description=about,
        epilog=f"{examples}\n\n--max-steps and the like may be written for --max_steps.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", metavar="FILE", help="a YAML or JSON file of these arguments; the command line goes over it"
    )
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error was raised")
    for kind in kinds:
        title, _, more = inspect.cleandoc(kind.__doc__).partition("Args:")[0].partition("\n\n")
        group = parser.add_argument_group(title.strip().rstrip(".").lower(), more.strip() or None)
        for field in dataclasses.fields(kind):
            group.add_argument(f"--{field.name}", **_syntax(kind, field))
    return parser


def _syntax(kind: type, field: dataclasses.Field) -> dict[str, Any]:
    """How an argument is written, and its help: what the docstring says of it."""
    from transformers.utils.chat_template_utils import parse_google_format_docstring

    told = {}
    for each in reversed(kind.__mro__[:-1]):
        told |= parse_google_format_docstring(inspect.cleandoc(each.__doc__))[1]
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = " ".join(field.default_factory()) or None
    shown = "" if default is None or default is False else f" (default: {default})"
    text = (told[field.name] + (" (required)" if _required(field) else shown)).replace("%", "%%")
    wanted = _plain(_types(kind)[field.name])
    if wanted is bool:
        return {"help": text, "nargs": "?", "const": "true", "metavar": "true|false"}
    if typing.get_origin(wanted) is list:
        return {"help": text, "nargs": "*", "metavar": "TEXT"}
    return {"help": text, "metavar": {int: "N", float: "NUMBER", dict: "JSON"}.get(wanted, "TEXT")}


def _types(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _plain(wanted: Any) -> Any:
    """A type without the `None` beside it."""
    found = [each for each in typing.get_args(wanted) if each is not type(None)]
    return wanted if typing.get_origin(wanted) is list or not found else found[0]


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _converted(name: str, wanted: Any, value: Any) -> Any:
    """A value of the command line or of a file, as its field wants it."""
    if value is None and _plain(wanted) is not wanted:
        return None
    wanted = _plain(wanted)
    if typing.get_origin(wanted) is list:
        if not isinstance(value, list):
            raise ValueError(f"`{name}` must be a list, got {value!r}.")
        return [_converted(name, typing.get_args(wanted)[0], each) for each in value]
    read, what = READERS[wanted]
    try:
        if isinstance(value, list | None) or (isinstance(value, dict) and wanted is not dict):
            raise ValueError("this is no single value.")
        return read(value)
    except (ValueError, yaml.YAMLError) as error:
        why = f": {error}" if wanted is dict else "."
        raise ValueError(f"`{name}` must be {what}, got {value!r}{why}") from error


def _text(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)  # YAML takes the word no for false


def _boolean(value: Any) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() not in known:
        raise ValueError
    return known[str(value).lower()]


def _mapping(value: str | dict) -> dict[str, Any]:
    found = value if isinstance(value, dict) else _parsed(value)
    if not isinstance(found, dict):
        raise ValueError(f"this is {type(found).__name__}.")
    return found


READERS = {
    str: (_text, "text"),
    int: (lambda value: int(str(value)), "a whole number"),
    float: (lambda value: float(str(value)), "a number"),
    bool: (_boolean, "true or false"),
    dict: (_mapping, "a mapping, as JSON"),
}


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number and a name that is there twice an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        _once([(key.value, None) for key, _ in node.value])
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise yaml.YAMLError(f"it has {name!r} more than once.")
    return dict(pairs)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError:
        return yaml.load(text, Loader=_Loader)


def _read_file(path: str) -> dict[str, Any]:
    try:
        return _mapping(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"`config` {path} must be a mapping of arguments, as YAML or JSON: {error}") from error


def _unknown(where: str, name: Any, known: typing.Iterable[str]) -> ValueError:
    near = difflib.get_close_matches(str(name).split("=")[0], known, n=1)
    return ValueError(f"{where} has {name!r}, which is no argument{f'; is it {near[0]!r}?' if near else '.'}")


def _refuse_unused(arguments: Any, condition: str, *names: str) -> None:
    """Raises `ValueError` for what was given though it has no effect without another argument."""
    for field in dataclasses.fields(arguments):
        value = getattr(arguments, field.name)
        if field.name in names and value != field.default and not getattr(arguments, condition):
            raise ValueError(f"`{field.name}` is {value!r}, which has no effect without `{condition}`.")


def _stage(name: str, own: dict[str, Any] | None, shared: SharedArguments) -> StageArguments:
    """The arguments of one stage: its own over those of all."""
    types = _types(StageArguments)
    values = dataclasses.asdict(shared)
    if name != "decoder":
        values["predicted"] = 0.0  # given for all, it is meant for the one that has it
    for key, value in (own or {}).items():
        if key not in types:
            raise _unknown(f"`{name}`", key, types)
        values[key] = _converted(f"{name}.{key}", types[key], value)
    if values["max_steps"] is None:
        raise ValueError(f"--max_steps must be given, for all stages or for {name} alone.")
    try:
        return StageArguments(**values)
    except ValueError as error:
        raise ValueError(f"stage {name}: {error}") from error


def _check_effects(
    asked: ModelArguments,
    data: PairArguments,
    run: RunArguments,
    losses: LossArguments,
    lora: LoraArguments,
    shared: SharedArguments,
) -> None:
    """Raises `ValueError` for what none of the stages makes use of."""
    if data.representations and ("extractor" in run.stages or not {"prior", "decoder"} & set(run.stages)):
        raise ValueError(f"`representations` are for prior and decoder, and of no use to the stages {run.stages}.")
    if shared.predicted and "decoder" not in run.stages:
        raise ValueError(f"`predicted` is for the stage decoder, which `stages` does not name: {run.stages}.")
    for name in ("perceptual_backbone", "adversarial_weight"):
        if getattr(losses, name) and "extractor" not in run.stages:
            raise ValueError(f"`{name}` is for the stage extractor, which `stages` does not name: {run.stages}.")
    if not lora.lora:
        return
    for part in lora.lora:
        if part in STAGES and not {part, "joint"} & set(run.stages):
            raise ValueError(f"`lora` names {part}, which `stages` does not: {run.stages}.")
    for stage in run.stages:
        if stage not in [*lora.lora, "joint"]:
            raise ValueError(f"`stages` names {stage}, but `lora` gives adapters to nothing but {lora.lora}.")
    if Path(asked.model).resolve() == Path(run.output_folder, "model").resolve():
        raise ValueError(f"`output_folder` must be another: adapters would be written over {asked.model}.")


def _load(asked: ModelArguments):
    from transformers import AutoModel, AutoProcessor

    from .modeling_regeneration import RegenerationModel

    model = AutoModel.from_pretrained(asked.model, trust_remote_code=asked.trust_remote_code)
    if not isinstance(model, RegenerationModel):
        raise ValueError(f"`model` {asked.model} is a {type(model).__name__}, not a regenerator.")
    return model, AutoProcessor.from_pretrained(asked.model, trust_remote_code=asked.trust_remote_code)


def _data(
    name: str, split: str, config: str | None = None, streaming: bool = False, shuffle_buffer: int = 0, seed: int = 0
):
    """A split of a dataset, or a stream of it."""
    from datasets import load_dataset

    if not any(Path(name, file).is_file() for file in ("state.json", "dataset_dict.json")):
        dataset = load_dataset(name, config, split=split, streaming=streaming)
    elif config is not None:
        raise ValueError(f"`dataset_config` is {config!r}, but {name} was made by `save_to_disk` and has none.")
    else:
        dataset = _saved_split(name, split)
        dataset = dataset.to_iterable_dataset() if streaming else dataset
    return dataset.shuffle(seed=seed, buffer_size=shuffle_buffer) if streaming and shuffle_buffer else dataset


def _saved_split(folder: str, split: str):
    """A split of what `save_to_disk` wrote; a dataset without splits is `train`, as for `load_dataset`."""
    from datasets import DatasetDict, ReadInstruction, concatenate_datasets, load_from_disk

    found = load_from_disk(folder)
    splits = found if isinstance(found, DatasetDict) else {"train": found}
    asked = ReadInstruction.from_spec(split).to_absolute({name: len(each) for name, each in splits.items()})
    parts = []
    for each in asked:
        whole = splits[each.splitname]
        rows = range(len(whole))[each.from_ : each.to]
        parts.append(whole if len(rows) == len(whole) else whole.select(rows))
    return concatenate_datasets(parts)


def _validation(data: PairArguments):
    """What to validate on. Of a stream, no more is downloaded than this, and it is held in memory."""
    from datasets import Dataset

    found = _data(data.dataset, data.validation_split, data.dataset_config, streaming=data.streaming)
    if not data.streaming:
        return found
    stream = found.decode(False) if found.features else found
    return Dataset.from_list(list(stream), features=found.features)


def _representations(name: str):
    from .representations import RepresentationCache

    return RepresentationCache(name) if Path(name).is_dir() else RepresentationCache.from_hub(name)


def _losses(asked: LossArguments) -> list:
    from .losses import AdversarialLoss, PerceptualLoss

    losses = []
    if asked.perceptual_backbone:
        losses.append(PerceptualLoss(asked.perceptual_backbone, asked.perceptual_weight))
    if asked.adversarial_weight:
        losses.append(AdversarialLoss(weight=asked.adversarial_weight))
    return losses
