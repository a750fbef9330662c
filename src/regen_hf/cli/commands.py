"""The command line: `regen-hf train`, `extract` and `generate`."""

import argparse
import dataclasses
import difflib
import inspect
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from ..runtime.data_checks import check_columns
from ..runtime.processes import processes
from ..training.arguments import StageArguments
from .options import (
    STAGES,
    CacheArguments,
    GenerationArguments,
    LoraArguments,
    LossArguments,
    ModelArguments,
    PairArguments,
    RunArguments,
    SharedArguments,
    SourceArguments,
    TargetArguments,
)

# what tells a user enough in one line; anything else is a mistake of ours and shows where it was made
ERRORS = (ValueError, TypeError, OSError, ImportError, FloatingPointError)


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
    from ..cache.extraction import extract as extract_representations

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
        **result.generation,
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
    top = argparse.ArgumentParser(
        prog="regen-hf",
        description="Regeneration learning: generate Y from X by way of an abstraction Y′ of Y.",
        epilog="\n".join(["commands:", *listed, "", "`regen-hf COMMAND --help` tells more."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    top.error = _refuse
    try:
        command = top.parse_args(argv[:1]).command
        COMMANDS[command][0](*parse(command, argv[1:]))
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or 'stopped.'}", file=sys.stderr)
        sys.exit(130)
    except ERRORS as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def parse(command: str, argv: list[str]) -> list[Any]:
    """The arguments of a command: an instance of each of its dataclasses.

    The command line goes over the file of `--config`, and that over the defaults.
    """
    parser, kinds = make_parser(command), COMMANDS[command][1]
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    if (path := first.parse_known_args(argv)[0].config) is not None:
        options = [each[2:].split("=")[0] for each in argv if each.startswith("--")]
        use_file(parser, Path(path), said={each.replace("-", "_") for each in options})
    *found, unknown = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True, look_for_args_file=False)
    if unknown:
        raise _unknown("the command line", unknown[0], [f"--{action.dest}" for action in parser._actions])
    return found[: len(kinds)]


def make_parser(command: str):
    """transformers' parser over the dataclasses of a command; the help is what their docstrings say."""
    from transformers import HfArgumentParser
    from transformers.utils.chat_template_utils import parse_google_format_docstring

    run, kinds = COMMANDS[command]
    about, _, examples = inspect.cleandoc(run.__doc__).partition("\n\n")
    told = {}
    for kind in kinds:
        for each in reversed(kind.__mro__[:-1]):
            told |= parse_google_format_docstring(inspect.cleandoc(each.__doc__))[1]
        kind._argument_group_name = kind.__doc__.splitlines()[0].rstrip(".").lower()
    parser = HfArgumentParser(
        kinds, prog=f"regen-hf {command}", usage=f"regen-hf {command} [--config FILE] [arguments]", description=about,
        epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    for action in parser._actions:
        if action.dest in told:
            default = " (required)" if action.required else f" (default: {action.default})"
            shown = action.required or not (action.default is None or action.default is False or action.default == [])
            action.help = (told[action.dest] + (default if shown else "")).replace("%", "%%")
    parser.add_argument("--config", metavar="FILE", help="a YAML or JSON file of these arguments.")
    parser.error = _refuse  # `main` says it
    return parser


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)


def use_file(parser: argparse.ArgumentParser, path: Path, said: set[str]) -> None:
    """Makes the values of a YAML or JSON file the defaults; in its sections, too, what the command line said counts."""
    import yaml

    text = path.read_text(encoding="utf-8")
    try:
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, json.JSONDecodeError) as error:
        raise ValueError(f"`config` {path} must be YAML or JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"`config` {path} must be a mapping of arguments, got {type(values).__name__}.")
    actions = {action.dest: action for action in parser._actions if action.dest not in ("help", "config")}
    for name, value in values.items():
        if name not in actions:
            raise _unknown(f"`config` {path}", name, actions)
        if isinstance(value, dict):
            value = {key: own for key, own in value.items() if key not in said}
        parser.set_defaults(**{name: _converted(parser, actions[name], value)})
        actions[name].required = False


def _converted(parser: argparse.ArgumentParser, action: argparse.Action, value: Any) -> Any:
    """A value of a file as its argument wants it: YAML takes `1e-3` for a text, and the word `no` for false."""
    many = action.nargs in ("*", "+")
    if many != isinstance(value, list) or (value is None and action.default is not None):
        raise ValueError(f"`{action.dest}` must be {'a list' if many else 'a single value'}, got {value!r}.")
    if isinstance(value, dict | None):
        return value
    try:
        found = [parser._get_value(action, _as_text(each)) for each in (value if many else [value])]
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from error
    return found if many else found[0]


def _as_text(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _unknown(where: str, name: Any, known: Iterable[str]) -> ValueError:
    near = difflib.get_close_matches(str(name), known, n=1)
    return ValueError(f"{where} has {name!r}, which is no argument{f'; is it {near[0]!r}?' if near else '.'}")


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
            raise _unknown(f"`{name}`", key, actions)
        values[key] = _converted(parser, actions[key], value)
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
        if not {part, "joint"} & set(run.stages):
            raise ValueError(f"`lora` names {part}, which `stages` does not: {run.stages}.")
    for stage in run.stages:
        if stage not in [*lora.lora, "joint"]:
            raise ValueError(f"`stages` names {stage}, but `lora` gives adapters to nothing but {lora.lora}.")
    if Path(asked.model).resolve() == Path(run.output_folder, "model").resolve():
        raise ValueError(f"`output_folder` must be another: adapters would be written over {asked.model}.")


def _load(asked: ModelArguments):
    from transformers import AutoModel, AutoProcessor

    from ..modeling_regeneration import RegenerationModel

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
