"""Errors as a prior makes them, put into codes that are right."""

import torch

from ...parts.outputs import Representation

REPLACED, DROPPED = 0.5, 0.3
"""The shares of perturbed codes that are replaced and dropped; the rest are kept, and a code is put in after each."""


def perturb(codes: torch.Tensor, mask: torch.Tensor | None, share: float, num_codes: int) -> Representation:
    """Codes `(batch, length)` of which some are replaced, dropped or put in, with their mask.

    The share differs from row to row, evenly between 0 and twice `share`, so that some rows are nearly right. At least
    one code of each row is left.
    """
    mask = torch.ones_like(codes, dtype=torch.bool) if mask is None else mask.bool()
    shares = 2 * share * torch.rand(len(codes), 1, device=codes.device)
    drawn = torch.rand(codes.shape, device=codes.device) / shares.clamp(min=1e-9)  # below 1 where it is perturbed
    other = torch.randint(num_codes, (2, *codes.shape), device=codes.device)
    kept = mask & ~((drawn >= REPLACED) & (drawn < REPLACED + DROPPED))
    kept[:, 0] |= ~kept.any(1)
    put_in = mask & (drawn >= REPLACED + DROPPED) & (drawn < 1)
    values = torch.stack([torch.where(drawn < REPLACED, other[0], codes), other[1]], dim=2).flatten(1)
    there = torch.stack([kept, put_in], dim=2).flatten(1)
    order = (~there).int().argsort(dim=1, stable=True)[:, : int(there.sum(1).max())]
    mask = there.gather(1, order)
    return Representation(values.gather(1, order) * mask, mask)
