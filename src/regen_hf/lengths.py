"""Batches of different true lengths, without padding ever being read."""

from collections.abc import Callable

import torch

from .outputs import Representation, concatenate


def by_length(
    function: Callable[[torch.Tensor], torch.Tensor], values: torch.Tensor, mask: torch.Tensor | None = None
) -> Representation:
    """What `function` gives of rows `(batch, ..., length)` without their padding.

    Rows of equal true length go through together, so that what a row becomes does not depend on the others.

    Args:
        function: of a batch of which nothing is padding; its last dimension is the one that varies.
        mask: `(batch, length)`, bool; each row true first, where it is real, and then false. `None` where all is real.
    """
    if mask is None:
        return Representation(function(values))
    lengths = mask.sum(dim=-1)
    places = torch.arange(values.shape[-1], device=mask.device)
    if mask.shape != (len(values), len(places)) or not torch.equal(mask, places < lengths[:, None]):
        raise ValueError(
            f"the mask must be (batch, length) {(len(values), len(places))}, bool, and each row true first and then "
            f"false; got {tuple(mask.shape)}, {mask.dtype}."
        )
    rows = [(lengths == length).nonzero()[:, 0] for length in lengths.unique()]
    results = [function(values[row, ..., : int(lengths[row[0]])]) for row in rows]
    masks = [torch.ones(len(each), each.shape[-1], dtype=torch.bool, device=each.device) for each in results]
    joined = concatenate([Representation(*pair) for pair in zip(results, masks, strict=True)])
    order = torch.cat(rows).argsort()
    return Representation(joined.values[order], joined.mask[order])
