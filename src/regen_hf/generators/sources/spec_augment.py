"""Spans of a spectrogram zeroed in training, so that a reader relies on none of them."""

import torch

LONGEST_SPAN, TIME_SHARE, FREQUENCY_SHARE = 25, 5, 6
"""What is zeroed at once is no more than so many frames, nor a fifth of all frames, nor a sixth of the bins."""


def zero_spans(
    features: torch.Tensor, mask: torch.Tensor | None, time_masks: int, frequency_masks: int
) -> torch.Tensor:
    """Features `(batch, frames, bins)` with spans of frames and of bins zeroed, each row its own (SpecAugment, Park et
    al., 2019, section 2).

    Args:
        mask: `(batch, frames)`; 1 where they are real.
        time_masks, frequency_masks: how many spans of each; their lengths are drawn, from 0 on.
    """
    rows, frames, bins = features.shape
    mask = torch.ones(rows, frames, device=features.device) if mask is None else mask
    if mask.shape != (rows, frames):
        raise ValueError(
            f"`padding_mask` must be (batch, frames) of `input_features`, {(rows, frames)}, got {tuple(mask.shape)}."
        )
    lengths, sizes = mask.sum(1).long(), torch.full((rows,), bins, device=features.device)
    times = _spans(lengths, (lengths // TIME_SHARE).clamp(max=LONGEST_SPAN), frames, time_masks)
    return features.masked_fill(
        times[:, :, None] | _spans(sizes, sizes // FREQUENCY_SHARE, bins, frequency_masks)[:, None], 0.0
    )


def _spans(lengths: torch.Tensor, longest: torch.Tensor, size: int, number: int) -> torch.Tensor:
    """`(batch, size)`, true within spans of up to `longest` that end before `lengths`."""
    drawn = torch.rand(2, len(lengths), number, 1, device=lengths.device)
    widths = (drawn[0] * (longest + 1)[:, None, None]).floor()
    starts = (drawn[1] * (lengths[:, None, None] - widths + 1)).floor()
    places = torch.arange(size, device=lengths.device)
    return ((places >= starts) & (places < starts + widths)).any(1)
