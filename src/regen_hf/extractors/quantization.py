"""From vectors to codes: the nearest of the units that k-means finds, or finite scalar quantisation."""

from collections.abc import Iterable, Sequence

import torch

ROWS_PER_UNIT = 16
"""How many vectors for each unit k-means sees at once, so that its first guess has something to choose from."""


def k_means(batches: Iterable[torch.Tensor], num_codes: int, seed: int) -> torch.Tensor:
    """The centres `(num_codes, width)` of clusters of the vectors `(rows, width)` that come in batches.

    Raises:
        ValueError: if there are fewer vectors than centres.
        ImportError: where scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError as error:
        raise ImportError("units are found by scikit-learn: pip install 'regen_hf[units]'") from error

    kmeans = MiniBatchKMeans(num_codes, random_state=seed, n_init=3)
    waiting: list[torch.Tensor] = []
    for vectors in batches:
        waiting.append(vectors.float().cpu())
        if sum(map(len, waiting)) >= ROWS_PER_UNIT * num_codes:
            kmeans.partial_fit(torch.cat(waiting).numpy())
            waiting = []
    if (rows := sum(map(len, waiting))) >= num_codes:
        kmeans.partial_fit(torch.cat(waiting).numpy())
    if not hasattr(kmeans, "cluster_centers_"):
        raise ValueError(f"`targets` gave {rows} features, fewer than num_codes {num_codes}.")
    return torch.from_numpy(kmeans.cluster_centers_)


def nearest(vectors: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """The number of the nearest centroid `(num_codes, width)` to each vector `(..., width)`."""
    distances = torch.cdist(vectors.float().flatten(0, -2), centroids.float())
    return distances.argmin(-1).view(vectors.shape[:-1])


def round_to_levels(values: torch.Tensor, levels: Sequence[int]) -> torch.Tensor:
    """Each channel of `(..., channels)`, bounded by a tanh and rounded to one of its levels, which lie evenly from -1
    to 1; the gradient is that of the tanh."""
    steps = torch.tensor(levels, device=values.device) - 1
    bounded = values.float().tanh()
    rounded = ((bounded + 1) / 2 * steps).round() * 2 / steps - 1
    return bounded + (rounded - bounded).detach()


def levels_to_codes(values: torch.Tensor, levels: Sequence[int]) -> torch.Tensor:
    """The codes `(...)` of what `round_to_levels` gives, `(..., channels)`; the first channel counts least."""
    sizes, bases = _sizes_and_bases(levels, values.device)
    return (((values + 1) / 2 * (sizes - 1)).round().long() * bases).sum(-1)


def codes_to_levels(codes: torch.Tensor, levels: Sequence[int]) -> torch.Tensor:
    """The reverse of `levels_to_codes`."""
    sizes, bases = _sizes_and_bases(levels, codes.device)
    return codes[..., None] // bases % sizes * 2 / (sizes - 1) - 1


def _sizes_and_bases(levels: Sequence[int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """How many levels each channel has, and what one level of it counts for in a code."""
    sizes = torch.tensor(levels, device=device)
    return sizes, sizes.cumprod(0) // sizes
