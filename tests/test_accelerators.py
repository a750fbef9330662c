import pytest
import tiny
import torch
from torch import nn

from regen_hf import StageArguments
from regen_hf.accelerators import make_accelerator, sharding_copy


def test_each_stage_has_its_own_precision(tmp_path):
    for precision in ("bf16", "no"):
        accelerator = make_accelerator(StageArguments(max_steps=1, mixed_precision=precision), (), tmp_path)
        assert accelerator.mixed_precision == precision
    accelerator = make_accelerator(StageArguments(max_steps=1, gradient_accumulation_steps=3), (), None)
    assert accelerator.gradient_accumulation_steps == 3


def test_sharding_that_would_not_happen_is_told(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.warns(UserWarning, match="FSDP was asked for, but accelerate shards on several GPUs only, not on cpu"):
        make_accelerator(StageArguments(max_steps=1), (), None)


def test_a_copy_to_shard_names_only_blocks_that_it_has():
    decoder = tiny.diffusion_decoder()
    decoder._no_split_modules.add("NotThere")
    copied = sharding_copy(decoder)
    assert set(decoder._no_split_modules) - set(copied._no_split_modules) == {"NotThere"}
    assert "ResnetBlock2D" in copied._no_split_modules
    copied.denoiser.net.conv_in.weight.data.zero_()
    assert not torch.equal(copied.denoiser.net.conv_in.weight, decoder.denoiser.net.conv_in.weight)
    assert sharding_copy(nn.Linear(2, 2))._no_split_modules == []
