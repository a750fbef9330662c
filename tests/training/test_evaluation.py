import math

import pytest
import torch
from lines import Y, data, noisy, run
from safetensors.torch import load_file


def test_nothing_is_evaluated_after_a_loss_that_is_no_number():
    seen = []
    with pytest.raises(FloatingPointError, match="step 5"):
        run(y=torch.full_like(Y, math.nan), eval_every=5, evaluate=seen.append)
    assert not seen


def test_validation_is_repeatable_and_keeps_the_best(tmp_path):
    """What is validated on is the opposite of what is learned, so the first evaluation is the best."""
    settings = {"steps": 12, "eval_every": 4, "validation": data(-Y), "ema_decay": 0.5}
    last, result = run(module=noisy(), folder=tmp_path / "last", **settings)
    steps, losses = zip(*result.validation, strict=True)
    assert steps == (4, 8, 12)
    assert losses[0] < losses[1] < losses[2]
    assert run(module=noisy(), folder=tmp_path / "again", **settings)[1].validation == result.validation
    best, _ = run(module=noisy(), folder=tmp_path / "best", keep="best", **settings)
    saved = load_file(tmp_path / "last" / "best.safetensors")
    assert torch.equal(saved["out.weight"], best.out.weight)
    assert not torch.equal(saved["out.weight"], last.out.weight)
    with pytest.raises(ValueError, match="`keep` is 'best', which needs validation data"):
        run(keep="best", eval_every=1)
