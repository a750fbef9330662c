import json
import math
import signal

import pytest
import torch
from lines import Line, X, Y, data, noisy, run, weights
from PIL import Image as PILImage

from regen_hf import Batches, StageArguments, train


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
    torch.manual_seed(0)
    module = Line()
    run(module=module, ema_decay=0.9, eval_every=20, evaluate=lambda step: during.append((step, weights(module))))
    assert [step for step, _ in during] == [20, 40, 60]
    assert torch.equal(during[-1][1], weights(module))
    assert not module.training
    plain = []
    torch.manual_seed(0)
    module = Line()
    run(module=module, eval_every=20, evaluate=lambda step: plain.append(weights(module)))
    for (_, average), last in zip(during, plain, strict=True):  # the same steps were taken underneath
        assert not torch.equal(average, last)
        torch.testing.assert_close(average, last, rtol=0.5, atol=0.3)


def test_stages_may_differ_in_precision():
    for precision in ("bf16", "no", None):
        run(steps=3, mixed_precision=precision)


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
    torch.manual_seed(0)
    stopped = Line()
    with pytest.raises(InterruptedError):
        run(module=stopped, eval_every=4, evaluate=_interrupt)
    assert torch.equal(weights(module), weights(stopped))


def _kill(step):
    raise InterruptedError


@pytest.mark.parametrize("arguments", [
    {"optimizer": "muon"}, {"ema_decay": 0.9}, {"gradient_accumulation_steps": 3, "lr_scheduler": "cosine"},
    {"mixed_precision": "bf16"}, {"batch_size": 24},
], ids=lambda arguments: next(iter(arguments)))  # fmt: skip
def test_a_resumed_stage_ends_with_the_same_weights(arguments, tmp_path):
    settings = {"steps": 25, "save_every": 4, **arguments}
    whole, expected = run(module=noisy(), **settings)
    with pytest.raises(InterruptedError):  # at step 14, after the checkpoint of step 12
        run(module=noisy(), folder=tmp_path, eval_every=14, evaluate=_kill, **settings)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000012"]
    resumed, result = run(module=noisy(seed=6), folder=tmp_path, resume=True, **settings)
    assert torch.equal(weights(resumed), weights(whole))
    assert result.losses == expected.losses
    assert len(resumed.seen) == (25 - 12) * arguments.get("gradient_accumulation_steps", 1)  # nothing twice
    again, result = run(module=noisy(seed=7), folder=tmp_path, resume=True, **settings)
    assert torch.equal(weights(again), weights(whole)) and result.losses == expected.losses
    assert not again.seen  # it was finished
    assert {path.name for path in tmp_path.iterdir()} == {"final.safetensors", "result.json"}


