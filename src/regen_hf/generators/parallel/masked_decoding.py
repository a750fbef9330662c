"""Masked codes made in a few steps, the most confident first (Chang et al., 2022, section 3.2)."""

import math
from collections.abc import Callable

import torch

from ...parts.generation import check_finite

SCHEDULES = {
    "cosine": lambda ratio: torch.cos(ratio * math.pi / 2),
    "linear": lambda ratio: 1 - ratio,
    "all": torch.ones_like,
}
"""How much is masked after which part of the steps, as diffusers' `AmusedScheduler` has it; or all until the end."""


def fill(
    codes: torch.Tensor,
    predict: Callable[[], torch.Tensor],
    steps: int,
    *,
    mask: int,
    schedule: str,
    temperature: float,
    choice_temperature: float,
    real: torch.Tensor | None,
    generators: list[torch.Generator] | None,
) -> None:
    """Makes the codes that are masked, in place.

    The steps are those of diffusers' `AmusedScheduler`, which itself draws a random number for each code of each
    position: on a CPU a fifth of the time of all.

    Args:
        codes: `(batch, codebooks, length)`, `mask` where a code is to be made.
        predict: gives logits `(batch, codebooks × length, num_codes)` of all of them, as they are now.
        steps: how often it is asked.
        schedule: one of `SCHEDULES`.
        temperature: flattens what codes are drawn from.
        choice_temperature: the noise in which codes are kept, which falls to 0 at the last step.
        real: `(batch, length)`, false where there is padding; `None` where there is none.
        generators: one for each row, or `None` for torch's global random numbers.
    """
    made = codes.flatten(1)
    every = (made == mask).sum(1)
    noises = torch.linspace(choice_temperature, 0, steps)
    for step in range(1, steps + 1):
        logits = predict() / temperature
        check_finite(logits, "MaskedGenerator made logits with")
        uniform = _uniform(codes, real, generators)
        hidden = made == mask
        drawn, chances = _draw(logits, uniform[:, 0])
        gumbel = -(-uniform[:, 1].clamp(1e-20).log()).clamp(1e-20).log()
        confidence = chances.clamp(1e-20).log() + noises[step - 1] * gumbel
        order = confidence.masked_fill(~hidden, torch.inf).argsort(1).argsort(1)
        left = (every * SCHEDULES[schedule](torch.tensor(step / steps))).floor()
        left = torch.minimum(hidden.sum(1) - 1, left).clamp(min=1) if step < steps else 0 * every
        taken = torch.where(hidden, drawn, made)
        made = taken.masked_fill(hidden & (order < left[:, None]), mask)
        codes.copy_(made.view_as(codes))


def split_steps(steps: int, books: int) -> list[int]:
    """Steps of each codebook: those after the first get half as many (Ziv et al., 2024, section 4)."""
    others = max(1, steps // (books + 1))
    return [steps - others * (books - 1)] + [others] * (books - 1)


def _draw(logits: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes `(batch, length)` by inverting their distribution at numbers from 0 to 1, and their probabilities."""
    chances = logits.softmax(-1)
    drawn = torch.searchsorted(chances.cumsum(-1), uniform[..., None].contiguous()).clamp(max=logits.shape[-1] - 1)
    return drawn[..., 0], chances.gather(-1, drawn)[..., 0]


def _uniform(codes: torch.Tensor, real: torch.Tensor | None, generators: list[torch.Generator] | None) -> torch.Tensor:
    """`(batch, 2, codebooks × length)` numbers from 0 to 1 for codes `(batch, codebooks, length)`; those of a row do
    not depend on how much padding it has."""
    rows, books, length = codes.shape
    if generators is None:
        return torch.rand(rows, 2, books * length, device=codes.device)
    drawn = torch.zeros(rows, length, books, 2)
    lengths = [length] * rows if real is None else real.sum(1).tolist()
    for row, own, generator in zip(drawn, lengths, generators, strict=True):
        row[:own] = torch.rand(own, books, 2, generator=generator)
    return drawn.permute(0, 3, 2, 1).flatten(2).to(codes.device)
