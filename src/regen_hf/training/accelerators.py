"""accelerate's `Accelerator` as training needs it, which leaves that of others as it was."""

import contextlib
import os
import random
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy
import torch
from torch import nn

from ..runtime.processes import processes
from .arguments import StageArguments

HALVES = (torch.float16, torch.bfloat16)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Leaves what belongs to the whole process as it was, whatever happens: all random numbers, the environment, and
    what accelerate keeps for every `Accelerator` of the process."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    states = [(state, dict(state._shared_state)) for state in (PartialState, AcceleratorState, GradientState)]
    environment, pythons, numpys = dict(os.environ), random.getstate(), numpy.random.get_state()
    device = torch.accelerator.current_accelerator() or torch.device("cuda")
    try:
        with torch.random.fork_rng(range(torch.accelerator.device_count()), device_type=device.type):
            yield
    finally:
        random.setstate(pythons)
        numpy.random.set_state(numpys)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        # which processes there are was found out here, and stays so where there are several
        several = PartialState._shared_state.get("num_processes", 1) > 1
        found = states[1:] if several and not states[0][1] else states
        for state, before in found:
            state._shared_state.clear()
            state._shared_state.update(before)


def check_precision(arguments: StageArguments) -> None:
    """Raises `ValueError` for a precision, asked for or launched, that would have no effect or cannot be had."""
    asked = arguments.mixed_precision or os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if asked == "fp16" and arguments.optimizer == "muon":
        raise ValueError("`optimizer` must not be 'muon' in the precision fp16 that was launched; take bf16.")
    if asked == "fp16" and processes().device.type == "cpu":
        raise ValueError(
            "`mixed_precision` must not be 'fp16' on a CPU, where accelerate trains in float32 and does not say so; "
            "take 'bf16', 'auto' or 'no'."
        )


def keep_in_float32(module: nn.Module, name: str) -> None:
    """Makes the weights of a module float32, for good, if it would learn in 16 bits, to which most steps are rounded
    away. Of adapters, which cast what they are given, those alone: the model below may stay small.

    Args:
        name: what it is called in the warning that says so.
    """
    trained = [p for p in module.parameters() if p.requires_grad and p.dtype in HALVES]
    if not trained:
        return
    adapted = any(hasattr(each, "base_layer") for each in module.modules())
    dtype = str(trained[0].dtype).removeprefix("torch.")
    for tensor in trained if adapted else [*module.parameters(), *module.buffers()]:
        if tensor.dtype in HALVES:
            tensor.data = tensor.data.float()
    if not adapted:
        warnings.warn(
            f"{name} is in {dtype}, to which most steps would be rounded away: it is trained and kept in float32. "
            "To compute in 16 bits, set `mixed_precision`.",
            stacklevel=2,
        )


def make_accelerator(arguments: StageArguments, report_to: Sequence[str], folder: Path | None):
    """An `Accelerator` for one stage; trackers write to `folder/logs`."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState
    from accelerate.utils import DistributedDataParallelKwargs, DistributedType, GradientAccumulationPlugin, set_seed

    check_precision(arguments)
    set_seed(arguments.seed)
    # else every stage of a process has the precision of the first
    AcceleratorState._reset_state(reset_partial_state=processes().distributed_type == DistributedType.FSDP)
    GradientState._reset_state()
    precision = arguments.mixed_precision
    if precision == "auto":
        precision = "bf16" if computes_bf16() else "no"
    accelerator = Accelerator(
        mixed_precision=precision,
        # without `sync_with_dataloader`, the last step of a pass would add up fewer batches than the others
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=arguments.gradient_accumulation_steps, sync_with_dataloader=False
        ),
        step_scheduler_with_optimizer=False,
        # a null condition is not part of every batch
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        log_with=list(report_to) or None,
        project_dir=None if folder is None else str(folder / "logs"),
    )
    if accelerator.mixed_precision == "bf16" and not computes_bf16():
        warnings.warn(
            f"this {accelerator.device.type} has no instructions for bf16, in which training is many times slower here "
            "than in float32: set `mixed_precision` to 'auto' or 'no'.",
            stacklevel=2,
        )
    wants_sharding = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if wants_sharding and accelerator.distributed_type != DistributedType.FSDP:
        warnings.warn(
            f"FSDP was asked for, but accelerate shards on several GPUs only, not on {accelerator.device}: "
            "every process holds the whole module.",
            stacklevel=2,
        )
    return accelerator


def computes_bf16() -> bool:
    """Whether what accelerate trains on computes in bf16 itself, and does not imitate it."""
    from accelerate.utils import is_bf16_available

    device = processes().device.type
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return is_bf16_available()
    # accelerate says so of every CPU
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
