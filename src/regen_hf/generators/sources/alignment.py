"""How a target that is read out, such as speech, lies along its source, such as text."""

import numpy as np
import torch
from torch import nn


def ctc_loss(
    logits: torch.Tensor, logits_mask: torch.Tensor, target: torch.Tensor, target_mask: torch.Tensor | None = None
) -> torch.Tensor:
    """The connectionist temporal classification loss (Graves et al., 2006), by code, the mean over rows, in float32.

    Rows whose target does not fit into their places count as 0.

    Args:
        logits: `(batch, places, num_codes + 1)`, the last of which is the blank.
        logits_mask: `(batch, places)`; 1 where they are real.
        target, target_mask: codes `(batch, length)`; true where they are real.
    """
    mask = torch.ones_like(target) if target_mask is None else target_mask
    return nn.functional.ctc_loss(
        logits.float().log_softmax(-1).transpose(0, 1), target, logits_mask.sum(1).long(), mask.sum(1),
        blank=logits.shape[-1] - 1, zero_infinity=True,
    )  # fmt: skip


def monotonic_alignment(likelihood: torch.Tensor, source_mask: torch.Tensor, target_mask: torch.Tensor) -> torch.Tensor:
    """How many places of the target each place of the source stands for, on the likeliest path that goes through both
    in order and leaves nothing out (Kim et al., 2020, Glow-TTS, section 3.1).

    Args:
        likelihood: `(batch, source, target)`, the log-likelihood of each place of the target at each of the source.
        source_mask, target_mask: `(batch, source)` and `(batch, target)`, each row true first and then false; no row
            of the source is longer than that of the target.

    Returns:
        Durations `(batch, source)`, `torch.long`, whose sum is the target's length; 0 where the source is padding.

    Example:
        >>> likelihood = torch.tensor([[[0.0, 0.0, -9.0], [-9.0, -9.0, 0.0]]])
        >>> monotonic_alignment(likelihood, torch.ones(1, 2).bool(), torch.ones(1, 3).bool()).tolist()
        [[2, 1]]
    """
    sources, targets = source_mask.sum(1).cpu().numpy(), target_mask.sum(1).cpu().numpy()
    if (sources > targets).any():
        row = int((sources > targets).argmax())
        raise ValueError(
            f"row {row} has {sources[row]} places in the source and {targets[row]} in the target; each of the source "
            "needs at least one."
        )
    values = likelihood.detach().float().cpu().numpy()
    rows, places = np.arange(len(values)), np.arange(values.shape[1])
    best = np.full(values.shape[:2], -np.inf, np.float32)
    moved = np.zeros((values.shape[2], *values.shape[:2]), bool)
    for step in range(values.shape[2]):
        before = np.pad(best[:, :-1], ((0, 0), (1, 0)), constant_values=0.0 if step == 0 else -np.inf)
        moved[step] = before > best
        best = np.where(places <= step, np.maximum(best, before) + values[:, :, step], -np.inf).astype(np.float32)
    durations = np.zeros(values.shape[:2], np.int64)
    place = sources - 1
    for step in range(values.shape[2] - 1, -1, -1):
        inside = step < targets
        durations[rows[inside], place[inside]] += 1
        place = place - (inside & moved[step, rows, place])
    return torch.from_numpy(durations).to(likelihood.device)


def expand(hidden: torch.Tensor, durations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each hidden state `(batch, source, width)` as often as its duration `(batch, source)` says, and the mask."""
    lengths = durations.sum(1)
    steps = torch.arange(int(lengths.max()), device=hidden.device)
    places = torch.searchsorted(durations.cumsum(1), steps.expand(len(hidden), -1).contiguous(), right=True)
    mask = steps < lengths[:, None]
    places = places.clamp(max=hidden.shape[1] - 1)
    return hidden.gather(1, places[:, :, None].expand(-1, -1, hidden.shape[2])) * mask[:, :, None], mask
