"""Trains what makes a clip of a sentence, from nothing, and measures it on held-out sentences.

python examples/video_generation/run.py                         # moving emoji, by way of latents of each frame
python examples/video_generation/run.py --representation lowres # another Y′, by one argument
python examples/video_generation/run.py --dataset FOLDER_OR_HUB_NAME --text-column caption --video-column video
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
from data import clips
from emoji_data import emoji_dataset
from evaluate import measure
from models import PATCH, REPRESENTATIONS
from transformers import pipeline
from transformers.utils import logging

from regen_hf import (
    RegenerationProcessor,
    TextModality,
    VideoModality,
    check_columns,
    check_texts,
    plot_losses,
    readable_examples,
    save_video,
    train_regenerator,
)

STEPS = {
    "latents": {"extractor": 750, "prior": 930},
    "lowres": {"prior": 500, "decoder": 450},
    "identity": {"prior": 2000},
}
MUON = {"learning_rate": 8e-3, "optimizer": "muon"}
RECIPES = {
    "extractor": {"learning_rate": 2e-3, "warmup_steps": 50, "batch_size": 8},
    "prior": {**MUON, "warmup_steps": 100, "batch_size": 64, "ema_decay": 0.998},
    "decoder": {**MUON, "warmup_steps": 50, "batch_size": 8, "ema_decay": 0.995},
}
TRIAL = 20  # steps of the direct map that tell how many fit into its time


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = task.make_parser(__doc__, "outputs/video_generation", REPRESENTATIONS, "latents")
    parser.add_argument("--things", type=task.at_least(1), default=300, help="how many emoji move")
    parser.add_argument("--size", type=int, default=32, help="height and width in pixels")
    parser.add_argument("--num-frames", type=task.at_least(2), default=16, help="of each clip")
    parser.add_argument(
        "--heldout", type=task.at_least(1), default=300, help="how many held-out sentences to measure on"
    )
    parser.add_argument("--text-column", default="text", help="the dataset's column of sentences")
    parser.add_argument("--video-column", default="video", help="its column of clips")
    parser.add_argument("--compare", action="store_true", help="then train the direct map for as long, and measure it")
    options = parser.parse_args(argv)
    if options.compare and (options.num_frames % PATCH[0] or options.size % PATCH[1]):
        parser.error(f"--compare needs a multiple of {PATCH[0]} for --num-frames and of {PATCH[1]} for --size")
    return options


def load_data(options: argparse.Namespace, target: VideoModality):
    """Rows to learn from and held-out rows."""
    columns = [options.text_column, options.video_column]
    if options.dataset:
        rows = task.named_dataset(options.dataset, options.dataset_split, options.video_column)
        check_columns(rows, columns)
        rows = target.prepare_column(rows, options.video_column)
        reads = dict(zip(columns, (check_texts, target.as_target), strict=True))
        rows = readable_examples(rows, reads, options.on_bad_example)
    else:
        rows = clips(emoji_dataset(4 * options.size), options.size, options.num_frames, options.things)
        rows = rows.rename_columns({a: b for a, b in zip(("text", "video"), columns, strict=True) if a != b})
    held = [i for i, text in enumerate(rows[options.text_column]) if task.is_held_out(text)]
    trained = sorted(set(range(len(rows))) - set(held))
    return rows.select(trained), rows.select(held[: options.heldout])


def train_and_measure(
    options: argparse.Namespace, folder: Path, data, representation: str, steps: dict[str, int], **build
) -> dict:
    """One regenerator from nothing; returns its metrics."""
    trained, held = data
    text = TextModality.from_words(trained[options.text_column])
    target = VideoModality(options.size, options.num_frames)
    torch.manual_seed(options.seed)
    model = REPRESENTATIONS[representation]((3, options.num_frames, options.size, options.size), text, **build)
    started = time.perf_counter()
    results = train_regenerator(
        model,
        RegenerationProcessor(text, target),
        trained,
        folder,
        source_column=options.text_column,
        target_column=options.video_column,
        samples=list(held[options.text_column][:8]),
        on_bad_example=options.on_bad_example,
        resume=options.resume,
        report_to=options.report_to,
        **task.stage_arguments(RECIPES, steps, options.seed),
    )
    costs = task.costs(results, started)
    plot_losses(results, folder / "curves.png")
    started = time.perf_counter()
    pipe = pipeline("regeneration", model=str(folder / "model"))
    metrics, true, made = measure(pipe, held, options.text_column, options.video_column)
    for i, row in enumerate(made[:4]):
        save_video(row["video"], folder / "clips" / f"{i}.mp4", row["fps"])
    chosen = range(0, len(made), max(1, len(made) // 12))
    captions = [held[options.text_column][i] for i in chosen]
    target.save_samples([made[i] for i in chosen], captions, folder / "samples")
    target.save_samples([true[i] for i in chosen], captions, folder / "true")
    metrics |= {"clips": len(trained), **costs}
    metrics["seconds_evaluation"] = round(time.perf_counter() - started, 1)
    task.describe(
        folder,
        metrics,
        title=f"Sentence to clip by way of {representation}",
        description=f"Trained from nothing on {len(trained):,} clips of "
        f"{options.dataset or f'{options.things} emoji in motion'}. One sentence in ten was held out.",
        example=held[options.text_column][0],
        pipeline_tag="text-to-video",
    )
    return metrics


def direct_map(options: argparse.Namespace, data, parameters: int) -> Callable[[Path, dict[str, int]], dict]:
    """What trains the direct map from sentences to clips: the same family, and about as many parameters."""
    text = TextModality.from_words(data[0][options.text_column])
    clip = (3, options.num_frames, options.size, options.size)

    def count(layers: int) -> int:
        return REPRESENTATIONS["identity"](clip, text, layers=layers).num_parameters()

    layers = comparison.same_size(count, range(4, 17), parameters)
    return lambda folder, steps: train_and_measure(options, folder, data, "identity", steps, layers=layers)


def main(argv: list[str] | None = None) -> None:
    options = parse_arguments(argv)
    started = time.perf_counter()
    logging.disable_progress_bar()
    task.begin(options)
    data = load_data(options, VideoModality(options.size, options.num_frames))
    if not len(data[0]) or not len(data[1]):
        raise ValueError(f"{len(data[0])} clips and {len(data[1])} held-out ones are too few.")
    steps = task.scaled(STEPS[options.representation], options.scale)
    metrics = train_and_measure(options, options.output, data, options.representation, steps)
    task.write_metrics(options.output, metrics, started)
    if options.compare:
        train = direct_map(options, data, metrics["parameters"])
        comparison.compare(train, options.output, metrics, TRIAL, options.resume)
    print(json.dumps(metrics, indent=2))
    print(
        f"look at {options.output / 'samples.gif'}, {options.output / 'true.gif'} and {options.output / 'curves.png'}"
    )


if __name__ == "__main__":
    task.end_with(main)
