"""From what each place of a source says to what it says as a whole: the likeliest path, and the beam search."""

import numpy as np
import torch

from ...parts.outputs import Representation

LEAST_PROBABILITY = 1e-3
"""Codes that are less probable at a place are not tried there by the beam search."""


def prefix_beam_search(log_probs: np.ndarray, num_beams: int) -> list[tuple[list[int], float]]:
    """The likeliest outputs of one row, best first, each with the log of its probability over its alignments (Hannun et
    al., 2014, algorithm 1).

    Args:
        log_probs: `(places, num_codes + 1)`, the last of which is the blank.
        num_beams: how many beginnings are kept at each place.
    """
    beginnings: list[tuple[int, ...]] = [()]
    in_blank, in_code = np.zeros(1), np.full(1, -np.inf)  # of the alignments that end in a blank, or in the last code
    for place in log_probs.astype(np.float64):
        codes, blank = place[:-1], place[-1]
        last, total = np.array([each[-1] if each else -1 for each in beginnings]), np.logaddexp(in_blank, in_code)
        grown = total[:, None] + codes
        grown[np.arange(len(last)), last] = in_blank + codes[last]  # without a blank between, it is the same code
        in_blank, in_code = total + blank, in_code + codes[last]
        index = {each: row for row, each in enumerate(beginnings)}
        children = [row for row, each in enumerate(beginnings) if each and each[:-1] in index]
        joined = [index[beginnings[row][:-1]] for row in children], last[children]
        in_code[children] = np.logaddexp(in_code[children], grown[joined])
        grown[joined] = -np.inf
        tried = np.flatnonzero(codes >= np.log(LEAST_PROBABILITY))
        candidates = np.concatenate([np.logaddexp(in_blank, in_code), grown[:, tried].flatten()])
        best = np.argsort(-candidates, kind="stable")[:num_beams]
        best = best[np.isfinite(candidates[best])]
        stay, grow = best[best < len(last)], best[best >= len(last)]
        rows, columns = np.divmod(grow - len(last), max(len(tried), 1))
        grown_from = zip(rows, tried[columns].tolist(), strict=True)
        beginnings = [beginnings[row] for row in stay] + [(*beginnings[row], code) for row, code in grown_from]
        in_blank = np.concatenate([in_blank[stay], np.full(len(grow), -np.inf)])
        in_code = np.concatenate([in_code[stay], candidates[grow]])
    total = np.logaddexp(in_blank, in_code)
    return [(list(beginnings[row]), float(total[row])) for row in np.argsort(-total, kind="stable")]


def best_path(log_probs: torch.Tensor) -> list[tuple[list[int], float]]:
    """The output of the likeliest alignment of one row."""
    scores, codes = log_probs.max(dim=-1)
    codes = codes.unique_consecutive()
    return [(codes[codes < log_probs.shape[1] - 1].tolist(), scores.sum().item())]


def padded(found: list[tuple[list[int], float]], device: torch.device) -> Representation:
    lengths = torch.tensor([len(codes) for codes, _ in found])
    mask = torch.arange(max(int(lengths.max()), 1)) < lengths[:, None]
    values = torch.zeros(mask.shape, dtype=torch.long)
    values[mask] = torch.tensor([code for codes, _ in found for code in codes], dtype=torch.long)
    scores = torch.tensor([score for _, score in found])
    return Representation(values.to(device), mask.to(device), scores.to(device))
