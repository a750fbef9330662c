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
