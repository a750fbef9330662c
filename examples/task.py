"""What the examples have in common: their options, what is held out, and how a run goes.

The `run.py` of a task has its options, its data, `train_and_measure` (which builds, trains, measures and describes one
regenerator, by [`train`], [`evaluate`] and [`describe`]) and `baseline`; [`run`] calls them in order.
"""

import argparse
import json
import os
import resource
import sys
import time
import zlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from comparison import compare
from transformers import pipeline
from transformers.utils import logging

from regen_hf import (
    RegenerationModel,
    RegenerationPipeline,
    RegenerationProcessor,
    Representation,
    RepresentationCache,
    RepresentationSpec,
    StageArguments,
    StageResult,
    check_columns,
    check_output_folder,
    plot_losses,
    train_regenerator,
    write_model_card,
)


def make_parser(
    description: str, output: str, representations: Collection[str], default: str
) -> argparse.ArgumentParser:
    """With the arguments that every example takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=_Help)
    parser.add_argument("--representation", choices=representations, default=default, help="what Y′ is")
    parser.add_argument("--output", type=Path, default=Path(output), help="folder of the results")
    parser.add_argument("--dataset", help="a dataset by Hub name or folder, instead of the example's own")
    parser.add_argument("--dataset-split", default="train", help="which split of that dataset")
    parser.add_argument(
        "--on-bad-example", choices=("raise", "skip"), default="raise", help="what to do with one that cannot be read"
    )
    parser.add_argument("--scale", type=_positive, default=1.0, help="multiplies the number of steps of every stage")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of all that is drawn")
    parser.add_argument("--resume", action="store_true", help="go on with the run that was interrupted")
    parser.add_argument("--overwrite", action="store_true", help="begin anew where there is a run, in its place")
    parser.add_argument("--license", help="of the weights, for the card, such as apache-2.0")
    parser.add_argument("--report-to", nargs="*", default=[], help="trackers, such as tensorboard or trackio")
    parser.set_defaults(compare=False)  # for those that have no end-to-end baseline
    return parser


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


def _positive(text: str) -> float:
    if not (number := float(text)) > 0:
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return number


def at_least(least: int) -> Callable[[str], int]:
    """Reads a whole number that is no smaller, for `type` of an argument."""

    def whole_number(text: str) -> int:
        if (number := int(text)) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, not {text}")
        return number

    return whole_number


def run(
    options: argparse.Namespace,
    load_data: Callable[[argparse.Namespace], Any],
    train_and_measure: Callable[..., dict],
    baseline: Callable[[argparse.Namespace, Any, int], dict],
    steps: dict[str, int],
    trial: int,
) -> None:
    """Trains and measures, writes `metrics.json` and prints it; with `--compare`, of the end-to-end baseline too.

    Args:
        load_data: gives what `train_and_measure` and `baseline` take as data.
        train_and_measure: takes the options, a folder, the data, the name of a representation, the steps of each stage
            and perhaps sizes, trains one regenerator in the folder, and gives its metrics.
        baseline: takes the options, the data and a number of parameters, and gives the sizes with which
            `train_and_measure` makes the representation `identity` about as large.
        steps: of each stage, before they are scaled.
        trial: as [`compare`] takes it.
    """
    started = time.perf_counter()
    logging.disable_progress_bar()
    begin(options)
    data = load_data(options)
    metrics = train_and_measure(options, options.output, data, options.representation, scaled(steps, options.scale))
    write_metrics(options.output, metrics, started)
    if options.compare:
        sizes = baseline(options, data, metrics["parameters"])

        def train(folder: Path, steps: dict[str, int]) -> dict:
            return train_and_measure(options, folder, data, "identity", steps, **sizes)

        compare(train, options.output, metrics, trial, options.resume)
    print(json.dumps(metrics, indent=2))


def begin(options: argparse.Namespace) -> None:
    """Makes the output folder. Unless a run goes on there, how long an older one trained its end-to-end baseline is
    forgotten, and, for a comparison, the Y′ that it extracted is removed: the baseline gets the time that this takes.

    Raises:
        ValueError: if there is a run in the folder, and neither `resume` nor `overwrite` is given.
    """
    folder = check_output_folder(options.output)
    if options.resume:
        return
    if not options.overwrite and (folder / "stages" / "run.json").is_file():
        raise ValueError(f"{folder} holds a run: --resume goes on with it, --overwrite begins anew in its place.")
    (folder / "direct" / "steps.json").unlink(missing_ok=True)
    for place in folder.glob("representations/*/representations.json") if options.compare else ():
        RepresentationCache(place.parent).remove()


def train(
    options: argparse.Namespace,
    model: RegenerationModel,
    processor: RegenerationProcessor,
    rows,
    folder: Path,
    stages: dict[str, StageArguments],
    by: Callable[..., list[StageResult]] = train_regenerator,
    **settings,
) -> dict:
    """Trains a model in a folder, plots the losses there, and gives what it has cost.

    Args:
        stages: as [`stage_arguments`] gives them.
        by: what trains, called as `train_regenerator` is, with these `settings`.
    """
    started = time.perf_counter()
    shared = {"resume": options.resume, "overwrite": options.overwrite, "report_to": options.report_to}
    shared["license"] = options.license
    results = by(model, processor, rows, folder, **shared, **stages, **settings)
    spent = costs(results, started)
    plot_losses(results, folder / "curves.png")
    return spent


def evaluate(folder: Path, measure: Callable[[RegenerationPipeline], dict], spent: dict) -> dict:
    """What `measure` finds of the model that was trained in a folder, with what that has cost and
    `seconds_evaluation`."""
    started = time.perf_counter()
    metrics = measure(pipeline("regeneration", model=str(folder / "model")))
    return {**metrics, **spent, "seconds_evaluation": round(time.perf_counter() - started, 1)}


def is_held_out(key: str) -> bool:
    """The rule of every example in this project: one key in ten is never trained on."""
    return zlib.crc32(key.encode("utf-8")) % 10 == 0


def split_by_text(texts: Sequence[str]) -> tuple[list[int], list[int]]:
    """Which of them are trained on, and which are held out."""
    held = [i for i, text in enumerate(texts) if is_held_out(text)]
    return sorted(set(range(len(texts))) - set(held)), held


def named_dataset(name: str, split: str, files: str | None = None):
    """A dataset by its Hub name or from a folder.

    Args:
        files: the column in which the paths of files are to be, where a folder is one of files. It has a `metadata.csv`
            or `metadata.jsonl` with the column `file_name`, as datasets' `audiofolder` has it, which would want
            torchcodec; or a folder named as the split has it.

    Raises:
        ValueError: for a folder of files without one.
    """
    from datasets import load_dataset

    if not files or not Path(name).is_dir():
        return load_dataset(name, split=split)
    tables = [Path(name, *inner, f"metadata.{kind}") for inner in ((), (split,)) for kind in ("csv", "jsonl")]
    if not (found := [table for table in tables if table.is_file()]):
        raise ValueError(f"{name} must have a metadata.csv or metadata.jsonl, with the names of files in `file_name`.")
    kind = "csv" if found[0].suffix == ".csv" else "json"
    rows = load_dataset(kind, data_files=str(found[0]), split="train")
    check_columns(rows, ["file_name"])
    paths = [str(found[0].parent / each) for each in rows["file_name"]]
    return rows.remove_columns("file_name").add_column(files, paths)


def stage_arguments(recipes: dict[str, dict], steps: dict[str, int], seed: int) -> dict[str, StageArguments]:
    """What each stage is trained with; four evaluations each.

    Args:
        recipes: fields of [`StageArguments`] by stage.
        steps: how many steps each stage that is to be trained has.
    """
    found = {}
    for stage, count in steps.items():
        recipe = {**recipes[stage], "warmup_steps": min(recipes[stage]["warmup_steps"], count // 10)}
        shared = {"mixed_precision": "auto", "seed": seed, "eval_every": -(-count // 4)}
        found[stage] = StageArguments(max_steps=count, **recipe, **shared)
    return found


def scaled(steps: dict[str, int], scale: float) -> dict[str, int]:
    return {stage: max(1, round(count * scale)) for stage, count in steps.items()}


def costs(results: Sequence[StageResult], started: float) -> dict:
    """Seconds and parameters of each stage, and `seconds_training`, of all since `started`, by `time.perf_counter`,
    with what was extracted, predicted and generated between the steps."""
    seconds = {f"seconds_{result.name}": round(result.seconds, 1) for result in results}
    whole = max(time.perf_counter() - started, sum(seconds.values()))  # a resumed run has begun earlier
    parameters = {f"parameters_{result.name}": result.parameters for result in results}
    return {"seconds_training": round(whole, 1), **seconds, **parameters}


def describe(options: argparse.Namespace, folder: Path, metrics: dict, **card) -> None:
    """Writes the model card of a run's model; `card` as `write_model_card` takes it."""
    summary = json.loads((folder / "training_summary.json").read_text(encoding="utf-8"))
    write_model_card(folder / "model", summary, metrics, license=options.license, **card)


