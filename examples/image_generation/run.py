"""Trains a text-to-image regenerator from nothing, generates for names it has never seen, and measures it.

python examples/image_generation/run.py                          # emoji, latents, about 9 minutes on 2 CPU cores
python examples/image_generation/run.py --representation codes   # another Y′, by one argument
python examples/image_generation/run.py --dataset FOLDER_OR_HUB_NAME --text-column text --image-column image
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import comparison
import task
import torch
from data import mirrored, split
from datasets import load_dataset
from emoji_data import emoji_dataset
from evaluate import measure, sample_sheet
from models import REPRESENTATIONS
from transformers import pipeline
from transformers.utils import logging

from regen_hf import (
    ImageModality,
    RegenerationProcessor,
    TextModality,
    check_columns,
    check_texts,
    plot_losses,
    readable_examples,
    train_regenerator,
)

STEPS = {  # of a whole run of about nine minutes on two cores
    "latents": {"extractor": 2150, "prior": 860},
    "codes": {"extractor": 900, "prior": 350},
    "masked": {"extractor": 900, "prior": 350},
    "lowres": {"prior": 700, "decoder": 700},
    "cascade": {"prior": 700, "decoder": 500},
    "identity": {"prior": 1000},
}
CODEC = {"batch_size": 32, "learning_rate": 2e-3, "beta2": 0.99, "warmup_steps": 50, "ema_decay": 0.995}
PRIOR = {"batch_size": 128, "learning_rate": 8e-3, "optimizer": "muon", "warmup_steps": 100, "ema_decay": 0.998}
RECIPES = {"extractor": CODEC, "prior": PRIOR, "decoder": {**CODEC, "learning_rate": 1e-3}}


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = task.make_parser(__doc__, "outputs/image_generation", REPRESENTATIONS, "latents")
    parser.add_argument("--size", type=int, choices=(32, 64), default=32, help="height and width in pixels")
    parser.add_argument("--font", type=Path, help="file of the colour emoji font, if it is not the system's")
    parser.add_argument("--text-column", default="text", help="its column of descriptions")
    parser.add_argument("--image-column", default="image", help="its column of images")
    parser.add_argument("--compare", action="store_true", help="then train the direct map for as long, and measure it")
    return parser.parse_args(argv)


def train_and_measure(
    options: argparse.Namespace, folder: Path, dataset, representation: str, steps: dict[str, int], **build
) -> dict:
    """One regenerator from nothing; returns its metrics."""
    trained, held, asked = split(dataset, options.text_column)
    text = TextModality.from_words(trained[options.text_column])
    processor = RegenerationProcessor(text, ImageModality(options.size))
    torch.manual_seed(options.seed)
    model = REPRESENTATIONS[representation](options.size, text, **build)
    model.extractor.to(memory_format=torch.channels_last)
    held_texts = held[options.text_column]
    started = time.perf_counter()
    results = train_regenerator(
        model,
        processor,
        trained,
        folder,
        source_column=options.text_column,
        target_column=options.image_column,
        unpaired=mirrored(trained, options.image_column) if set(steps) & {"extractor", "decoder"} else None,
        samples=[held_texts[k] for k in asked[:: max(1, len(asked) // 16)][:16]],
        resume=options.resume,
        report_to=options.report_to,
        **task.stage_arguments(RECIPES, steps, options.seed),
    )
    costs = task.costs(results, started)
    plot_losses(results, folder / "curves.png")
    started = time.perf_counter()
    pipe = pipeline("regeneration", model=str(folder / "model"))
    metrics = measure(pipe, held, asked, options.text_column, options.image_column)
    sample_sheet(pipe, held, asked, options.text_column, options.image_column, folder / "samples.png")
    metrics |= {**costs, "seconds_evaluation": round(time.perf_counter() - started, 1)}
    task.describe(
        folder,
        metrics,
        title=f"Text to image by way of {representation}",
        description=f"Trained from nothing on {options.dataset or 'the emoji of a colour font and their names'}, "
        f"{len(trained):,} pairs of {options.size} × {options.size} pixels. One name in ten was held out.",
        example=held_texts[asked[0]],
        pipeline_tag="text-to-image",
    )
    return metrics


def direct_map(options: argparse.Namespace, dataset, parameters: int) -> Callable[[Path, dict[str, int]], dict]:
    """What trains the direct map from text to pixels: the same family, and about as many parameters."""
    trained, _, _ = split(dataset, options.text_column)
    text = TextModality.from_words(trained[options.text_column])

    def count(layers: int) -> int:
        return REPRESENTATIONS["identity"](options.size, text, num_layers=layers).num_parameters()

    layers = comparison.same_size(count, range(1, 16), parameters)
    return lambda folder, steps: train_and_measure(options, folder, dataset, "identity", steps, num_layers=layers)


def main(argv: list[str] | None = None) -> None:
    options = parse_arguments(argv)
    started = time.perf_counter()
    logging.disable_progress_bar()
    task.begin(options)
    if options.dataset and Path(options.dataset).is_dir():
        dataset = load_dataset("imagefolder", data_dir=options.dataset, split=options.dataset_split)
    elif options.dataset:
        dataset = task.named_dataset(options.dataset, options.dataset_split)
    else:
        dataset = emoji_dataset(options.size, options.font)
    image = ImageModality(options.size)
    check_columns(dataset, [options.text_column, options.image_column])
    dataset = image.prepare_column(dataset, options.image_column)
    reads = {options.text_column: check_texts, options.image_column: image.as_target}
    dataset = readable_examples(dataset, reads, options.on_bad_example)
    trained, held, asked = split(dataset, options.text_column)
    if not asked:
        raise ValueError(
            f"{len(trained)} examples to train on and {len(held)} held out are too few: none of the held-out texts "
            "is made of words that occur in training, so there is nothing to measure on."
        )
    steps = task.scaled(STEPS[options.representation], options.scale)
    metrics = train_and_measure(options, options.output, dataset, options.representation, steps)
    task.write_metrics(options.output, metrics, started)
    if options.compare:
        train = direct_map(options, dataset, metrics["parameters"])
        comparison.compare(train, options.output, metrics, trial=40, resume=options.resume)
    print(json.dumps(metrics, indent=2))
    print(f"look at {options.output / 'samples.png'} and {options.output / 'curves.png'}")


if __name__ == "__main__":
    task.end_with(main)
