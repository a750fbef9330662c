import dataclasses
import math

import pytest

from regen_hf import StageArguments


@pytest.mark.parametrize(("settings", "message"), [
    ({"max_steps": 0}, "`max_steps` must be a whole number of at least 1, got 0"),
    ({"batch_size": 2.5}, "`batch_size` must be a whole number of at least 1, got 2.5"),
    ({"optimizer": "sgd"}, "`optimizer` must be one of adamw, muon, got 'sgd'"),
    ({"lr_scheduler": "linaer"}, "`lr_scheduler` must be one of linear, cosine, .*, got 'linaer'"),
    ({"mixed_precision": "bf61"}, "`mixed_precision` must be one of None, no, bf16, fp16, auto, got 'bf61'"),
    ({"mixed_precision": "fp16", "optimizer": "muon"}, "`mixed_precision` must not be 'fp16' with the optimizer"),
    ({"warmup_steps": 5}, "`warmup_steps` must be below max_steps 5, got 5"),
    ({"ema_decay": 1.0}, r"`ema_decay` must be in \[0, 1\), got 1.0"),
    ({"learning_rate": 0.0}, "`learning_rate` must be above 0, got 0.0"),
    ({"max_grad_norm": 0.0}, "`max_grad_norm` must be above 0, got 0.0"),
    ({"save_every": -1}, "`save_every` must be a whole number of at least 0, got -1"),
    ({"num_workers": 0.5}, "`num_workers` must be a whole number of at least 0, got 0.5"),
    ({"keep": "best"}, "`keep` is 'best', which has no effect without `eval_every`"),
    ({"keep": "first"}, "`keep` must be one of last, best, got 'first'"),
    ({"predicted": 1.5}, r"`predicted` must be in \[0, 1\], got 1.5"),
])  # fmt: skip
def test_refuses_bad_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        StageArguments(**{"max_steps": 5, **settings})


def test_warms_up_for_a_tenth_at_most_a_hundred_steps():
    assert [StageArguments(max_steps=n).warmup_steps for n in (5, 300, 5000)] == [0, 30, 100]


NUMBERS = ("learning_rate", "beta2", "weight_decay", "max_grad_norm", "ema_decay", "predicted", "seed")
WHOLE = ("max_steps", "batch_size", "warmup_steps", "gradient_accumulation_steps", "num_workers", "seed", "eval_every")
SWITCHES = ("gradient_checkpointing", "compile", "group_by_length")


@pytest.mark.parametrize(("name", "value"), [
    *((name, value) for name in NUMBERS for value in (math.nan, -math.inf, -0.5, "1e-3", None, True, [0.5])),
    *((name, math.inf) for name in NUMBERS if name != "max_grad_norm"),
    *((name, value) for name in (*WHOLE, "save_every") for value in (-1, 1.0, "1", True, math.nan, math.inf)),
    *((name, value) for name in SWITCHES for value in (0, 1, "yes", "False", None)),
    *((name, value) for name in ("optimizer", "lr_scheduler", "keep") for value in (None, 1, True, ["adamw"])),
    ("mixed_precision", False), ("mixed_precision", 16), ("seed", 2**32), ("beta2", 1.0), ("beta2", 1),
])  # fmt: skip
def test_every_argument_has_a_type_and_a_range(name, value):
    with pytest.raises(ValueError, match=f"^`{name}` must be"):
        StageArguments(**{"max_steps": 5, name: value})


def test_the_ends_of_ranges_are_within():
    ends = {
        "learning_rate": 1,
        "beta2": 0,
        "weight_decay": 0,
        "max_grad_norm": math.inf,
        "predicted": 1,
        "ema_decay": 0,
    }
    assert dataclasses.asdict(StageArguments(max_steps=1, seed=2**32 - 1, **ends)).items() >= ends.items()
