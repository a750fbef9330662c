"""What an argument or a setting may be: its type and its range, by its name."""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from reprlib import Repr
from typing import Any


class _Short(Repr):
    def repr_int(self, x: int, level: int) -> str:
        return str(x) if x.bit_length() < 1000 else f"a number of {x.bit_length():,} bits"  # Python prints no more


_short = _Short()
_short.maxstring = _short.maxother = 200


def shown(value: Any) -> str:
    """What somebody gave, as messages show it: however long or deep it is, in one line."""
    return _short.repr(value)


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
        kinds = {int: Integral, float: Real}.get(self.kind, self.kind)
        fits = isinstance(value, kinds) and (self.kind is bool or not isinstance(value, bool))
        if fits and self.kind in (int, float):
            fits = (isinstance(value, Integral) or math.isfinite(value)) and value >= self.least and value > self.above
        if not fits:
            raise ValueError(f"`{name}` must be {self}, got {shown(value)}.")
        if self.kind in (int, float) and value > min(self.most, 1e300):
            raise ValueError(f"`{name}` must be at most {self.most:,}, got {shown(value)}.")

    def __str__(self) -> str:
        said = {int: "a whole number", float: "a finite number", bool: "True or False", dict: "a dictionary"}[self.kind]
        said += f" of at least {self.least:g}" if math.isfinite(self.least) else ""
        said += f" above {self.above:g}" if math.isfinite(self.above) else ""
        return " or ".join([said, *map(repr, self.others)])


MANY = 10_000
"""Steps, beams or results that nobody means: a number in a shared config decides how long others wait."""


def check_arguments(given: Mapping[str, Any] | None, arguments: Mapping[str, Argument], of: str = "generation") -> None:
    """Raises `ValueError` unless all that is given are such arguments, with values that they may have."""
    if not isinstance(given or {}, Mapping):
        raise ValueError(f"`{of}` must be a dictionary, got {shown(given)}.")
    if unknown := [name for name in given or {} if name not in arguments]:
        known = f"hold {', '.join(arguments)} only" if arguments else "be empty"
        raise ValueError(f"`{of}` must {known}, got {shown(unknown)}{_instead(unknown[0], arguments)}")
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
