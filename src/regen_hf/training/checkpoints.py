"""What a stage needs to go on after a crash: tensors as safetensors, numbers as JSON, complete or not there.

The states are those of the whole module, by the names of its parameters, so a run may be resumed on another number of
processes.
"""

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..runtime.files import remove_files
from .arguments import StageArguments, StageResult

TENSORS, FACTS = "state.safetensors", "state.json"
FINAL, BEST, RESULT = "final.safetensors", "best.safetensors", "result.json"
WHOLE = r"step-\d{8}"
CHECKPOINT = rf"{WHOLE}|\.{WHOLE}(\.old)?\.tmp"  # older versions wrote those with a dot
# what may differ when a stage is resumed: it does not change what is learned
FREE = ("eval_every", "save_every", "num_workers", "gradient_accumulation_steps")


@dataclasses.dataclass
class Progress:
    """How far training is: what a checkpoint holds beside tensors."""

    step: int = 0
    seconds: float = 0.0
    losses: list = dataclasses.field(default_factory=list)
    validation: list = dataclasses.field(default_factory=list)
    recent: list = dataclasses.field(default_factory=list)


def gather_state(module: nn.Module, optimizers: Sequence[torch.optim.Optimizer], average) -> dict[str, torch.Tensor]:
    """Weights, optimizer states and moving average on the CPU; every process must call it."""
    from torch.distributed.checkpoint.state_dict import get_model_state_dict, get_optimizer_state_dict

    whole = _options(cpu_offload=True)
    state = {f"model.{name}": tensor for name, tensor in get_model_state_dict(module, options=whole).items()}
    for i, optimizer in enumerate(optimizers):
        found = get_optimizer_state_dict(module, optimizer, options=whole).get("state", {})
        state |= {f"optimizer.{i}.{key}.{name}": own[name] for key, own in found.items() for name in own}
    if average is not None:
        state |= {f"average.{i}": _full(tensor) for i, tensor in enumerate(average.shadow_params)}
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}


def restore_state(
    state: dict[str, torch.Tensor], module: nn.Module, optimizers: Sequence[torch.optim.Optimizer], average
) -> None:
    """Puts a state that was gathered back in its place; every process must call it.

    Raises:
        ValueError: if it is the state of a module with other weights.
    """
    from torch.distributed.checkpoint.state_dict import (
        get_model_state_dict,
        get_optimizer_state_dict,
        set_model_state_dict,
        set_optimizer_state_dict,
    )

    whole = _options(cpu_offload=False)
    weights = {key.removeprefix("model."): tensor for key, tensor in state.items() if key.startswith("model.")}
    if different := weights.keys() ^ get_model_state_dict(module).keys():
        raise ValueError(f"the checkpoint is of another module: one of them lacks {', '.join(sorted(different)[:4])}.")
    set_model_state_dict(module, weights, options=whole)
    for i, optimizer in enumerate(optimizers):
        found = get_optimizer_state_dict(module, optimizer, options=whole)  # its settings, and the form of its state
        own = {key: {name: f"optimizer.{i}.{key}.{name}" for name in names} for key, names in found["state"].items()}
        # a parameter that never had a gradient has no state
        found["state"] = {
            key: {name: state[place] for name, place in places.items()}
            for key, places in own.items()
            if all(place in state for place in places.values())
        }
        set_optimizer_state_dict(module, optimizer, found, options=whole)
        for name, parameter in module.named_parameters():
            if not {name, name.removeprefix("module.")} & found["state"].keys():  # DDP adds that
                optimizer.state.pop(parameter, None)
    if average is not None:
        for i, tensor in enumerate(average.shadow_params):
            tensor.copy_(_distributed_like(tensor, state[f"average.{i}"]))


