"""Training a decoder on the Y′ that the prior predicts, mixed with the true one.

What a prior predicts differs from what an extractor gives, so a decoder that has seen true Y′ only is worst where it
is needed (cascaded diffusion, Ho et al., 2021, section 4, makes up for this with noise; scheduled sampling, Bengio et
al., 2015, mixes predictions in by a schedule, as it is done here).
"""

import hashlib
import itertools
import os
import warnings
import zlib
from collections.abc import Callable, Sequence

import torch

from ..cache.extraction import write_cache
from ..cache.fingerprints import cache_name, fingerprint
from ..cache.representations import RepresentationCache
from ..parts.contracts import PreTrainedGenerator
from ..parts.outputs import Representation, concatenate
from ..processing_regeneration import RegenerationProcessor
from ..training.batches import Batches, Order, Sampling, batch_seed, seed_all
from ..training.evaluation import in_use

MANY = 8
"""Passes over the data, times the share, of a training that reads nearly all predictions: to look for the others would
take longer than to make them."""


def predict(
    prior: PreTrainedGenerator,
    processor: RegenerationProcessor,
    dataset,
    column: str,
    folder: str | os.PathLike,
    spec,
    **generation,
) -> RepresentationCache:
    """The Y′ that the prior generates for every X of a dataset, cached as [`extract`] caches the true one.

    Args:
        prior: generates Y′.
        dataset: a `datasets.Dataset` with the sources in `column`.
        folder: where it is kept, in a folder named by what it depends on.
        spec: the [`RepresentationSpec`] of Y′.
        generation: arguments of the prior's `generate`.
    """
    parts = fingerprint(prior, processor.source, dataset, column)
    parts["generation"] = hashlib.sha256(repr(sorted(generation.items())).encode()).hexdigest()

    def encode(batch: dict[str, torch.Tensor]) -> Representation:
        # noise that depends on the batch and on nothing else: a resumed run predicts the same
        seed = zlib.crc32(b"".join(value.numpy().tobytes() for _, value in sorted(batch.items())))
        batch = {name: value.to(prior.device) for name, value in batch.items()}
        return prior.generate(**batch, generator=torch.Generator().manual_seed(seed), **generation)

    with in_use(prior):
        place = os.path.join(folder, f"predicted-{cache_name(parts)}")
        cache = write_cache(
            place, dataset, encode, spec, parts,
            read=lambda batch: processor(source=batch[column]), inputs=[column], desc="predict",
        )  # fmt: skip
    return cache


class MixedBatches(Batches):
    """Batches for a decoder whose `source` is the true Y′ at first, and more and more often the predicted one.

    A row whose Y′ is empty says nothing of its target: it is left out, and one whose prediction is empty keeps the true
    one.

    Args:
        true: Y′ of all rows, cache by cache; those of the first have an X, of which Y′ can be predicted.
        read: the targets of some rows, as keyword arguments of the decoder.
        share: how many of the first cache's get the prediction at the end of training.
        total: batches in all of training, over all processes.
        seed: of the order and of the choice.
    """

    def __init__(
        self,
        true: Sequence[RepresentationCache],
        read: Callable[[list[int]], dict[str, torch.Tensor]],
        share: float = 0.0,
        total: int = 1,
        seed: int = 0,
    ):
        lengths = [length for cache in true if cache.lengths is not None for length in cache.lengths]
        total_rows = sum(map(len, true))
        self.rows = [row for row, length in enumerate(lengths) if length] if lengths else range(total_rows)
        if not self.rows:
            raise ValueError(f"there is nothing to decode: the Y′ of each of {total_rows} examples is empty.")
        if len(self.rows) < total_rows:
            left = total_rows - len(self.rows)
            warnings.warn(f"the decoder does not see {left} of {total_rows} examples, whose Y′ is empty.", stacklevel=2)
        super().__init__(len(self.rows), read, [lengths[row] for row in self.rows] if lengths else None)
        self.true, self.share, self.total, self.seed = true, share, total, seed
        self.predicted: RepresentationCache | None = None
        self.places: dict[int, int] = {}

    def rows_to_predict(self, batch_size: int, group: int = 0) -> list[int]:
        """Those whose Y′ training ever replaces; another's prediction would not be read. All, where training is long.

        Args:
            batch_size, group: as [`Batches.endless`] is to get them.
        """
        if self.total * batch_size * self.share > MANY * self.length:
            return [row for row in self.rows if row < len(self.true[0])]
        found: set[int] = set()
        order = Order(self.length, Sampling(batch_size, self.seed, group=group), self.lengths)
        for number, places in itertools.islice(order, self.total):
            rows = [self.rows[place] for place in places]
            found.update(row for row, hit in zip(rows, self._chosen(number, rows), strict=True) if hit)
            if len(found) == len(self.true[0]):
                break
        return sorted(found)

    def replace(self, rows: Sequence[int], predicted: RepresentationCache) -> None:
        """Takes the predictions of [`MixedBatches.rows_to_predict`]."""
        lengths = predicted.lengths
        said = ((place, row) for place, row in enumerate(rows) if lengths is None or lengths[place])
        self.predicted, self.places = predicted, {row: place for place, row in said}

    def __getitems__(self, numbered: tuple[int, list[int]]) -> dict[str, torch.Tensor]:
        number, rows = numbered[0], [self.rows[place] for place in numbered[1]]
        seed_all(batch_seed(self.seed, "read", number))
        parts, order = [], []
        for cache, wanted in self._split(rows, self._chosen(number, rows)):
            parts.append(cache[[row for _, row in wanted]])
            order += [place for place, _ in wanted]
        source, back = concatenate(parts), torch.tensor(order).argsort()
        masked = {} if source.mask is None else {"source_mask": source.mask[back]}
        return {**self.read(rows), "source": source.values[back], **masked}

    def _chosen(self, number: int, rows: list[int]) -> list[bool]:
        """Which rows get a prediction."""
        if not self.share:
            return [False] * len(rows)
        generator = torch.Generator().manual_seed(batch_seed(self.seed, "predicted", number))
        drawn = torch.rand(len(rows), generator=generator) < self.share * number / self.total
        return [bool(hit) and row < len(self.true[0]) for hit, row in zip(drawn, rows, strict=True)]

    def _split(self, rows: list[int], chosen: list[bool]):
        """`(cache, [(place in the batch, row of the cache)])` for each cache that is needed."""
        starts = [sum(map(len, self.true[:i])) for i in range(len(self.true))]
        found = {}
        for place, (row, predicted) in enumerate(zip(rows, chosen, strict=True)):
            which = max(i for i, start in enumerate(starts) if row >= start)
            key, own = (-1, self.places[row]) if predicted and row in self.places else (which, row - starts[which])
            found.setdefault(key, []).append((place, own))
        return [(self.predicted if key < 0 else self.true[key], wanted) for key, wanted in found.items()]
