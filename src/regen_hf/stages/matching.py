"""Whether what a processor makes of examples is what a model reads, before anything is trained."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from ..modeling_regeneration import RegenerationModel
from ..parts.contracts import PreTrainedGenerator
from ..parts.outputs import RepresentationSpec
from ..processing_regeneration import RegenerationProcessor
from ..runtime.data_checks import is_stream
from ..runtime.processes import processes
from ..training.evaluation import in_use

ROWS, BYTES = 50_000, 2**28
"""Data that is read once more to find what it has in common: no more than takes a few seconds."""


def warn_of_overlap(pairs, validation, columns: Sequence[str]) -> None:
    """Says how many examples of the validation data are trained on, as far as that is known without reading for long:
    where both are one dataset, or small enough to compare row by row, undecoded."""
    if is_stream(pairs) or not processes().is_main_process:
        return
    if pairs._fingerprint == validation._fingerprint:
        found = len(validation)
    elif len(pairs) + len(validation) > ROWS or pairs.data.nbytes + validation.data.nbytes > BYTES:
        return
    else:
        trained = set(_row_hashes(pairs, columns))
        found = sum(row in trained for row in _row_hashes(validation, columns))
    if found:
        warnings.warn(
            f"{found} of the {len(validation)} examples of `validation` are trained on, too: what is measured on them "
            "does not tell how the model does on others.",
            stacklevel=2,
        )


def _row_hashes(dataset, columns: Sequence[str]) -> Iterator[int]:
    import pyarrow

    for batch in dataset.select_columns(list(columns)).with_format("arrow").iter(1000):
        (rows,) = batch.combine_chunks().to_batches()
        for row in range(len(rows)):  # taken and not sliced: a slice has bits of the rows beside it
            yield hash(rows.take(pyarrow.array([row])).serialize().to_pybytes())


def check_target(model: RegenerationModel, processor: RegenerationProcessor, example: Any) -> None:
    """Raises `ValueError` if what the processor makes of a target is not what the extractor reads."""
    shape = tuple(processor.target.as_target([example])["target"].shape[1:])
    spec, rate, codes = model.config.target_spec, processor.target.rate, processor.target.num_codes
    name = type(model.extractor).__name__
    if not spec.fits(RepresentationSpec(shape, spec.num_codes, spec.num_codebooks, rate)):
        given = f"shape {shape}" + ("" if rate is None else f" at {rate:g} a second")
        raise ValueError(f"the processor gives targets of {given}, but {name} reads {spec}.")
    if codes is not None and spec.num_codes is not None and codes > spec.num_codes:
        raise ValueError(f"the processor's target has a vocabulary of {codes}, but {name} one of {spec.num_codes}.")


def check_lengths(lengths: Sequence[int] | None, generator: PreTrainedGenerator, most: int | None) -> None:
    """Raises `ValueError` for a representation that has more places than a generator."""
    if lengths is not None and most is not None and (longest := max(lengths)) > most:
        raise ValueError(f"the longest Y′ has {longest} places, but {type(generator).__name__} has {most}.")


def check_target_lengths(model: RegenerationModel, processor: RegenerationProcessor, dataset, column: str) -> None:
    """Raises `ValueError` for a target that is longer than what the decoder makes. Targets are read for it only where
    the processor would give longer ones."""
    most, allowed = model.longest_target, getattr(processor.target, "max_length", None)
    if most is None or allowed is None or allowed <= most or is_stream(dataset):
        return
    rows = dataset.select_columns([column]).iter(256)
    longest = max(int(processor.target.as_target(each[column])["target_mask"].sum(1).max()) for each in rows)
    if longest > most:
        raise ValueError(
            f"the longest target has {longest} places, but {type(model.decoder_model).__name__} has {most}: give it "
            "more, or the processor a smaller `max_length`."
        )


def check_source(model: RegenerationModel, processor: RegenerationProcessor, example: Any) -> None:
    """Raises `ValueError` if what the processor makes of sources is not what the prior reads."""
    name, limits = type(model.prior).__name__, model.prior.input_limits
    for key, (kinds, length) in processor.source.input_sizes.items():
        known, longest = limits.get(key, (None, None))
        if known is not None and kinds > known:
            raise ValueError(f"the processor gives {kinds} different `{key}`, but {name} knows {known}.")
        if longest is not None and length > longest:
            raise ValueError(f"the processor gives {length} `{key}` in a row, but {name} has {longest} positions.")
    source = {key: value.to(model.prior.device) for key, value in processor.source.as_source([example]).items()}
    try:
        with in_use(model.prior):
            model.prior.check_source(**source)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise ValueError(f"{name} cannot read what the processor makes of a source: {error}") from error