def save_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Writes a safetensors file atomically."""
    from safetensors.torch import save_file

    with _scratch(path) as scratch:
        save_file(tensors, str(scratch))


def save_json(path: Path, content: Any) -> None:
    """Writes a JSON file atomically."""
    with _scratch(path) as scratch:
        scratch.write_text(json.dumps(content, indent=2), encoding="utf-8")


@contextlib.contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """A file to write to, which gets the name `path` when it is whole, and vanishes when that fails."""
    scratch = path.with_name(_scratch_name(path.name))
    scratch.unlink(missing_ok=True)  # a link would be written through
    try:
        yield scratch
        os.replace(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _scratch_name(name: str) -> str:
    return f".{name}.tmp"


def own_names(*names: str) -> list[str]:
    """What `save_tensors` and `save_json` may have left of files with these names."""
    return [each for name in names for each in (name, _scratch_name(name))]


def save_checkpoint(folder: Path, step: int, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Writes the checkpoint of a step and then removes the older ones; for the main process."""
    place = folder / f"step-{step:08d}"
    place.mkdir(parents=True, exist_ok=True)
    (place / FACTS).unlink(missing_ok=True)
    save_tensors(place / TENSORS, tensors)
    save_json(place / FACTS, facts)  # last: it says that the checkpoint is whole
    remove_checkpoints(folder, but=place)


def remove_checkpoints(folder: Path, but: Path | None = None) -> None:
    """Removes the checkpoints of a stage, whole and half-written ones, and nothing else."""
    for old in _checkpoints(folder, CHECKPOINT):
        if old != but:
            remove_files(old, own_names(FACTS, TENSORS))


def load_checkpoint(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """The latest checkpoint of a stage as `(tensors, facts)`, or `None` if there is none."""
    from safetensors.torch import load_file

    found = [place for place in _checkpoints(folder, WHOLE) if (place / FACTS).is_file()]
    if not found:
        return None
    facts = json.loads((found[-1] / FACTS).read_text(encoding="utf-8"))
    return load_file(str(found[-1] / TENSORS)), facts


def _checkpoints(folder: Path, named: str) -> list[Path]:
    places = sorted(folder.iterdir()) if folder.is_dir() else []
    return [place for place in places if re.fullmatch(named, place.name) and not place.is_symlink()]


def _options(cpu_offload: bool):
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    # not strict, for parameters that never had a gradient; what a module lacks is looked for above
    return StateDictOptions(full_state_dict=True, cpu_offload=cpu_offload, strict=False)


def _full(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor that may be sharded over processes."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _distributed_like(tensor: torch.Tensor, full: torch.Tensor) -> torch.Tensor:
    if not hasattr(tensor, "full_tensor"):
        return full
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(full.to(tensor.device), tensor.device_mesh, tensor.placements)


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Weights and buffers on the CPU, each with memory of its own, as safetensors wants them."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}


def save_finished(folder: Path, module: nn.Module, result: StageResult) -> None:
    """Writes what a stage ended with, and removes what it would have been resumed from; for the main process."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / FINAL, weights_of(module))
    save_json(folder / RESULT, dataclasses.asdict(result))  # last: it says that the stage is finished
    remove_checkpoints(folder)


def load_finished(module: nn.Module, folder: Path, arguments: StageArguments) -> StageResult | None:
    """Puts what a finished stage ended with into `module`, or returns `None` if the stage is not finished.

    Raises:
        ValueError: if it was trained with other arguments, naming them.
    """
    from safetensors.torch import load_file

    if not (folder / RESULT).is_file():
        return None
    result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    check_same(folder, result["arguments"], dataclasses.asdict(arguments))
    module.load_state_dict(load_file(str(folder / FINAL)))
    module.eval()
    pairs = {key: [tuple(pair) for pair in result[key]] for key in ("losses", "validation")}
    return StageResult(**{**result, **pairs})


def check_same(folder: Path, before: dict, now: dict) -> None:
    """Raises `ValueError` for arguments that differ from those that the stage in `folder` was begun with."""
    free = set(FREE) - ({"eval_every"} if now.get("keep") == "best" else set())
    names = [name for name in now if name not in free and before.get(name) != now[name]]
    if names:
        different = "; ".join(f"`{name}` was {before.get(name)!r} and is {now[name]!r}" for name in names)
        raise ValueError(f"the stage in {folder} was begun with other arguments: {different}.")


def clear(folder: Path) -> None:
    """Removes what another run of the stage left, and nothing else; for the main process."""
    remove_checkpoints(folder)
    remove_files(folder, own_names(RESULT, FINAL, BEST))
