"""Trains a text-to-image regenerator from nothing, generates for names it has never seen, and measures it.

python examples/image_generation/run.py                          # emoji, latents, about 9 minutes on 2 CPU cores
python examples/image_generation/run.py --representation codes   # another Y′, by one argument
python examples/image_generation/run.py --dataset FOLDER_OR_HUB_NAME --text-column text --image-column image
"""

import argparse
import sys
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

from regen_hf import (
    ImageModality,
    RegenerationPipeline,
    RegenerationProcessor,
    TextModality,
    check_columns,
    check_texts,
    readable_examples,
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
TRIAL = 40  # steps of the end-to-end baseline that are timed, to find how many fit into its time


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = task.make_parser(__doc__, "outputs/image_generation", REPRESENTATIONS, "latents")
    parser.add_argument("--size", type=int, choices=(32, 64), default=32, help="height and width in pixels")
    parser.add_argument("--font", type=Path, help="file of the colour emoji font, if it is not the system's")
    parser.add_argument("--text-column", default="text", help="its column of descriptions")
    parser.add_argument("--image-column", default="image", help="its column of images")
    comparison.add_option(parser)
    return parser.parse_args(argv)


def load_data(options: argparse.Namespace):
    """Rows to learn from, held-out rows, and which of those to generate for."""
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
    return trained, held, asked


def train_and_measure(
    options: argparse.Namespace, folder: Path, data, representation: str, steps: dict[str, int], **sizes
) -> dict:
    """One regenerator from nothing; returns its metrics."""
    trained, held, asked = data
    columns = options.text_column, options.image_column
    text = TextModality.from_words(trained[options.text_column])
    processor = RegenerationProcessor(text, ImageModality(options.size))
    torch.manual_seed(options.seed)
    model = REPRESENTATIONS[representation](options.size, text, **sizes)
    model.extractor.to(memory_format=torch.channels_last)
    held_texts = held[options.text_column]
    spent = task.train(
        options,
        model,
        processor,
        trained,
        folder,
        task.stage_arguments(RECIPES, steps, options.seed),
        source_column=options.text_column,
        target_column=options.image_column,
        unpaired=mirrored(trained, options.image_column) if set(steps) & {"extractor", "decoder"} else None,
        samples=[held_texts[k] for k in asked[:: max(1, len(asked) // 16)][:16]],
    )

    def measure_and_show(pipe: RegenerationPipeline) -> dict:
        metrics = measure(pipe, held, asked, *columns)
        sample_sheet(pipe, held, asked, *columns, folder / "samples.png")
        return metrics

    metrics = task.evaluate(folder, measure_and_show, spent)
    task.describe(
        options,
        folder,
        metrics,
        title=f"Text to image by way of {representation}",
        description=f"Trained from nothing on {options.dataset or 'the emoji of a colour font and their names'}, "
        f"{len(trained):,} pairs of {options.size} × {options.size} pixels. One name in ten was held out.",
        example=held_texts[asked[0]],
        pipeline_tag="text-to-image",
    )
    return metrics


def baseline(options: argparse.Namespace, data, parameters: int) -> dict[str, int]:
    """How many layers make the end-to-end baseline, from text to pixels, about as large."""
    text = TextModality.from_words(data[0][options.text_column])

    def count(layers: int) -> int:
        return REPRESENTATIONS["identity"](options.size, text, num_layers=layers).num_parameters()

    return {"num_layers": comparison.same_size(count, range(1, 16), parameters)}


def main(argv: list[str] | None = None) -> None:
    options = parse_arguments(argv)
    task.run(options, load_data, train_and_measure, baseline, STEPS[options.representation], TRIAL)
    print(f"look at {options.output / 'samples.png'} and {options.output / 'curves.png'}")


if __name__ == "__main__":
    task.end_with(main)
