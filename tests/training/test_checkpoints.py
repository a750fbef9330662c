import json

import pytest
import torch
from torch import nn

from regen_hf import StageArguments
from regen_hf.training.checkpoints import (
    gather_state,
    load_checkpoint,
    remove_checkpoints,
    restore_state,
    save_checkpoint,
)
from regen_hf.training.optimizers import make_average, make_optimizers


class Blocks(nn.Module):
    """A matrix for Muon, other parameters for AdamW, and buffers."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 4)])
        self.out = nn.Sequential(nn.Linear(4, 1), nn.BatchNorm1d(1))

    def forward(self, x):
        return self.out(self.blocks[0](x))


def parts(seed, optimizer="muon"):
    torch.manual_seed(seed)
    module = Blocks()
    arguments = StageArguments(max_steps=9, optimizer=optimizer, ema_decay=0.9)
    optimizers = make_optimizers(module, arguments)
    return module, optimizers, make_average(list(module.parameters()), arguments)


def step(module, optimizers, average):
    torch.manual_seed(3)
    module(torch.randn(8, 4)).square().sum().backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    average.step(list(module.parameters()))


def test_goes_on_as_if_never_stopped(tmp_path):
    going, stopped = parts(0), parts(1)
    step(*going)
    state = gather_state(*going)
    save_checkpoint(tmp_path, 1, state, {"step": 1})
    state, facts = load_checkpoint(tmp_path)
    assert facts == {"step": 1}
    restore_state(state, *stopped)
    stopped[2].optimization_step = going[2].optimization_step
    for each in (going, stopped):
        step(*each)
    for (name, one), two in zip(going[0].state_dict().items(), stopped[0].state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    assert all(torch.equal(*pair) for pair in zip(going[2].shadow_params, stopped[2].shadow_params, strict=True))


def test_a_part_that_is_called_module_keeps_its_state():
    module, (optimizer,), average = parts(0, "adamw")
    holder = nn.Module()
    holder.module = module
    module(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    count = len(optimizer.state)
    assert count == len(list(module.parameters()))
    restore_state(gather_state(holder, [optimizer], average), holder, [optimizer], average)
    assert len(optimizer.state) == count


def test_the_latest_whole_checkpoint_counts(tmp_path):
    assert load_checkpoint(tmp_path) is None
    for number in (5, 12):
        save_checkpoint(tmp_path, number, {"a": torch.full((2,), float(number))}, {"step": number})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000012"]  # older ones are removed
    half = tmp_path / ".step-00000020.tmp"
    half.mkdir()
    (half / "state.safetensors").write_bytes(b"half")
    state, facts = load_checkpoint(tmp_path)
    assert (state["a"].tolist(), facts) == ([12.0, 12.0], {"step": 12})
    remove_checkpoints(tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_but_safetensors_and_json(tmp_path):
    save_checkpoint(tmp_path, 1, gather_state(*parts(0)), {"step": 1})
    files = {path.name for path in (tmp_path / "step-00000001").iterdir()}
    assert files == {"state.safetensors", "state.json"}
    assert json.loads((tmp_path / "step-00000001" / "state.json").read_text()) == {"step": 1}


def test_a_state_of_another_module_is_refused():
    module, optimizers, average = parts(0)
    state = gather_state(module, optimizers, average)
    del state["model.out.0.bias"]
    with pytest.raises(ValueError, match=r"of another module: one of them lacks out\.0\.bias"):
        restore_state(state, module, optimizers, average)
