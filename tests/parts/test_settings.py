import math

import numpy as np
import pytest

from regen_hf.parts.settings import Argument, check_arguments, refuse_unknown, shown

NAN, INFINITY = math.nan, math.inf


def nested(depth: int) -> list:
    found: list = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    "value, most", [("a" * 10**6, 210), (nested(10**5), 30), (10**5000, 40), ([1] * 10**6, 40)], ids=range(4)
)
def test_what_is_shown_is_short(value, most):
    assert len(shown(value)) < most


@pytest.mark.parametrize(
    ("argument", "fits", "wrong", "message"),
    [
        (Argument(int, 1, 10), [1, 10, np.int64(3)], [0, 2.0, True, "3", None], "a whole number of at least 1"),
        (Argument(above=0), [1, 0.5, np.float32(2)], [0, -1, NAN, INFINITY, True, "1"], "a finite number above 0"),
        (Argument(bool, others=("never",)), [True, False, "never"], [1, 0, "always"], "True or False or 'never'"),
        (Argument(dict), [{}], [[], 1], "a dictionary"),
    ],
)
def test_an_argument_has_a_type_and_a_range(argument, fits, wrong, message):
    for value in fits:
        argument.check("mine", value)
    for value in wrong:
        with pytest.raises(ValueError, match=f"`mine` must be {message}, got "):
            argument.check("mine", value)


def test_a_number_that_nobody_means_is_refused():
    with pytest.raises(ValueError, match="`mine` must be at most 10, got 1000000000000"):
        Argument(int, 1, 10).check("mine", 10**12)
    with pytest.raises(ValueError, match="must be a dictionary, got 'x"):
        check_arguments("x" * 1000, {})


def test_a_name_that_is_not_known_is_told_with_ours_or_the_nearest():
    known = ["guidance", "num_inference_steps"]
    refuse_unknown(known, known, "it")
    for name, told in (
        ("guidance_scale", ": `guidance` is"),
        ("guidanse", "; did you mean `guidance`?"),
        ("x", r"\.$"),
    ):
        with pytest.raises(TypeError, match=f"`{name}` is not taken by it{told}"):
            refuse_unknown([name], known, "it")
