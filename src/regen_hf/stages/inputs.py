"""Which columns and caches each stage reads."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ..cache.extraction import extract
from ..cache.fingerprints import cache_name, fingerprint
from ..cache.representations import RepresentationCache
from ..cache.shards import descriptions_in
from ..modeling_regeneration import RegenerationModel
from ..parts.outputs import Repeatable, Representation
from ..processing_regeneration import RegenerationProcessor
from ..runtime.data_checks import is_stream
from ..runtime.processes import processes
from ..training.arguments import StageArguments
from ..training.batches import Batches, StreamedBatches
from .data import RunData
from .fitting import StatisticsFitting
from .matching import check_lengths
from .predictions import MixedBatches, predict

ENOUGH = 8192
"""Examples whose Y′ is measured where it is not extracted anyway."""


class StageInputs:
    """What each stage trains on and, if there is validation data, is measured on, as batches.

    A stage that reads Y′ has it extracted, and its model given the statistics of what it is to learn.

    Args:
        data: that was checked.
        folder: where the caches of Y′ go.
        fitting: gives each part the statistics that it lacks.
    """

    def __init__(
        self,
        model: RegenerationModel,
        processor: RegenerationProcessor,
        data: RunData,
        folder: Path,
        fitting: StatisticsFitting,
    ):
        self.model, self.processor, self.data, self.folder, self.fitting = model, processor, data, folder, fitting

    def extractor(self) -> tuple[Batches | StreamedBatches, Batches | None]:
        """Y alone, paired or not."""
        return self._columns(self.data.targets(), self._read_target)

    def joint(self) -> tuple[Batches | StreamedBatches, Batches | None]:
        """Pairs of X and Y."""
        self.fitting.fit(self.model, Repeatable(lambda: self._target_batches(_some(self.data.pairs))))
        return self._columns(self.data.pairs, self._read_pair)

    def _columns(self, dataset, read) -> tuple[Batches | StreamedBatches, Batches | None]:
        validation = self.data.validation
        return _batches(dataset, read), validation and _batches(validation, read)

    def prior(self) -> tuple[Batches, Batches | None]:
        """Pairs of X and the Y′ that is extracted once."""
        cache, dataset = self._pairs()
        check_lengths(cache.lengths, self.model.prior, self.model.prior.longest_target)
        self.fitting.fit(self.model.prior, Repeatable(cache.batches))

        def made_of(cache: RepresentationCache, dataset) -> Batches:
            sources = dataset.select_columns([self.data.source_column])

            def read(rows: list[int]) -> dict[str, torch.Tensor]:
                return {**self._read_source(sources[rows]), **_named("target", cache[rows])}

            return Batches(len(cache), read, cache.lengths)

        validation = self.data.validation
        return made_of(cache, dataset), validation and made_of(self._extract(validation), validation)

    def decoder(self, arguments: StageArguments) -> tuple[Batches, Batches | None]:
        """Y and its Y′, paired or not, and what the prior predicts of pairs."""
        parts = [self._pairs()]
        if self.data.unpaired is not None:
            parts.append(self._extracted(self.data.unpaired, [self.data.target_column]))
        caches = [cache for cache, _ in parts]
        _, longest = self.model.decoder_model.input_limits.get("source", (None, None))
        for cache in caches:
            check_lengths(cache.lengths, self.model.decoder_model, longest)
        self.fitting.fit(
            self.model.decoder_model,
            Repeatable(lambda: (batch for _, part in parts for batch in self._target_batches(part))),
            Repeatable(lambda: (batch for cache in caches for batch in cache.batches(256))),
        )
        read = self._reader([dataset for _, dataset in parts])
        at_once = processes().num_processes
        total, group = arguments.max_steps * arguments.batches_per_step(at_once), arguments.group(at_once)
        training = MixedBatches(caches, read, arguments.predicted, total, arguments.seed)
        if arguments.predicted and (rows := training.rows_to_predict(arguments.batch_size, group)):
            training.replace(rows, self._predict(parts[0][1].select(rows)))
        if (validation := self.data.validation) is None:
            return training, None
        return training, MixedBatches([self._extract(validation)], self._reader([validation]))

    def _reader(self, datasets: Sequence) -> Callable[[list[int]], dict[str, torch.Tensor]]:
        """Reads the targets of rows that count through several datasets."""
        column = self.data.target_column
        datasets = [dataset.select_columns([column]) for dataset in datasets]

        def read(rows: list[int]) -> dict[str, torch.Tensor]:
            examples = [None] * len(rows)
            start = 0
            for dataset in datasets:
                own = [(place, row - start) for place, row in enumerate(rows) if 0 <= row - start < len(dataset)]
                found = dataset[[row for _, row in own]][column] if own else []
                for (place, _), example in zip(own, found, strict=True):
                    examples[place] = example
                start += len(dataset)
            return self.processor(target=examples)

        return read

    def _pairs(self) -> tuple[RepresentationCache, Any]:
        """The Y′ of the pairs, and the pairs by row."""
        pairs, representations = self.data.pairs, self.data.representations
        if representations is None:
            return self._extracted(pairs, [self.data.source_column, self.data.target_column])
        self.data.check_representations(self.model, self.processor)  # again: a resumed run has the weights of its begin
        return representations, pairs

    def _extracted(self, dataset, columns: list[str]) -> tuple[RepresentationCache, Any]:
        """Y′ of a dataset, and the same dataset by row: of a stream, what was read is kept beside its Y′."""
        if not is_stream(dataset):
            return self._extract(dataset), dataset
        cache = self._extract(dataset, columns)
        return cache, cache.dataset

    def _extract(self, dataset, columns: Sequence[str] = ()) -> RepresentationCache:
        folder = self.folder / cache_name(self._fingerprint(dataset))
        return extract(
            self.model.extractor, self.processor.target, dataset, self.data.target_column, folder, columns=columns,
            overwrite=True,
        )  # fmt: skip

    def _fingerprint(self, dataset) -> dict[str, str]:
        known = descriptions_in(*self.folder.glob("*"))
        return fingerprint(self.model.extractor, self.processor.target, dataset, self.data.target_column, known)

    def _predict(self, dataset) -> RepresentationCache:
        spec, defaults = self.model.config.extractor_config.representation_spec, self.model.config.generation or {}
        column = self.data.source_column
        return predict(self.model.prior, self.processor, dataset, column, self.folder, spec, **defaults)

    def _read_source(self, examples: dict[str, list]) -> dict[str, torch.Tensor]:
        return self.processor(source=examples[self.data.source_column])

    def _read_target(self, examples: dict[str, list]) -> dict[str, torch.Tensor]:
        return self.processor(target=examples[self.data.target_column])

    def _read_pair(self, examples: dict[str, list]) -> dict[str, torch.Tensor]:
        return {**self._read_source(examples), **self._read_target(examples)}

    def _target_batches(self, dataset, batch_size: int = 64) -> Iterator[Representation]:
        dataset = dataset.select_columns([self.data.target_column])
        for rows in dataset.iter(batch_size):
            read = self._read_target(rows)
            yield Representation(read["target"], read.get("target_mask"))


def _some(dataset):
    """Enough examples of a dataset or a stream to measure, from all of it where its length is known."""
    if is_stream(dataset):
        return dataset.take(ENOUGH)
    return dataset.select(range(0, len(dataset), -(-len(dataset) // ENOUGH)))


def _batches(dataset, read: Callable[[dict[str, list]], dict[str, torch.Tensor]]) -> Batches | StreamedBatches:
    """Batches of a dataset or of a stream; `read` takes columns."""
    return (
        StreamedBatches(dataset, read)
        if is_stream(dataset)
        else Batches(len(dataset), lambda rows: read(dataset[rows]))
    )


def _named(name: str, representation: Representation) -> dict[str, torch.Tensor]:
    masked = {} if representation.mask is None else {f"{name}_mask": representation.mask}
    return {name: representation.values, **masked}
