import pytest
import torch
from torch import nn

from regen_hf import StageArguments
from regen_hf.training.optimizers import averaged, make_average, make_optimizers, make_schedule


class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 4)])
        self.out = nn.Linear(4, 1)


def test_muon_takes_the_matrices_of_blocks_only():
    module = Blocks()
    adamw, muon = make_optimizers(module, StageArguments(max_steps=1, optimizer="muon"))
    assert muon.param_groups[0]["params"] == [module.blocks[0].weight]
    assert len(adamw.param_groups[0]["params"]) == 3
    module.blocks[0].bias.requires_grad_(False)
    module.out.requires_grad_(False)
    (muon,) = make_optimizers(module, StageArguments(max_steps=1, optimizer="muon"))
    assert muon.param_groups[0]["params"] == [module.blocks[0].weight]


def test_muon_needs_no_bfloat16_where_the_device_has_none():
    updates, grad = [], torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    for in_bf16 in (True, False):
        module = Blocks()
        module.blocks[0] = nn.Linear(64, 32, bias=False)
        _, muon = make_optimizers(module, StageArguments(max_steps=1, optimizer="muon"), in_bf16)
        weight = module.blocks[0].weight
        nn.init.zeros_(weight)
        weight.grad = grad.clone()
        muon.step()
        assert torch.equal(weight.grad, grad)
        updates.append(weight.detach() / (1e-3 * 0.2 * 8))  # the rate, by the longer side of the matrix
    torch.testing.assert_close(*updates, rtol=0.1, atol=0.02)
    apart = [(each / each.bfloat16() - 1).abs().max() for each in updates]
    assert apart[0] < 1e-6 < apart[1]  # what bfloat16 made is in steps of it


def test_schedules_are_the_named_ones():
    (optimizer,) = make_optimizers(Blocks(), StageArguments(max_steps=10, learning_rate=1.0))
    schedule = make_schedule(optimizer, StageArguments(max_steps=10, learning_rate=1.0, warmup_steps=2))
    rates = []
    for _ in range(10):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])


def test_the_average_stands_in_for_a_while():
    parameter = nn.Parameter(torch.zeros(1))
    average = make_average([parameter], StageArguments(max_steps=1, ema_decay=0.5))
    assert make_average([parameter], StageArguments(max_steps=1)) is None
    for value in (0.0, 1.0):  # the first step takes over the weights as they are
        parameter.data.fill_(value)
        average.step([parameter])
    with averaged(average, [parameter]):
        assert 0 < parameter.item() < 1
    assert parameter.item() == 1
    with averaged(None, [parameter]):
        assert parameter.item() == 1
