import os
import random
import warnings
from contextlib import nullcontext
from types import SimpleNamespace

import numpy
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from lines import Line, data, run, weights
from torch import nn

from regen_hf import StageArguments, train
from regen_hf.training import accelerators
from regen_hf.training.accelerators import keep_in_float32, make_accelerator, undisturbed


def test_each_stage_has_its_own_precision(tmp_path):
    for precision in ("bf16", "no"):
        accelerator = make_accelerator(StageArguments(max_steps=1, mixed_precision=precision), (), tmp_path)
        assert accelerator.mixed_precision == precision
    accelerator = make_accelerator(StageArguments(max_steps=1, gradient_accumulation_steps=3), (), None)
    assert accelerator.gradient_accumulation_steps == 3


@pytest.mark.parametrize(("computes", "precision"), [(True, "bf16"), (False, "no")])
def test_auto_is_bf16_where_the_device_computes_in_it(monkeypatch, computes, precision):
    monkeypatch.setattr(accelerators, "computes_bf16", lambda: computes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = make_accelerator(StageArguments(max_steps=1, mixed_precision="auto"), (), None)
    assert made.mixed_precision == precision


def test_bf16_that_is_only_imitated_is_told(monkeypatch):
    monkeypatch.setattr(accelerators, "computes_bf16", lambda: False)
    with pytest.warns(UserWarning, match="this cpu has no instructions for bf16.* set `mixed_precision` to 'auto'"):
        make_accelerator(StageArguments(max_steps=1, mixed_precision="bf16"), (), None)


@pytest.mark.parametrize(("device", "onednn", "told"), [
    ("cpu", True, True), ("cpu", True, False), ("cpu", False, True), ("cuda", True, True), ("cuda", True, False),
])  # fmt: skip
def test_the_device_says_whether_it_computes_in_bf16_itself(monkeypatch, device, onednn, told):
    monkeypatch.setattr(accelerators, "processes", lambda: SimpleNamespace(device=torch.device(device)))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: onednn)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: told)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: told and not including_emulation)
    assert accelerators.computes_bf16() == (told and onednn)


def test_sharding_that_would_not_happen_is_told(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.warns(UserWarning, match="FSDP was asked for, but accelerate shards on several GPUs only, not on cpu"):
        make_accelerator(StageArguments(max_steps=1), (), None)


STATES = (PartialState, AcceleratorState, GradientState)


@pytest.fixture
def no_accelerator():
    for state in STATES:
        state._shared_state.clear()


def of_the_process():
    states = [dict(state._shared_state) for state in STATES]
    return states, dict(os.environ), random.random(), numpy.random.rand(), torch.rand(3).tolist()


@pytest.mark.usefixtures("no_accelerator")
@pytest.mark.parametrize("evaluate", [None, lambda step: 1 / 0])
@pytest.mark.parametrize("mine", [False, True])
def test_what_belongs_to_the_process_is_left_as_it_was(mine, evaluate):
    def seeded():
        random.seed(1), numpy.random.seed(1), torch.manual_seed(1)

    accelerator = Accelerator(mixed_precision="bf16", gradient_accumulation_steps=2) if mine else None
    module = Line()
    seeded()
    before = of_the_process()
    seeded()
    arguments = StageArguments(2, batch_size=16, mixed_precision="no", eval_every=1)
    with pytest.raises(ZeroDivisionError) if evaluate else nullcontext():
        train(module, data(), arguments, evaluate=evaluate)
    assert of_the_process() == before
    if mine:
        assert (accelerator.mixed_precision, accelerator.gradient_accumulation_steps) == ("bf16", 2)
    else:
        assert Accelerator(mixed_precision="bf16").mixed_precision == "bf16"


@pytest.mark.usefixtures("no_accelerator")
def test_what_is_learned_does_not_depend_on_the_callers_accelerator():
    alone = weights(run(steps=3)[0])
    accelerator = Accelerator(gradient_accumulation_steps=4, mixed_precision="bf16")
    line = accelerator.prepare(Line())
    with accelerator.accumulate(line):
        assert not accelerator.sync_gradients
        assert torch.equal(weights(run(steps=3)[0]), alone)
        assert not accelerator.sync_gradients


def test_variables_that_training_sets_are_the_callers_again(monkeypatch):
    monkeypatch.setenv("THERE", "before")
    with pytest.raises(OSError), undisturbed():
        os.environ.update(THERE="changed", NEW="set")
        raise OSError
    assert os.environ["THERE"] == "before" and "NEW" not in os.environ


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_learns_is_in_float32_for_good(dtype):
    torch.manual_seed(0)
    module = Line().to(dtype)
    module.blocks.requires_grad_(False)
    module.register_buffer("count", torch.tensor(3))
    before = weights(module).float()
    with pytest.warns(UserWarning, match=f"training is in {dtype}".replace("torch.", "") + ".* kept in float32"):
        run(module=module, steps=3, learning_rate=1e-6)
    assert {p.dtype for p in module.parameters()} == {torch.float32} and module.count.dtype == torch.long
    moved = weights(module) != before
    assert moved[-5:].all() and not moved[:-5].any()  # what is frozen is what it was


def test_adapters_alone_become_float32():
    class Adapted(nn.Module):
        def __init__(self):
            super().__init__()
            self.base_layer, self.lora_a = nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2)

    module = nn.Sequential(Adapted()).to(torch.bfloat16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keep_in_float32(module, "prior")
    assert [p.dtype for p in module.parameters()] == [torch.bfloat16] * 2 + [torch.float32] * 2


def test_what_does_not_learn_keeps_its_dtype():
    module = nn.Linear(2, 2).to(torch.bfloat16).requires_grad_(False)
    keep_in_float32(module, "prior")
    wide = nn.Linear(2, 2).double()
    keep_in_float32(wide, "prior")
    assert module.weight.dtype == torch.bfloat16 and wide.weight.dtype == torch.double


@pytest.mark.parametrize("launched", [False, True])
def test_fp16_on_a_cpu_is_refused(monkeypatch, launched):
    if launched:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    arguments = StageArguments(max_steps=1, mixed_precision=None if launched else "fp16")
    with pytest.raises(ValueError, match="`mixed_precision` must not be 'fp16' on a CPU"):
        make_accelerator(arguments, (), None)
