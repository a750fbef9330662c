import warnings
from types import SimpleNamespace

import pytest
import torch

from regen_hf import StageArguments
from regen_hf.training import accelerators
from regen_hf.training.accelerators import make_accelerator


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