def test_ctrl_c_saves_where_it_stopped(tmp_path):
    module = noisy()
    module.register_forward_pre_hook(lambda *_: signal.raise_signal(signal.SIGTERM) if len(module.seen) == 6 else None)
    with pytest.raises(KeyboardInterrupt):
        run(steps=20, module=module, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000007"]
    resumed, _ = run(steps=20, module=noisy(seed=6), folder=tmp_path, resume=True)
    assert torch.equal(weights(resumed), weights(run(steps=20, module=noisy())[0]))


def test_a_stage_is_resumed_as_it_was_begun(tmp_path):
    settings = {"steps": 20, "save_every": 4}
    with pytest.raises(InterruptedError):
        run(folder=tmp_path, eval_every=5, evaluate=_kill, **settings)
    changed = {"learning_rate": 1e-3, "batch_size": 8}
    message = r"begun with other arguments: `batch_size` was 16 and is 8; `learning_rate` was 0.02 and is 0.001\."
    with pytest.raises(ValueError, match=message):
        run(folder=tmp_path, resume=True, **settings, **changed)
    with pytest.raises(ValueError, match="`batches_per_step` was 1 and is 2"):
        run(folder=tmp_path, resume=True, gradient_accumulation_steps=2, **settings)
    run(folder=tmp_path, resume=True, eval_every=3, **settings)
    with pytest.raises(ValueError, match="`learning_rate` was 0.02 and is 0.001"):  # a finished stage, too
        run(folder=tmp_path, resume=True, learning_rate=1e-3, **settings)
    with pytest.raises(ValueError, match="`folder` is missing: `resume` needs one"):
        run(resume=True)


def test_without_resume_a_stage_begins_anew(tmp_path):
    with pytest.raises(InterruptedError):
        run(steps=20, save_every=4, folder=tmp_path, eval_every=5, evaluate=_kill)
    module, _ = run(steps=20, save_every=0, folder=tmp_path)
    assert len(module.seen) == 20
    assert {path.name for path in tmp_path.iterdir()} == {"final.safetensors", "result.json"}


@pytest.mark.slow
def test_compiled_training_learns_the_same():
    compiled, _ = run(steps=5, compile=True)
    assert compiled._compiled_call_impl is None
    torch.testing.assert_close(weights(compiled), weights(run(steps=5)[0]), rtol=1e-4, atol=1e-5)


def test_activations_can_be_computed_again():
    from diffusers import DiTTransformer2DModel

    from regen_hf import DiffusionGenerator

    seen = []

    def prior():
        torch.manual_seed(0)
        net = DiTTransformer2DModel(2, 8, in_channels=4, num_layers=2, sample_size=4, num_embeds_ada_norm=9)
        net.transformer_blocks[0].register_forward_pre_hook(lambda *_: seen.append(1))
        return DiffusionGenerator.from_components(net, target_shape=(4, 4, 4), num_classes=9)

    batches = Batches(
        8, lambda rows: {"target": torch.ones(len(rows), 4, 4, 4), "class_labels": torch.tensor([[1]] * len(rows))}
    )
    found = {}
    for again in (False, True):
        module = prior()
        seen.clear()
        train(module, batches, StageArguments(max_steps=3, batch_size=4, gradient_checkpointing=again))
        found[again] = (len(seen), weights(module))
        assert not module.is_activation_checkpointing
    assert (found[False][0], found[True][0]) == (3, 6)  # the block once more, in each backward pass
    torch.testing.assert_close(found[True][1], found[False][1])
    with pytest.raises(ValueError, match="`gradient_checkpointing` is not possible with Line"):
        run(gradient_checkpointing=True)


def test_trackers_are_told(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    picture = tmp_path / "sheet.png"
    PILImage.new("RGB", (6, 4), "red").save(picture)
    stage = tmp_path / "stages" / "prior"
    _, result = run(
        folder=stage, report_to=["tensorboard"], eval_every=30, validation=data(), evaluate=lambda step: picture,
    )  # fmt: skip
    events = EventAccumulator(str(stage / "logs" / "regen_hf"))
    events.Reload()
    told = [(event.step, event.value) for event in events.Scalars("training/loss")]
    assert told == [(step, pytest.approx(loss)) for step, loss in result.losses]
    assert [event.step for event in events.Scalars("training/validation_loss")] == [30, 60]
    assert [event.step for event in events.Images("training/samples")] == [30, 60]
    for name in ("learning_rate", "gradient_norm", "examples_per_second"):
        assert len(events.Scalars(f"training/{name}")) == 6
    with pytest.raises(ValueError, match="`folder` is missing: `report_to` needs one"):
        run(report_to=["tensorboard"])


def test_trackio_is_told(tmp_path):
    import os
    import sqlite3

    picture = tmp_path / "sheet.png"
    PILImage.new("RGB", (6, 4), "red").save(picture)
    stage = tmp_path / "stages" / "prior"
    _, result = run(folder=stage, report_to=["trackio"], evaluate=lambda step: picture)
    with sqlite3.connect(os.path.join(os.environ["TRACKIO_DIR"], "regen_hf.db")) as database:
        found = database.execute("select run_name, step, metrics from metrics").fetchall()
    told = {}
    for name, step, metrics in found:
        if name == str(stage).strip("/").replace("/", "-"):
            told.setdefault(step, {}).update(json.loads(metrics))
    assert [told[step]["training/loss"] for step, _ in result.losses] == [loss for _, loss in result.losses]
    assert ".png" in json.dumps(told[60]["training/samples"])


def test_workers_read_the_same(tmp_path):
    assert torch.equal(weights(run(num_workers=1)[0]), weights(run()[0]))


class Breaks(Line):
    """Its loss is finite at every step, but from one on its gradient is not."""

    def __init__(self, at):
        super().__init__()
        self.at, self.steps = at, 0

    def forward(self, x, y):
        output = super().forward(x, y)
        self.steps += self.training
        if self.training and self.steps >= self.at:
            output.loss = output.loss + torch.sqrt(0 * self.out.bias.sum())  # 0, with the slope infinity times 0
        return output


@pytest.mark.parametrize(("at", "settings"), [
    (4, {}), (3, {"save_every": 3}), (3, {"eval_every": 3, "evaluate": lambda step: None}),
])  # fmt: skip
def test_weights_that_are_no_numbers_are_not_kept(at, settings, tmp_path):
    torch.manual_seed(0)
    with pytest.raises(FloatingPointError, match=f"weights of training are NaN .* at step {at}.*lower `learning_rate`"):
        run(steps=4, module=Breaks(at), folder=tmp_path, **settings)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_training_that_cannot_begin_leaves_the_module_as_it_came(tmp_path):
    class Checkpointed(Line):
        supports_gradient_checkpointing, again = True, False

        def activation_checkpointing_enable(self):
            self.again = True

        def activation_checkpointing_disable(self):
            self.again = False

    settings = {"steps": 4, "mixed_precision": "bf16", "folder": tmp_path}
    with pytest.raises(InterruptedError):
        run(
            module=Checkpointed(),
            gradient_checkpointing=True,
            save_every=1,
            eval_every=2,
            evaluate=_interrupt,
            **settings,
        )
    module = Checkpointed()
    before = weights(module)
    with pytest.raises(ValueError, match="begun with other arguments: `learning_rate`"):
        run(module=module, resume=True, learning_rate=1.0, **settings)
    assert module.training and not module.again and "forward" not in vars(module)
    assert torch.equal(weights(module), before)
