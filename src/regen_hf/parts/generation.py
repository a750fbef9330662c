"""What holds for the `generate` and the `forward` of every generator: chance of each row, empty rows, finite values."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from .outputs import LossOutput, Representation, RepresentationSpec
from .settings import MANY, Argument, refuse_unknown

GUIDANCE = Argument(default=1.0)
STEPS = Argument(int, 1, MANY)

Randomness = torch.Generator | Sequence[torch.Generator] | int
"""What leads chance: a generator, one for each row, or a seed."""


def row_generators(generator: Randomness, rows: int) -> list[torch.Generator]:
    """One for each row, seeded by the caller's, so that no row depends on those beside it.

    Raises:
        ValueError: for a list of another length.
        TypeError: for what is no generator, no list of them, and no seed.
    """
    if isinstance(generator, Sequence) and all(isinstance(own, torch.Generator) for own in generator):
        if len(generator) != rows:
            raise ValueError(f"`generator` must have one for each of {rows} rows, got {len(generator)}.")
        return list(generator)
    generator = as_generator(generator)
    seeds = [int(torch.randint(2**62, (), generator=generator, device=generator.device)) for _ in range(rows)]
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def as_generator(generator: torch.Generator | int) -> torch.Generator:
    """A generator as it is, or a new one with this seed."""
    if isinstance(generator, torch.Generator):
        return generator
    if isinstance(generator, bool) or not isinstance(generator, int):
        raise TypeError(f"`generator` must be a torch.Generator, or a whole number as its seed, got {generator!r}.")
    return torch.Generator().manual_seed(generator)


def check_finite(values: torch.Tensor | None, what: str) -> None:
    """Raises `ValueError` where there is NaN or infinity."""
    if values is not None and values.is_floating_point() and not torch.isfinite(values).all():
        raise ValueError(f"{what} NaN or infinite values.")


def generates(generate: Callable[..., Representation]) -> Callable[..., Representation]:
    """For a generator's `generate`.

    Refuses names and values that it does not take, and sources that are not finite, before anything is computed.
    `generator` may be a `torch.Generator`, a list with one for each row, or a seed, and becomes that list. Rows of
    which `source_mask` is false everywhere become empty rows. What is made of NaN is an error that names the generator.
    """
    names = list(inspect.signature(generate).parameters)[1:]

    @functools.wraps(generate)
    @torch.no_grad()
    def checked(self, *args, **given) -> Representation:
        given |= dict(zip(names, args, strict=False))
        given = {name: value for name, value in given.items() if value is not None}
        refuse_unknown(given, self.generate_names(), f"the `generate` of {type(self).__name__}")
        check_source(self, given)
        for name, value in given.items():
            if name in self.config.generation_arguments:
                self.config.generation_arguments[name].check(name, value)
            check_finite(value if torch.is_tensor(value) else None, f"`{name}` has")
        rows = rows_of(given, self.source_names)
        copies = given.get("num_return_sequences") or (self.config.generation or {}).get("num_return_sequences") or 1
        if "generator" in given:
            given["generator"] = row_generators(given["generator"], rows * copies)
        real = _real_rows(given)
        made = _generated(self, generate, given, real, copies)
        check_finite(made.values, f"{type(self).__name__} made")
        return made

    return checked


def _generated(self, generate: Callable, given: dict, real: torch.Tensor | None, copies: int) -> Representation:
    if real is None:
        return generate(self, **given)
    of_each = real.repeat_interleave(copies)
    if not real.any():
        return empty(self.config.target_spec, len(of_each), real.device, self.dtype)
    given = {name: value[real] if torch.is_tensor(value) else value for name, value in given.items()}
    if given.get("generator") is not None:
        given["generator"] = [own for own, there in zip(given["generator"], of_each.tolist(), strict=True) if there]
    made = generate(self, **given)
    whole = empty(self.config.target_spec, len(of_each), real.device, made.values.dtype, made.values.shape[1:])
    whole.values[of_each], whole.mask[of_each] = made.values, True if made.mask is None else made.mask
    if made.scores is not None:
        whole.scores = made.scores.new_zeros(len(of_each))
        whole.scores[of_each] = made.scores
    return whole


def empty(spec: RepresentationSpec, rows: int, device, dtype, shape: Iterable[int] | None = None) -> Representation:
    """Rows of which nothing is real: one place of padding, or the `shape` of others beside them."""
    shape = [size or 1 for size in spec.shape] if shape is None else list(shape)
    discrete = spec.num_codes is not None
    places = shape if discrete and spec.num_codebooks == 1 else shape[1:]
    values = torch.zeros(rows, *shape, dtype=torch.long if discrete else dtype, device=device)
    return Representation(values, torch.zeros(rows, *places, dtype=torch.bool, device=device))


def learns(forward: Callable[..., LossOutput]) -> Callable[..., LossOutput]:
    """For a generator's `forward`.

    Source and target must have as many rows, and masks fit what they mask. Rows of which `source_mask` is false
    everywhere do not count.
    """
    names = list(inspect.signature(forward).parameters)[2:]

    @functools.wraps(forward)
    def checked(self: nn.Module, target: torch.Tensor | None = None, *args, **given) -> LossOutput:
        if target is None:
            return forward(self, target, *args, **given)
        told = {"target": target, **dict(zip(names, args, strict=False)), **given}
        _check_shapes(told, {*self.source_names, "target", "target_mask"})
        real = _real_rows(told)
        if real is None:
            return forward(self, target, *args, **given)
        if not real.any():  # of all weights, which other processes have a gradient for
            return LossOutput(loss=sum(0 * each.sum() for each in self.parameters() if each.requires_grad), terms={})
        args = [value[real] if torch.is_tensor(value) else value for value in args]
        given = {name: value[real] if torch.is_tensor(value) else value for name, value in given.items()}
        output = forward(self, target[real], *args, **given)
        if output.reconstruction is not None and output.reconstruction_target is None:
            output.reconstruction_target = target[real]
        return output

    return checked


MASKED = {
    "attention_mask": ("input_ids",),
    "padding_mask": ("input_values", "input_features"),
    "source_mask": ("source",),
    "target_mask": ("target",),
}
"""What each mask belongs to: one of these."""


def rows_of(given: Mapping[str, Any], names: Iterable[str]) -> int:
    """How many rows a source has."""
    return next((len(given[name]) for name in names if torch.is_tensor(given.get(name))), given.get("batch_size") or 1)


def check_source(self: nn.Module, given: Mapping[str, Any]) -> None:
    """Raises `ValueError` for a source whose tensors do not fit each other, or hold what a generator does not know."""
    _check_shapes(given, self.source_names)
    for name in MASKED.keys() & given.keys():
        if not ((given[name] == 0) | (given[name] == 1)).all():
            raise ValueError(f"`{name}` must be 1 or true where something is real, and else 0 or false.")
    spec = self.config.source_spec
    limits = self.input_limits | ({} if spec is None else {"source": (spec.num_codes, None)})
    for name, (number, _) in limits.items():
        if number is None or not torch.is_tensor(values := given.get(name)):
            continue
        if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
            raise ValueError(f"`{name}` must be whole numbers, got {values.dtype}.")
        if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < number:
            wrong = values[(values < 0) | (values >= number)].flatten()[0]
            raise ValueError(f"`{name}` must be from 0 to {number - 1}, got {int(wrong)}.")


def _check_shapes(given: Mapping[str, Any], names: Iterable[str]) -> None:
    tensors = {name: given[name] for name in sorted(names) if torch.is_tensor(given.get(name))}
    rows = {name: len(value) for name, value in tensors.items()}
    if isinstance(given.get("batch_size"), int) and rows:
        rows["batch_size"] = given["batch_size"]
    if len(set(rows.values())) > 1:
        told = ", ".join(f"`{name}` {number}" for name, number in rows.items())
        raise ValueError(f"all of the source and the target must have as many rows, got {told}.")
    labels = tensors.get("class_labels")
    if labels is not None and labels.shape[1:] != (1,):
        raise ValueError(f"`class_labels` must be (batch, 1), got {tuple(labels.shape)}.")
    for name, of in MASKED.items():
        masked = next((tensors[each] for each in of if each in tensors), None)
        mask = tensors.get(name)
        if mask is None or masked is None:
            continue
        fits = mask.shape[1:] == masked.shape[len(masked.shape) + 1 - mask.ndim :]
        if name == "padding_mask":  # features of sound have their frames first or last
            fits = mask.shape[1:2] and mask.shape[1] in masked.shape[1:]
        if mask.ndim < 2 or not fits:
            raise ValueError(f"`{name}` has the shape {tuple(mask.shape)}, but what it masks {tuple(masked.shape)}.")


def _real_rows(given: Mapping[str, Any]) -> torch.Tensor | None:
    """Which rows `(batch,)` of the source are not empty; `None` where all are."""
    mask, source = given.get("source_mask"), given.get("source")
    if source is not None and not source.shape[-1]:
        return torch.zeros(len(source), dtype=torch.bool, device=source.device)
    real = None if mask is None else mask.bool().flatten(1).any(1)
    return None if real is None or real.all() else real
