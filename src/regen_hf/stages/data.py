"""The datasets of a run: checked once, and then only handed down."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..cache.contents import data_contents, data_facts, reference
from ..cache.fingerprints import fingerprint
from ..cache.representations import RepresentationCache
from ..modeling_regeneration import RegenerationModel
from ..processing_regeneration import RegenerationProcessor
from ..runtime.data_checks import check_columns, is_stream, readable_examples
from .matching import check_target, warn_of_overlap


@dataclasses.dataclass
class RunData:
    """The datasets of a run and where X and Y are in them.

    Args:
        pairs: a `datasets.Dataset` or `IterableDataset`.
        source_column, target_column: the columns of X and Y.
        unpaired: further Y, in `target_column`; a dataset or a stream.
        validation: a `datasets.Dataset` of pairs.
        representations: the Y′ of `pairs`, extracted elsewhere.

    Raises:
        ValueError: for a stream where rows are needed.
    """

    pairs: Any
    source_column: str
    target_column: str
    unpaired: Any = None
    validation: Any = None
    representations: RepresentationCache | None = None

    def __post_init__(self):
        if self.validation is not None and is_stream(self.validation):
            raise ValueError("`validation` must be a datasets.Dataset: a stream has no end to measure up to.")
        if self.representations is not None and is_stream(self.pairs):
            raise ValueError("`representations` belong to the rows of a dataset, and cannot be had with a stream.")

    @property
    def columns(self) -> list[str]:
        """The columns of a pair."""
        return list(dict.fromkeys([self.source_column, self.target_column]))

    @property
    def sizes(self) -> dict[str, int | None]:
        """How many examples there are of each kind, `None` for a stream."""
        parts = {"pairs": self.pairs, "unpaired": self.unpaired, "validation": self.validation}
        return {name: None if is_stream(part) else len(part) for name, part in parts.items() if part is not None}

    def contents(self, begun: Mapping[str, Any]) -> tuple[dict[str, str | None], dict[str, str | None]]:
        """What tells each dataset from others, and by what it is seen that it has not changed, without reading it.

        Args:
            begun: of a run that was begun with the same, `{"identity": ..., "facts": ...}`.
        """
        contents, facts = {}, {}
        for name, part in {"dataset": self.pairs, "validation": self.validation, "unpaired": self.unpaired}.items():
            columns = [self.target_column] if name == "unpaired" else self.columns
            facts[name] = None if part is None else data_facts(part, columns)
            known, seen = begun.get("identity", {}).get(name), (begun.get("facts") or {}).get(name)
            if part is None or (known and seen == facts[name]):
                contents[name] = None if part is None else known
            elif known and seen is None and known == reference(part):  # as older versions had it
                contents[name] = known
            else:
                whole = data_contents(part) if known else None  # as older versions had it
                contents[name] = known if known and known == whole else data_contents(part, columns)
        return contents, facts

    def checked(self, model: RegenerationModel, processor: RegenerationProcessor, on_bad_example: str) -> "RunData":
        """The same datasets, prepared for the processor, without the examples that are left out.

        Raises:
            ValueError: for a column that is missing or means something else, an example that cannot be read, sources
                and targets that are not what the model reads, or `representations` of something else.
        """
        modalities = {self.source_column: processor.source, self.target_column: processor.target}
        reads = {self.source_column: processor.source.as_source, self.target_column: processor.target.as_target}

        def readable(part, columns: list[str]):
            if part is None:
                return None
            check_columns(part, columns)
            for column in columns:
                if part.features is not None:  # of a stream they may be unknown
                    modalities[column].check_feature(part.features[column], column)
                part = modalities[column].prepare_column(part, column)
            return readable_examples(part, {column: reads[column] for column in columns}, on_bad_example)

        data = dataclasses.replace(
            self,
            pairs=readable(self.pairs, self.columns),
            validation=readable(self.validation, self.columns),
            unpaired=readable(self.unpaired, [self.target_column]),
        )
        check_target(model, processor, next(iter(data.pairs))[self.target_column])
        if data.validation is not None:
            warn_of_overlap(data.pairs, data.validation, self.columns)
        data.check_representations(model, processor)
        return data

    def check_representations(self, model: RegenerationModel, processor: RegenerationProcessor) -> None:
        """Raises `ValueError` for `representations` of something else."""
        if (cache := self.representations) is not None:
            known = [cache.description]
            cache.check(fingerprint(model.extractor, processor.target, self.pairs, self.target_column, known))

    def targets(self):
        """Every Y, paired or not."""
        from datasets import concatenate_datasets, interleave_datasets

        parts = [self.pairs.select_columns([self.target_column])]
        if self.unpaired is None:
            return parts[0]
        parts.append(self.unpaired.select_columns([self.target_column]))
        if any(map(is_stream, parts)):
            parts = [part if is_stream(part) else part.to_iterable_dataset() for part in parts]
            return interleave_datasets(parts, stopping_strategy="all_exhausted")
        return concatenate_datasets([parts[0], parts[1].cast(parts[0].features)])
