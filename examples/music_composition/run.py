"""Trains what composes four voices, for a melody or a form, from nothing, and measures it on held-out chorales.

python examples/music_composition/run.py                            # Y′ = key, cadences, chords, bass and rhythm
python examples/music_composition/run.py --representation bar_codes # another Y′, by one argument
python examples/music_composition/run.py --source form              # X = key, metre and length, in words
python examples/music_composition/run.py --dataset FOLDER_OR_HUB_NAME --score-column score
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import comparison
import numpy as np
import task
import torch
from data import chorales, named_scores, split
from evaluate import measure
from models import LONGEST, REPRESENTATIONS
from rules import by_the_rules

from regen_hf import RegenerationPipeline, RegenerationProcessor, ScoreModality, TextModality

STEPS = {
    "harmony": {"prior": 1950, "decoder": 420},
    "bar_codes": {"extractor": 1000, "prior": 1000},
    "identity": {"prior": 1250},
}
SHARED = {
    "learning_rate": 6e-3,
    "optimizer": "muon",
    "beta2": 0.98,
    "warmup_steps": 50,
    "batch_size": 16,
    "ema_decay": 0.998,
}
RECIPES = {"extractor": SHARED, "prior": SHARED, "decoder": SHARED}
PREDICTED = {"melody": 1.0, "form": 0.0}  # of Y′ in training; what is made of a form is as long as it comes
COLUMNS = {"melody": "score", "form": "form"}
TRIAL = 100  # steps of the end-to-end baseline that are timed, to find how many fit into its time


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = task.make_parser(__doc__, "outputs/music_composition", REPRESENTATIONS, "harmony")
    parser.add_argument("--source", choices=("melody", "form"), default="melody", help="what X is")
    parser.add_argument("--score-column", default="score", help="the dataset's column of scores")
    parser.add_argument("--piece", type=int, default=64, help="how many steps of a chorale are learned from at once")
    comparison.add_option(parser)
    options = parser.parse_args(argv)
    if options.piece < 8 or options.piece % 8 or options.piece > LONGEST:
        parser.error(f"--piece must be a multiple of 8 up to {LONGEST}, not {options.piece}")
    return options


def load_data(options: argparse.Namespace):
    """Pieces to learn from, and held-out scores or, for forms, pieces of them."""
    if options.dataset:
        rows = task.named_dataset(options.dataset, options.dataset_split)
        rows = named_scores(rows, options.score_column, options.on_bad_example)
    else:
        rows = chorales(Path("outputs/music_data"))
    trained, held = split(rows, options.piece, cut=options.source == "form")
    if not len(trained) or not len(held):
        raise ValueError(f"{len(trained)} pieces and {len(held)} held-out scores are too few.")
    if longer := [row["name"] for row in held if len(row["score"][0]) > LONGEST]:
        raise ValueError(f"the held-out score {longer[0]} has more than {LONGEST} steps: leave it out, or cut it.")
    return trained, held


def train_and_measure(
    options: argparse.Namespace, folder: Path, data, representation: str, steps: dict[str, int], **sizes
) -> dict:
    """One regenerator from nothing; returns its metrics."""
    trained, held = data
    score, source, column = ScoreModality(), source_of(options, trained), COLUMNS[options.source]
    torch.manual_seed(options.seed)
    model = REPRESENTATIONS[representation](score, source, **sizes)
    samples = [np.array(each) if column == "score" else each for each in held[column][:4]]
    recipes = {**RECIPES, "decoder": {**RECIPES["decoder"], "predicted": PREDICTED[options.source]}}
    spent = task.train(
        options,
        model,
        RegenerationProcessor(source, score),
        trained,
        folder,
        task.stage_arguments(recipes, steps, options.seed),
        source_column=column,
        target_column="score",
        samples=samples[:1],
    )

    def measure_and_show(pipe: RegenerationPipeline) -> dict:
        metrics = measure(pipe, held, column)
        made = pipe(samples, **by_the_rules(pipe.model, score.lowest))
        score.save_samples(made, held["name"][:4], folder / "chorales" / "chorale")
        return metrics | {"pieces": len(trained)}

    metrics = task.evaluate(folder, measure_and_show, spent)
    task.describe(
        options,
        folder,
        metrics,
        title=f"{options.source.capitalize()} to four voices by way of {representation}",
        description=f"Trained from nothing on {len(trained):,} pieces of "
        f"{options.dataset or 'chorales by Bach, out of the corpus of music21'}. One in ten was held out.",
        example="melody.musicxml" if options.source == "melody" else held["form"][0],
        pipeline_tag="text-to-audio",
    )
    return metrics


def source_of(options: argparse.Namespace, trained) -> ScoreModality | TextModality:
    return ScoreModality() if options.source == "melody" else TextModality.from_words(trained["form"])


def baseline(options: argparse.Namespace, data, parameters: int) -> dict[str, int]:
    """How wide five layers are that make the end-to-end baseline, from melodies or forms to voices, about as large."""
    score, source = ScoreModality(), source_of(options, data[0])

    def count(width: int) -> int:
        return REPRESENTATIONS["identity"](score, source, width=width, layers=5).num_parameters()

    return {"width": comparison.same_size(count, range(128, 385, 8), parameters), "layers": 5}


def main(argv: list[str] | None = None) -> None:
    options = parse_arguments(argv)
    task.run(options, load_data, train_and_measure, baseline, STEPS[options.representation], TRIAL)
    print(f"look at {options.output / 'chorales'} and {options.output / 'curves.png'}")


if __name__ == "__main__":
    task.end_with(main)
