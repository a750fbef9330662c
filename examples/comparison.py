"""The end-to-end baseline: how it gets as many parameters as the way over Y′, and as much time."""

import argparse
import json
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path


def add_option(parser: argparse.ArgumentParser) -> None:
    what = "then train the end-to-end baseline for as long, and measure it"
    parser.add_argument("--compare", action="store_true", help=what)


def same_size(count: Callable[[int], int], sizes: Sequence[int], parameters: int) -> int:
    """The size that gives a model the number of parameters nearest to this one.

    Args:
        count: how many a model of a size has, more with each size.
        sizes: in order.

    Raises:
        ValueError: where that is more than 5 % away.
    """
    place = bisect_left(sizes, parameters, key=count)
    size = min(sizes[max(0, place - 1) : place + 1], key=lambda size: abs(count(size) - parameters))
    if abs(count(size) - parameters) > 0.05 * parameters:
        raise ValueError(
            f"no end-to-end baseline has {parameters:,} parameters, the nearest {count(size):,}: more than 5 % off."
        )
    return size


def compare(
    train: Callable[[Path, dict[str, int]], dict], folder: Path, metrics: dict, trial: int, resume: bool = False
) -> dict:
    """What the end-to-end baseline reaches, with the prefix `direct_`. Its training steps alone take as long as the way
    over Y′ took with all its stages and what is between them.

    Args:
        train: trains it in a folder for these steps of each stage, and gives its metrics.
        folder: of the whole run; its metrics.json is written anew.
        metrics: of the way over Y′.
        trial: how many steps are timed to find how many fit into the time.
        resume: take as many as the run that was interrupted, if it knew.
    """
    noted = folder / "direct" / "steps.json"
    if resume and noted.is_file():
        steps = json.loads(noted.read_text(encoding="utf-8"))
    else:
        timed = train(folder / "direct" / "trial", {"prior": trial})
        steps = {"prior": max(1, round(trial * metrics["seconds_training"] / timed["seconds_prior"]))}
        noted.parent.mkdir(parents=True, exist_ok=True)
        noted.write_text(json.dumps(steps), encoding="utf-8")
    direct = train(folder / "direct", steps)
    metrics |= {f"direct_{name}": value for name, value in direct.items()}
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return metrics
