"""Batches of different true lengths, without padding ever being read."""

from collections.abc import Callable

import torch

from .outputs import Representation, concatenate


def masked_mean(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """The mean of values where `mask`, of the same shape, is true or 1; 0 where there are none."""
    return values.mean() if mask is None else (values * mask).sum() / mask.sum().clamp(min=1)


def by_length(
    function: Callable[[torch.Tensor], torch.Tensor],
    values: torch.Tensor,
    mask: torch.Tensor | None = None,
    empty: bool = False,
) -> Representation:
    """What `function` gives of rows `(batch, ..., length)` without their padding.

    Rows of equal true length go through together, so that what a row becomes does not depend on the others.

    Args:
        function: of a batch of which nothing is padding; its last dimension is the one that varies.
        mask: `(batch, length)`, bool; each row true first, where it is real, and then false. `None` where all is real.
        empty: whether rows of length 0 stay empty, without being given to `function`.
    """
    if mask is None and not (empty and not values.shape[-1]):
        return Representation(function(values))
    lengths = _true_lengths(values, mask)
    if empty and not lengths.all():
        return _around_empty(function, values, mask, lengths > 0)
    rows = [(lengths == length).nonzero()[:, 0] for length in lengths.unique()]
    results = [function(values[row, ..., : int(lengths[row[0]])]) for row in rows]
    masks = [torch.ones(len(each), each.shape[-1], dtype=torch.bool, device=each.device) for each in results]
    joined = concatenate([Representation(*pair) for pair in zip(results, masks, strict=True)])
    order = torch.cat(rows).argsort()
    return Representation(joined.values[order], joined.mask[order])


def _around_empty(
    function: Callable, values: torch.Tensor, mask: torch.Tensor | None, real: torch.Tensor
) -> Representation:
    """What [`by_length`] gives of the rows that are `real`, with empty ones between; at least one place wide."""
    if real.any():
        made = by_length(function, values[real], mask[real])
    else:  # one row of one place, for its shape
        made = Representation(function(values.new_zeros(1, *values.shape[1:-1], 1)))
    result = made.values.new_zeros(len(values), *made.values.shape[1:])
    found = torch.zeros(len(values), result.shape[-1], dtype=torch.bool, device=values.device)
    if real.any():
        result[real], found[real] = made.values, made.mask
    return Representation(result, found)


def random_segments(length: int, *parts: tuple[Representation, int]) -> list[Representation]:
    """The same random piece of each row of what belongs together, drawn from torch's global random numbers.

    A piece lies where every part is real. Of a row that is shorter it is the whole, with padding of 0 after it.

    Args:
        length: of the piece.
        parts: `(batch, ..., places)` each, and how many of its places make one of `length`: a spectrogram and 1, its
            wave and the samples of a frame.

    Returns:
        For each part what is cut out, `(batch, ..., length × places)`, with its mask.
    """
    lengths = [_true_lengths(part.values, part.mask) for part, _ in parts]
    whole = torch.stack([own // scale for own, (_, scale) in zip(lengths, parts, strict=True)]).amin(dim=0)
    room = (whole - length).clamp(min=0)
    starts = torch.minimum((torch.rand(len(room)).to(room.device) * (room + 1)).long(), room)
    return [
        _cut(part.values, own, starts * scale, length * scale)
        for own, (part, scale) in zip(lengths, parts, strict=True)
    ]


def _cut(values: torch.Tensor, lengths: torch.Tensor, starts: torch.Tensor, size: int) -> Representation:
    places = starts[:, None] + torch.arange(size, device=starts.device)
    mask = places < lengths[:, None]
    shape = (len(values), *[1] * (values.ndim - 2), size)
    there = places.clamp(max=values.shape[-1] - 1).view(shape).expand(*values.shape[:-1], size)
    return Representation(values.gather(-1, there).masked_fill(~mask.view(shape), 0), mask)


def _true_lengths(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """`(batch,)`; raises `ValueError` for what is no mask of padding at the end."""
    if mask is None:
        return torch.full((len(values),), values.shape[-1], device=values.device)
    lengths = mask.sum(dim=-1)
    places = torch.arange(values.shape[-1], device=mask.device)
    if mask.shape != (len(values), len(places)) or not torch.equal(mask, places < lengths[:, None]):
        raise ValueError(
            f"the mask must be (batch, length) {(len(values), len(places))}, bool, and each row true first and then "
            f"false; got {tuple(mask.shape)}, {mask.dtype}."
        )
    return lengths
