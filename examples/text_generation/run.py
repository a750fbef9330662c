"""Trains what writes the first sentence of a function's docstring from its signature, from nothing, and measures it.

python examples/text_generation/run.py                              # Y′ = keywords in order
python examples/text_generation/run.py --representation text_codes  # another Y′, by one argument
python examples/text_generation/run.py --language-model openai-community/gpt2  # adapters on it as the decoder
python examples/text_generation/run.py --dataset FOLDER_OR_HUB_NAME --source-column title --target-column summary
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import comparison
import task
import torch
from data import functions, split
from evaluate import measure, of_names
from models import LONGEST, REPRESENTATIONS, SIGNATURE
from transformers import AutoTokenizer, pipeline
from transformers.utils import logging

from regen_hf import (
    RegenerationModel,
    RegenerationProcessor,
    StageResult,
    TextModality,
    add_lora,
    check_columns,
    check_texts,
    plot_losses,
    readable_examples,
    train_regenerator,
)

STEPS = {
    "keywords": {"prior": 2100, "decoder": 450},
    "text_codes": {"extractor": 700, "prior": 900},
    "identity": {"prior": 1700},
}
SHARED = {"learning_rate": 4e-3, "optimizer": "muon", "beta2": 0.98, "warmup_steps": 80, "batch_size": 32}
RECIPES = {
    "extractor": SHARED,
    "prior": {**SHARED, "group_by_length": True},
    "decoder": {**SHARED, "group_by_length": True},
}
PIECES = 4000
TRIAL = 60  # steps of the direct map that tell how many fit into its time


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = task.make_parser(__doc__, "outputs/text_generation", REPRESENTATIONS, "keywords")
    parser.add_argument(
        "--pairs", type=task.at_least(1), default=50_000, help="how many sentences have their signature"
    )
    parser.add_argument(
        "--unpaired", type=task.at_least(0), default=20_000, help="how many sentences, also of pairs, have none"
    )
    parser.add_argument("--heldout", type=task.at_least(1), default=300, help="how many held-out pairs to measure on")
    parser.add_argument("--source-column", default="signature", help="the dataset's column of sources")
    parser.add_argument("--target-column", default="sentence", help="its column of sentences")
    parser.add_argument("--language-model", help="a pretrained one, by name or folder, that writes what is planned")
    parser.add_argument("--compare", action="store_true", help="then train the direct map for as long, and measure it")
    options = parser.parse_args(argv)
    if options.language_model and options.representation != "keywords":
        parser.error(f"--language-model reads keywords, not the representation {options.representation}")
    if options.language_model and options.compare:
        parser.error("--compare needs a direct map of the same size and vocabulary, which --language-model has not")
    return options


def load_data(options: argparse.Namespace):
    """Pairs, further sentences, and held-out pairs, as datasets."""
    if not options.dataset:
        rows = functions(Path("outputs/text_data"))
        parts = split(rows, options.pairs, options.unpaired, options.heldout)
        names = {"signature": options.source_column, "sentence": options.target_column}
        return [part.rename_columns({k: names[k] for k in part.column_names if k != names[k]}) for part in parts]
    rows = task.named_dataset(options.dataset, options.dataset_split)
    check_columns(rows, [options.source_column, options.target_column])
    reads = {options.source_column: check_texts, options.target_column: partial(check_texts, name="target")}
    rows = readable_examples(rows, reads, options.on_bad_example)
    held = [i for i, key in enumerate(rows[options.source_column]) if task.is_held_out(key)]
    trained = sorted(set(range(len(rows))) - set(held))
    pairs, further = trained[: options.pairs], trained[: options.unpaired]
    further = rows.select(further).select_columns([options.target_column])
    return rows.select(pairs), further, rows.select(held[: options.heldout])


def pieces(options: argparse.Namespace, data) -> TextModality:
    """Those of all texts that are learned from."""
    pairs, further, _ = data
    texts = [*pairs[options.source_column], *pairs[options.target_column], *further[options.target_column]]
    return TextModality.from_pieces(texts, PIECES, max_length=LONGEST)


def train_and_measure(
    options: argparse.Namespace, folder: Path, data, representation: str, steps: dict[str, int], **build
) -> dict:
    """One regenerator from nothing; returns its metrics."""
    pairs, further, held = data
    column = options.target_column
    source = target = pieces(options, data)
    if "language_model" in build:
        target = TextModality(AutoTokenizer.from_pretrained(build["language_model"], trust_remote_code=False), LONGEST)
    source = TextModality(source.tokenizer, SIGNATURE)
    processor = RegenerationProcessor(source, target)
    torch.manual_seed(options.seed)
    model = REPRESENTATIONS[representation](source, target, **build)
    alone = len(further) if set(steps) & {"extractor", "decoder"} else 0  # sentences that something learns from

    def train(model: RegenerationModel, folder: Path, steps: dict[str, int], resume: bool) -> list[StageResult]:
        return train_regenerator(
            model,
            processor,
            pairs,
            folder,
            source_column=options.source_column,
            target_column=column,
            unpaired=further if len(further) and set(steps) & {"extractor", "decoder"} else None,
            samples=held[options.source_column][:8],
            on_bad_example=options.on_bad_example,
            resume=resume,
            report_to=options.report_to,
            **task.stage_arguments(RECIPES, steps, options.seed),
        )

    started = time.perf_counter()
    if "language_model" in build:  # the prior is learned whole, and then adapters of the decoder, which name it
        results = train(model, folder / "base", {"prior": steps["prior"]}, options.resume)
        model = RegenerationModel.from_pretrained(folder / "base" / "model")
        add_lora(model, ["decoder"], rank=16)
        results += train(model, folder, {"decoder": steps["decoder"]}, options.resume)
    else:
        results = train(model, folder, steps, options.resume)
    costs = task.costs(results, started)
    plot_losses(results, folder / "curves.png")
    started = time.perf_counter()
    pipe = pipeline("regeneration", model=str(folder / "model"))
    metrics, written = measure(pipe, held, options.source_column, column)
    if not options.dataset:
        metrics |= of_names(pipe.processor.target, held, options.source_column, column)
    with open(folder / "samples.tsv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["source", "true", "written"])
        table.writerows(zip(held[options.source_column], held[column], written, strict=True))
    metrics |= {"pairs": len(pairs), "unpaired": alone, **costs}
    metrics["seconds_evaluation"] = round(time.perf_counter() - started, 1)
    how = f"with adapters on {options.language_model}" if "language_model" in build else "from nothing"
    task.describe(
        folder,
        metrics,
        title=f"Signature to sentence by way of {representation}",
        description=f"Trained {how} on {len(pairs):,} pairs of "
        f"{options.dataset or 'signatures and docstrings of installed packages'} and {alone:,} sentences. "
        f"One {'source' if options.dataset else 'package'} in ten was held out.",
        example=held[options.source_column][0],
        pipeline_tag="text-generation",
    )
    return metrics


def direct_map(options: argparse.Namespace, data, parameters: int) -> Callable[[Path, dict[str, int]], dict]:
    """What trains the direct map from signatures to sentences: the same family, and about as many parameters."""
    text = pieces(options, data)

    def count(width: int) -> int:
        return REPRESENTATIONS["identity"](text, text, width=width, layers=4).num_parameters()

    width = comparison.same_size(count, range(128, 385, 8), parameters)
    return lambda folder, steps: train_and_measure(options, folder, data, "identity", steps, width=width, layers=4)


def main(argv: list[str] | None = None) -> None:
    options = parse_arguments(argv)
    started = time.perf_counter()
    logging.disable_progress_bar()
    task.begin(options)
    data = load_data(options)
    if not len(data[0]) or not len(data[2]):
        raise ValueError(f"{len(data[0])} pairs and {len(data[2])} held-out ones are too few.")
    steps = task.scaled(STEPS[options.representation], options.scale)
    build = {"language_model": options.language_model} if options.language_model else {}
    metrics = train_and_measure(options, options.output, data, options.representation, steps, **build)
    task.write_metrics(options.output, metrics, started)
    if options.compare:
        train = direct_map(options, data, metrics["parameters"])
        comparison.compare(train, options.output, metrics, TRIAL, options.resume)
    print(json.dumps(metrics, indent=2))
    print(f"look at {options.output / 'samples.tsv'} and {options.output / 'curves.png'}")


if __name__ == "__main__":
    task.end_with(main)
