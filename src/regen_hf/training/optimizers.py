"""Optimizers, schedules and the moving average of the weights."""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from .arguments import StageArguments


class _NotInBfloat16(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return args[0].clone() if func is torch.Tensor.bfloat16 else func(*args, **(kwargs or {}))


class Float32Muon(torch.optim.Muon):
    """torch's Muon, whose matrix products are in the precision of the weights and not in bfloat16, which processors
    without instructions for it imitate, many times as slowly."""

    def step(self, closure=None):
        with _NotInBfloat16():
            return super().step(closure)


def make_optimizers(module: nn.Module, arguments: StageArguments, in_bf16: bool = True) -> list[torch.optim.Optimizer]:
    """AdamW, or Muon for the weight matrices of repeated blocks and AdamW for the rest.

    Args:
        in_bf16: whether the device computes in bfloat16, as torch's Muon does.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    if not trained:
        raise ValueError(f"{type(module).__name__} has no parameter to train.")
    blocks = [block for block in module.modules() if isinstance(block, nn.ModuleList)]
    linears = (m for block in blocks for m in block.modules() if isinstance(m, nn.Linear))
    matrices = {id(m.weight): m.weight for m in linears if m.weight.requires_grad}
    if arguments.optimizer == "adamw":
        matrices = {}
    shared = {"lr": arguments.learning_rate, "weight_decay": arguments.weight_decay}
    rest = [p for p in trained if id(p) not in matrices]
    optimizers = []
    if rest:
        optimizers.append(torch.optim.AdamW(rest, betas=(0.9, arguments.beta2), fused=True, **shared))
    if matrices:
        muon = torch.optim.Muon if in_bf16 else Float32Muon
        optimizers.append(muon(list(matrices.values()), adjust_lr_fn="match_rms_adamw", **shared))
    return optimizers


def make_schedule(optimizer: torch.optim.Optimizer, arguments: StageArguments):
    """The schedule of the learning rate that the arguments name."""
    from transformers import get_scheduler

    return get_scheduler(arguments.lr_scheduler, optimizer, arguments.warmup_steps, arguments.max_steps)


def make_average(parameters: Sequence[nn.Parameter], arguments: StageArguments):
    """diffusers' moving average of the weights, or `None` for a decay of 0."""
    if not arguments.ema_decay:
        return None
    from diffusers.training_utils import EMAModel

    sharded = any(hasattr(parameter, "full_tensor") for parameter in parameters)  # which torch cannot copy as a list
    return EMAModel(parameters, decay=arguments.ema_decay, foreach=not sharded)


@contextlib.contextmanager
def averaged(average, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Puts the moving average in the place of the weights for a while."""
    if average is None:
        yield
        return
    average.store(parameters)
    average.copy_to(parameters)
    try:
        yield
    finally:
        average.restore(parameters)
