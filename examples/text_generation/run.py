"""Trains what writes the first sentence of a function's docstring from its signature, from nothing, and measures it.

python examples/text_generation/run.py                              # Y′ = keywords in order
python examples/text_generation/run.py --representation text_codes  # another Y′, by one argument
python examples/text_generation/run.py --language-model openai-community/gpt2  # adapters on it as the decoder
python examples/text_generation/run.py --dataset FOLDER_OR_HUB_NAME --source-column title --target-column summary
"""

import argparse
import csv
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import comparison
import task
import torch
from data import functions, split
from evaluate import measure, of_names
from models import LONGEST, REPRESENTATIONS, SIGNATURE
from transformers import AutoTokenizer

from regen_hf import (
    RegenerationModel,
    RegenerationPipeline,
    RegenerationProcessor,
    StageArguments,
    StageResult,
    TextModality,
    add_lora,
    check_columns,
    check_texts,
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
VOCABULARY_SIZE = 4000
TRIAL = 60  # steps of the end-to-end baseline that are timed, to find how many fit into its time


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
    comparison.add_option(parser)
    options = parser.parse_args(argv)
    if options.language_model and options.representation != "keywords":
        parser.error(f"--language-model reads keywords, not the representation {options.representation}")
    if options.language_model and options.compare:
        parser.error("--compare needs an end-to-end baseline of one size and vocabulary: --language-model has none")
    return options


def load_data(options: argparse.Namespace):
    """Pairs, further sentences, and held-out pairs, as datasets."""
    if options.dataset:
        parts = split_dataset(options)
    else:
        parts = split(functions(Path("outputs/text_data")), options.pairs, options.unpaired, options.heldout)
        names = {"signature": options.source_column, "sentence": options.target_column}
        parts = [part.rename_columns({k: names[k] for k in part.column_names if k != names[k]}) for part in parts]
    pairs, further, held = parts
    if not len(pairs) or not len(held):
        raise ValueError(f"{len(pairs)} pairs and {len(held)} held-out ones are too few.")
    return pairs, further, held


def split_dataset(options: argparse.Namespace):
    rows = task.named_dataset(options.dataset, options.dataset_split)
    check_columns(rows, [options.source_column, options.target_column])
    reads = {options.source_column: check_texts, options.target_column: partial(check_texts, name="target")}
    rows = readable_examples(rows, reads, options.on_bad_example)
    trained, held = task.split_by_text(rows[options.source_column])
    further = rows.select(trained[: options.unpaired]).select_columns([options.target_column])
    return rows.select(trained[: options.pairs]), further, rows.select(held[: options.heldout])


def subword_text(options: argparse.Namespace, data) -> TextModality:
    """In subword tokens that are learned from all texts of training."""
    pairs, further, _ = data
    texts = [*pairs[options.source_column], *pairs[options.target_column], *further[options.target_column]]
    return TextModality.from_pieces(texts, VOCABULARY_SIZE, max_length=LONGEST)


def train_and_measure(
    options: argparse.Namespace, folder: Path, data, representation: str, steps: dict[str, int], **sizes
) -> dict:
    """One regenerator from nothing, or with a language model as its decoder; returns its metrics."""
    pairs, further, held = data
    columns = options.source_column, options.target_column
    target, named = subword_text(options, data), options.language_model
    source = TextModality(target.tokenizer, SIGNATURE)
    if named:
        target = TextModality(AutoTokenizer.from_pretrained(named, trust_remote_code=False), LONGEST)
    torch.manual_seed(options.seed)
    model = REPRESENTATIONS[representation](source, target, **sizes, **({"language_model": named} if named else {}))
    unpaired = further if len(further) and set(steps) & {"extractor", "decoder"} else None
    spent = task.train(
        options,
        model,
        RegenerationProcessor(source, target),
        pairs,
        folder,
        task.stage_arguments(RECIPES, steps, options.seed),
        by=train_adapters if named else train_regenerator,
        source_column=options.source_column,
        target_column=options.target_column,
        unpaired=unpaired,
        samples=held[options.source_column][:8],
        on_bad_example=options.on_bad_example,
    )

    def measure_and_show(pipe: RegenerationPipeline) -> dict:
        metrics, written = measure(pipe, held, *columns)
        if not options.dataset:
            metrics |= of_names(pipe.processor.target, held, *columns)
        write_samples(zip(*(held[column] for column in columns), written, strict=True), folder / "samples.tsv")
        return metrics | {"pairs": len(pairs), "unpaired": len(unpaired or [])}

    metrics = task.evaluate(folder, measure_and_show, spent)
    describe(options, folder, metrics, representation, example=held[options.source_column][0])
    return metrics


def train_adapters(
    model: RegenerationModel,
    processor: RegenerationProcessor,
    pairs,
    folder: Path,
    prior: StageArguments,
    decoder: StageArguments,
    unpaired=None,
    **settings,
) -> list[StageResult]:
    """The prior is learned whole, and then adapters of the decoder, which refer to the model in `base`."""
    results = train_regenerator(model, processor, pairs, folder / "base", prior=prior, **settings)
    model = RegenerationModel.from_pretrained(folder / "base" / "model")
    add_lora(model, ["decoder"], rank=16)
    return results + train_regenerator(model, processor, pairs, folder, decoder=decoder, unpaired=unpaired, **settings)


def write_samples(rows: Iterable[tuple[str, str, str]], path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["source", "true", "written"])
        table.writerows(rows)


def describe(options: argparse.Namespace, folder: Path, metrics: dict, representation: str, example: str) -> None:
    how = f"with adapters on {options.language_model}" if options.language_model else "from nothing"
    task.describe(
        options,
        folder,
        metrics,
        title=f"Signature to sentence by way of {representation}",
        description=f"Trained {how} on {metrics['pairs']:,} pairs of "
        f"{options.dataset or 'signatures and docstrings of installed packages'} and {metrics['unpaired']:,} "
        f"sentences. One {'source' if options.dataset else 'package'} in ten was held out.",
        example=example,
        pipeline_tag="text-generation",
    )


def baseline(options: argparse.Namespace, data, parameters: int) -> dict[str, int]:
    """How wide four layers are that make the end-to-end baseline, from signatures to sentences, about as large."""
    text = subword_text(options, data)

    def count(width: int) -> int:
        return REPRESENTATIONS["identity"](text, text, width=width, layers=4).num_parameters()

    return {"width": comparison.same_size(count, range(128, 385, 8), parameters), "layers": 4}


def main(argv: list[str] | None = None) -> None:
    options = parse_arguments(argv)
    task.run(options, load_data, train_and_measure, baseline, STEPS[options.representation], TRIAL)
    print(f"look at {options.output / 'samples.tsv'} and {options.output / 'curves.png'}")


if __name__ == "__main__":
    task.end_with(main)
