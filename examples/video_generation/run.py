"""Trains what makes a clip of a sentence, from nothing, and measures it on held-out sentences.

python examples/video_generation/run.py                         # moving emoji, by way of latents of each frame
python examples/video_generation/run.py --representation lowres # another Y′, by one argument
python examples/video_generation/run.py --dataset FOLDER_OR_HUB_NAME --text-column caption --video-column video
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import comparison
import task
import torch
from data import clips
from emoji_data import emoji_dataset
from evaluate import measure
from models import PATCH, REPRESENTATIONS

from regen_hf import (
    RegenerationPipeline,
    RegenerationProcessor,
    TextModality,
    VideoModality,
    check_columns,
    check_texts,
    readable_examples,
    save_video,
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
TRIAL = 20  # steps of the end-to-end baseline that are timed, to find how many fit into its time


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
    comparison.add_option(parser)
    options = parser.parse_args(argv)
    if options.compare and (options.num_frames % PATCH[0] or options.size % PATCH[1]):
        parser.error(f"--compare needs a multiple of {PATCH[0]} for --num-frames and of {PATCH[1]} for --size")
    return options


def load_data(options: argparse.Namespace):
    """Rows to learn from and held-out rows."""
    target = VideoModality(options.size, options.num_frames)
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
    trained, held = task.split_by_text(rows[options.text_column])
    held = held[: options.heldout]
    if not trained or not held:
        raise ValueError(f"{len(trained)} clips and {len(held)} held-out ones are too few.")
    return rows.select(trained), rows.select(held)


def train_and_measure(
    options: argparse.Namespace, folder: Path, data, representation: str, steps: dict[str, int], **sizes
) -> dict:
    """One regenerator from nothing; returns its metrics."""
    trained, held = data
    text = TextModality.from_words(trained[options.text_column])
    target = VideoModality(options.size, options.num_frames)
    torch.manual_seed(options.seed)
    model = REPRESENTATIONS[representation]((3, options.num_frames, options.size, options.size), text, **sizes)
    spent = task.train(
        options,
        model,
        RegenerationProcessor(text, target),
        trained,
        folder,
        task.stage_arguments(RECIPES, steps, options.seed),
        source_column=options.text_column,
        target_column=options.video_column,
        samples=list(held[options.text_column][:8]),
        on_bad_example=options.on_bad_example,
    )

    def measure_and_show(pipe: RegenerationPipeline) -> dict:
        metrics, true, made = measure(pipe, held, options.text_column, options.video_column)
        save_clips(target, list(held[options.text_column]), true, made, folder)
        return metrics | {"clips": len(trained)}

    metrics = task.evaluate(folder, measure_and_show, spent)
    task.describe(
        options,
        folder,
        metrics,
        title=f"Sentence to clip by way of {representation}",
        description=f"Trained from nothing on {len(trained):,} clips of "
        f"{options.dataset or f'{options.things} emoji in motion'}. One sentence in ten was held out.",
        example=held[options.text_column][0],
        pipeline_tag="text-to-video",
    )
    return metrics


def save_clips(target: VideoModality, texts: list[str], true: list[dict], made: list[dict], folder: Path) -> None:
    """Some generated clips as MP4, and a dozen of them and of the true ones as a GIF each."""
    for i, row in enumerate(made[:4]):
        save_video(row["video"], folder / "clips" / f"{i}.mp4", row["fps"])
    chosen = range(0, len(made), max(1, len(made) // 12))
    captions = [texts[i] for i in chosen]
    target.save_samples([made[i] for i in chosen], captions, folder / "samples")
    target.save_samples([true[i] for i in chosen], captions, folder / "true")


def baseline(options: argparse.Namespace, data, parameters: int) -> dict[str, int]:
    """How many layers make the end-to-end baseline, from sentences to clips, about as large."""
    text = TextModality.from_words(data[0][options.text_column])
    clip = (3, options.num_frames, options.size, options.size)

    def count(layers: int) -> int:
        return REPRESENTATIONS["identity"](clip, text, layers=layers).num_parameters()

    return {"layers": comparison.same_size(count, range(4, 17), parameters)}


def main(argv: list[str] | None = None) -> None:
    options = parse_arguments(argv)
    task.run(options, load_data, train_and_measure, baseline, STEPS[options.representation], TRIAL)
    print(
        f"look at {options.output / 'samples.gif'}, {options.output / 'true.gif'} and {options.output / 'curves.png'}"
    )


if __name__ == "__main__":
    task.end_with(main)
