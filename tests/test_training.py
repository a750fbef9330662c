import math
import signal

import pytest
import torch
from torch import nn

from regen_hf import Batches, LossOutput, StageArguments, train
from regen_hf.training import make_optimizers


class Line(nn.Module):
    """y = w x, with one repeated block so that Muon has a matrix to train."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 4)])
        self.out = nn.Linear(4, 1)
        self.seen = []

    def forward(self, x, y):
        self.seen.append(x[:, 0].tolist())
        return LossOutput(loss=(self.out(self.blocks[0](x)) - y).square().mean())


X = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([[1.0], [-2.0], [3.0], [0.5]])


def data(y=Y):
    return Batches(len(X), lambda rows: {"x": X[rows], "y": y[rows]})


def run(steps=60, evaluate=None, module=None, y=Y, **arguments):
    torch.manual_seed(0)
    module = module or Line()
    settings = {"max_steps": steps, "batch_size": 16, "warmup_steps": 2, "learning_rate": 2e-2, **arguments}
    return module, train(module, data(y), StageArguments(**settings), evaluate=evaluate, log_every=10)


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_learns(optimizer):
    _, result = run(optimizer=optimizer, learning_rate=2e-1)
    assert [step for step, _ in result.losses] == [10, 20, 30, 40, 50, 60]
    assert result.losses[-1][1] < 0.2 * result.losses[0][1]
    assert (result.steps, result.parameters) == (60, 25)


def test_is_repeatable_and_the_seed_counts():
    one, two, other = (weights(run(seed=seed)[0]) for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_every_example_is_seen_once_in_each_pass():
    module, _ = run(steps=4)
    assert sorted(x for batch in module.seen for x in batch) == sorted(X[:, 0].tolist())


def test_the_average_is_what_is_kept():
    plain, averaged = run()[0], run(ema_decay=0.99)[0]
    assert not torch.equal(weights(plain), weights(averaged))
    during = []
    module = Line()
    run(module=module, ema_decay=0.9, eval_every=20, evaluate=lambda step: during.append((step, weights(module))))
    assert [step for step, _ in during] == [20, 40, 60]
    assert torch.equal(during[-1][1], weights(module))
    assert not module.training
    plain = []
    module = Line()
    run(module=module, eval_every=20, evaluate=lambda step: plain.append(weights(module)))
    for (_, average), last in zip(during, plain, strict=True):  # the same steps were taken underneath
        assert not torch.equal(average, last)
        torch.testing.assert_close(average, last, rtol=0.5, atol=0.3)


def test_stages_may_differ_in_precision():
    for precision in ("bf16", "no", None):
        run(steps=3, mixed_precision=precision)


def test_nothing_is_evaluated_after_a_loss_that_is_no_number():
    seen = []
    with pytest.raises(FloatingPointError, match="step 5"):
        run(y=torch.full_like(Y, math.nan), eval_every=5, evaluate=seen.append)
    assert not seen


@pytest.mark.parametrize("arguments", [
    {"learning_rate": 1e-3}, {"weight_decay": 1.0}, {"lr_scheduler": "cosine"}, {"warmup_steps": 50},
    {"max_grad_norm": 1e-3}, {"batch_size": 8}, {"beta2": 0.5}, {"mixed_precision": "bf16"}, {"ema_decay": 0.9},
    {"gradient_accumulation_steps": 2}, {"optimizer": "muon"}, {"seed": 3}, {"steps": 30},
], ids=lambda arguments: next(iter(arguments)))  # fmt: skip
def test_every_argument_has_its_effect(arguments):
    assert not torch.equal(weights(run()[0]), weights(run(**arguments)[0]))


def test_accumulated_batches_make_one_step():
    """Two batches of 8 and one of 16 see the same examples in the same order and end alike."""
    whole = run(steps=8, batch_size=16)[0]
    halves = run(steps=8, batch_size=8, gradient_accumulation_steps=2)[0]
    torch.testing.assert_close(weights(whole), weights(halves), rtol=1e-4, atol=1e-5)
    assert [len(batch) for batch in halves.seen] == [8] * 16


def test_stops_at_a_loss_that_is_no_number():
    with pytest.raises(FloatingPointError, match=r"the loss of training is nan at step 10, learning rate 1\.72e-02"):
        run(y=torch.full_like(Y, math.nan))


def test_leaves_the_module_as_it_would_be_used():
    module, _ = run(mixed_precision="bf16")
    assert "forward" not in vars(module)
    assert module(x=X, y=Y).loss.dtype == torch.float32
    assert all(p.dtype == torch.float32 for p in module.parameters())


def test_frozen_parameters_stay():
    module = Line()
    module.blocks.requires_grad_(False)
    before = module.blocks[0].weight.clone()
    _, result = run(module=module)
    assert torch.equal(module.blocks[0].weight, before)
    assert result.parameters == 5
    with pytest.raises(ValueError, match="Line has no parameter to train"):
        run(module=module.requires_grad_(False))


def test_an_interruption_leaves_the_average_in_place():
    module = Line()

    def interrupt(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(module=module, eval_every=20, ema_decay=0.9, evaluate=interrupt)
    assert not module.training
    stopped = run(steps=60, ema_decay=0.9)[0]
    assert not torch.equal(weights(module), weights(stopped))


def _interrupt(step):
    raise InterruptedError


def test_ctrl_c_waits_for_the_step_to_be_whole():
    module = Line()
    module.register_forward_pre_hook(lambda *_: signal.raise_signal(signal.SIGINT) if len(module.seen) == 3 else None)
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(module=module)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(module.seen) == 4  # the step during which it was pressed is the last, and it is whole
    stopped = Line()
    with pytest.raises(InterruptedError):
        run(module=stopped, eval_every=4, evaluate=_interrupt)
    assert torch.equal(weights(module), weights(stopped))


def test_muon_takes_the_matrices_of_blocks_only():
    module = Line()
    adamw, muon = make_optimizers(module, StageArguments(max_steps=1, optimizer="muon"))
    assert muon.param_groups[0]["params"] == [module.blocks[0].weight]
    assert len(adamw.param_groups[0]["params"]) == 3


@pytest.mark.parametrize(("settings", "message"), [
    ({"max_steps": 0}, "`max_steps` must be a whole number of at least 1, got 0"),
    ({"batch_size": 2.5}, "`batch_size` must be a whole number of at least 1, got 2.5"),
    ({"optimizer": "sgd"}, "`optimizer` must be one of adamw, muon, got 'sgd'"),
    ({"lr_scheduler": "linaer"}, "`lr_scheduler` must be one of linear, cosine, .*, got 'linaer'"),
    ({"mixed_precision": "bf61"}, "`mixed_precision` must be one of None, no, bf16, fp16, got 'bf61'"),
    ({"mixed_precision": "fp16", "optimizer": "muon"}, "`mixed_precision` must not be 'fp16' with the optimizer"),
    ({"warmup_steps": 5}, "`warmup_steps` must be below max_steps 5, got 5"),
    ({"ema_decay": 1.0}, r"`ema_decay` must be in \[0, 1\), got 1.0"),
    ({"learning_rate": 0.0}, "`learning_rate` must be above 0, got 0.0"),
    ({"max_grad_norm": 0.0}, "`max_grad_norm` must be above 0, got 0.0"),
])  # fmt: skip
def test_refuses_bad_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        StageArguments(**{"max_steps": 5, **settings})


def test_warms_up_for_a_tenth_at_most_a_hundred_steps():
    assert [StageArguments(max_steps=n).warmup_steps for n in (5, 300, 5000)] == [0, 30, 100]
