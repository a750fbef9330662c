"""What connectionist temporal classification says, found the long way."""

import itertools
import math

import torch


def collapse(path, blank: int) -> tuple[int, ...]:
    return tuple(code for code, _ in itertools.groupby(path) if code != blank)


def by_all_alignments(log_probs: torch.Tensor) -> dict[tuple[int, ...], float]:
    """The probability of each output of one row, by adding up every path there is."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        output = collapse(path, log_probs.shape[1] - 1)
        chance = math.exp(sum(log_probs[place, code].item() for place, code in enumerate(path)))
        found[output] = found.get(output, 0.0) + chance
    return found
