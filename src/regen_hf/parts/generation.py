"""What holds for the `generate` of every generator: which arguments there are, what they may be, and empty rows."""

import difflib
import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .outputs import LossOutput, Representation, RepresentationSpec
from .randomness import row_generators

ELSEWHERE = {
    **dict.fromkeys(("guidance_scale", "cfg", "cfg_scale", "cfg_coef", "true_cfg_scale"), "`guidance` is"),
    **dict.fromkeys(("num_steps", "steps", "timesteps", "num_timesteps", "sampling_steps"), "`num_inference_steps` is"),
    **dict.fromkeys(("seed", "manual_seed", "random_state"), "`generator` is, which may be a whole number"),
    **dict.fromkeys(("num_images_per_prompt", "num_samples", "num_outputs", "n"), "`num_return_sequences` is"),
    **dict.fromkeys(("negative_prompt", "negative_prompt_ids"), "the null source is learned, see `guidance`"),
    **dict.fromkeys(("height", "width", "size", "num_frames", "fps"), "the target's shape is the model's"),
    **dict.fromkeys(
        ("return_dict_in_generate", "return_dict", "output_scores", "output_logits", "output_type"),
        "the result has `values`, `mask` and, of beams, `scores`",
    ),
    **dict.fromkeys(("custom_generate", "trust_remote_code"), "no code from a repository is run"),
}
"""What other libraries call it."""


@dataclass(frozen=True)
class Argument:
    """What an argument of `generate` may be.

    Args:
        kind: `float` for any number, `int`, `bool`, or `dict`.
        least, most: bounds of a number, which may be reached.
        above: a bound that may not.
        default: what it is where nothing is said.
        others: what it may be besides.
    """

    kind: type = float
    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    default: Any = None
    others: tuple = ()

    def check(self, name: str, value: Any) -> None:
        """Raises `ValueError` for what it may not be, NaN and infinity among it."""
        if any(value is other or (isinstance(other, str) and value == other) for other in self.others):
            return
        kinds = (int, float) if self.kind is float else self.kind
        fits = isinstance(value, kinds) and (self.kind is bool or not isinstance(value, bool))
        if fits and self.kind in (int, float):
            fits = math.isfinite(value) and value >= self.least and value > self.above
        if not fits:
            raise ValueError(f"`{name}` must be {self}, got {shortened(value)}.")
        if self.kind in (int, float) and value > self.most:
            raise ValueError(f"`{name}` must be at most {self.most:g}, got {shortened(value)}.")

    def __str__(self) -> str:
        said = {int: "a whole number", float: "a finite number", bool: "true or false", dict: "a dictionary"}[self.kind]
        said += f" of at least {self.least:g}" if math.isfinite(self.least) else ""
        said += f" above {self.above:g}" if math.isfinite(self.above) else ""
        return " or ".join([said, *map(repr, self.others)])


MANY = 10_000
"""Steps, beams or results that nobody means: a number in a shared config decides how long others wait."""

GUIDANCE = Argument(default=1.0)
STEPS = Argument(int, 1, MANY)


def shortened(value: Any, most: int = 60) -> str:
    """A value as an error shows it."""
    shown = repr(value)
    return shown if len(shown) <= most else f"{shown[:most]}…"


def check_generation(
    given: Mapping[str, Any] | None, arguments: Mapping[str, Argument], of: str = "generation"
) -> None:
    """Raises `ValueError` unless all that is given are such arguments, with values that they may have."""
    if not isinstance(given or {}, Mapping):
        raise ValueError(f"`{of}` must be a dictionary, got {shortened(given)}.")
    if unknown := [name for name in given or {} if name not in arguments]:
        known = f"hold {', '.join(arguments)} only" if arguments else "be empty"
        raise ValueError(f"`{of}` must {known}, got {shortened(unknown)}{_instead(unknown[0], arguments)}")
    for name, value in (given or {}).items():
        if value is not None:
            arguments[name].check(name, value)


def refuse_unknown(given: Iterable[str], known: Iterable[str], who: str) -> None:
    """Raises `TypeError` for the first name that is not known, with ours for it where there is one."""
    known = set(known)
    for name in given:
        if name not in known:
            raise TypeError(f"`{name}` is not taken by {who}{_instead(name, known)}")


def _instead(name: str, known: Iterable[str]) -> str:
    if name in ELSEWHERE:
        return f": {ELSEWHERE[name]}."
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else "."


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
        refuse_unknown(given, self.generate_names(), f"the `generate` of {type(self).__name__}")
        for name, value in given.items():
            if name in self.config.generation_arguments and value is not None:
                self.config.generation_arguments[name].check(name, value)
            check_finite(value if torch.is_tensor(value) else None, f"`{name}` has")
        rows = next((len(value) for value in given.values() if torch.is_tensor(value)), given.get("batch_size") or 1)
        copies = given.get("num_return_sequences") or (self.config.generation or {}).get("num_return_sequences") or 1
        if given.get("generator") is not None:
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


def leaves_out_empty(forward: Callable[..., LossOutput]) -> Callable[..., LossOutput]:
    """For a generator's `forward`: rows of which `source_mask` is false everywhere do not count."""

    @functools.wraps(forward)
    def without(self: nn.Module, target: torch.Tensor | None = None, *args, **given) -> LossOutput:
        real = None if target is None else _real_rows(given)
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

    return without


def _real_rows(given: Mapping[str, Any]) -> torch.Tensor | None:
    """Which rows `(batch,)` of the source are not empty; `None` where none is."""
    mask, source = given.get("source_mask"), given.get("source")
    if source is not None and not source.shape[-1]:
        return torch.zeros(len(source), dtype=torch.bool, device=source.device)
    real = None if mask is None else mask.bool().flatten(1).any(1)
    return None if real is None or real.all() else real