def write_metrics(folder: Path, metrics: dict, started: float) -> None:
    """`metrics.json`, with what the whole run since `started`, by `time.perf_counter`, has cost."""
    metrics["seconds_total"] = round(time.perf_counter() - started, 1)
    metrics["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    metrics |= {"cpu_cores": os.cpu_count(), "threads": torch.get_num_threads()}
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def decoded_texts(pipe: RegenerationPipeline, representation: Representation, size: int = 64) -> list[str]:
    """The texts that the decoder makes of some Y′, `size` at a time."""
    texts = []
    for values, mask in zip(representation.values.split(size), representation.mask.split(size), strict=True):
        made = pipe.model.decode(Representation(values, mask))
        texts += [row["text"] for row in pipe.processor.target.from_target(made.values, made.mask)]
    return texts


def perturbed_codes(true: Representation, spec: RepresentationSpec) -> Representation:
    """With one code in ten replaced, the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    other = torch.randint(spec.num_codes, true.values.shape, generator=generator).to(true.values.device)
    replaced = torch.rand(true.values.shape, generator=generator).to(true.values.device) < 0.1
    mask = true.mask if true.mask.dim() == true.values.dim() else true.mask[:, None]  # the same for all codebooks
    return Representation(torch.where(replaced, other, true.values) * mask, true.mask)


def end_with(main: Callable[[], None]) -> None:
    """Runs a script; what it raises because of what it was given ends it with one line."""
    try:
        main()
    except KeyboardInterrupt as interrupt:
        sys.exit(f"\n{str(interrupt) or 'stopped; --resume goes on from what was trained, if anything was'}")
    except (ValueError, OSError, TypeError, ImportError) as error:
        sys.exit(f"error: {error}")
