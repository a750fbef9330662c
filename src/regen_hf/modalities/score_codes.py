"""What the codes of a score mean: a grid of voices and steps, a code for each."""

import torch

REST, HOLD, FIRST_PITCH = 0, 1, 2
"""Silence, the note goes on, and from the third on a note of each pitch begins."""


def begins(codes: torch.Tensor) -> torch.Tensor:
    """Where a note begins; `(..., steps)`, as the codes."""
    return codes >= FIRST_PITCH


def sounding(codes: torch.Tensor) -> torch.Tensor:
    """The code with which what sounds at each step began, or `REST`; `(..., steps)`, as the codes.

    Example:
        >>> sounding(torch.tensor([1, 9, 1, 0, 1]))  # what goes on where there is nothing is silence
        tensor([0, 9, 9, 0, 0])
    """
    steps = torch.arange(codes.shape[-1], device=codes.device).expand_as(codes)
    last = steps.masked_fill(codes == HOLD, 0).cummax(-1).values
    found = codes.gather(-1, last)
    return found.masked_fill(found == HOLD, REST)
