"""Whether what a processor makes of examples is what a model reads, before anything is trained."""

from typing import Any

from ..modeling_regeneration import RegenerationModel
from ..parts.outputs import RepresentationSpec
from ..processing_regeneration import RegenerationProcessor
from ..training.evaluation import in_use


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
