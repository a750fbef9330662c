"""Trains the same in one process and in two; started by tests/test_processes.py.

torchrun --standalone --nproc_per_node 2 tests/processes_worker.py FOLDER
"""

import json
import os
import sys
from pathlib import Path

import tiny
import torch

from regen_hf import Batches, StageArguments, train
from regen_hf.runtime.processes import processes

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(40, *tiny.IMAGE, generator=GENERATOR) * 2 - 1
LATENTS = torch.randn(40, 4, 4, 4, generator=GENERATOR)
WORDS = torch.randint(2, 16, (40, 4), generator=GENERATOR)
SHARDING = {
    "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}  # fmt: skip


def codec():
    """Its loss has no noise."""
    torch.manual_seed(0)
    return tiny.autoencoder_extractor(), Batches(40, lambda rows: {"target": IMAGES[rows]})


def prior():
    """Its loss has noise, and a null condition that is not part of every batch."""
    torch.manual_seed(0)

    def read(rows):
        return {"target": LATENTS[rows], "input_ids": WORDS[rows], "attention_mask": torch.ones_like(WORDS[rows])}

    return tiny.diffusion_prior((4, 4, 4)), Batches(40, read)


def stopping(data: Batches, after: int) -> Batches:
    """The same, but the whole run stops at a batch."""
    left = iter(range(after))
    return Batches(len(data), lambda rows: data.read(rows) if next(left, None) is not None else _stop())


def _stop():
    raise InterruptedError


def run(make, folder: Path, resume: bool = False, stop: int = 0, **settings) -> dict:
    module, data = make()
    asked = {"max_steps": 15, "ema_decay": 0.9, "eval_every": 6, "save_every": 4, **settings}  # not whole passes
    result = train(
        module, stopping(data, stop) if stop else data, StageArguments(**asked), folder=folder, validation=data,
        log_every=3, resume=resume,
    )  # fmt: skip
    total = sum(p.double().abs().sum().item() for p in module.parameters())
    return {"losses": result.losses, "validation": result.validation, "weights": total, "processes": result.processes}


def in_two(folder: Path) -> dict:
    assert processes().num_processes == 2
    found = {
        "codec": run(codec, folder / "codec", batch_size=4),
        "prior": run(prior, folder / "prior", batch_size=4),
    }
    # accelerate shards on GPUs only, though gloo can: let it believe that this is one
    os.environ.update(SHARDING)
    processes()._shared_state["distributed_type"] = "MULTI_GPU"
    found["sharded"] = run(prior, folder / "sharded", batch_size=4)
    try:
        run(prior, folder / "stopped", stop=10, batch_size=4)
    except InterruptedError:
        found["resumed"] = run(prior, folder / "stopped", resume=True, batch_size=4)
    return found


if __name__ == "__main__":
    results = in_two(Path(sys.argv[1]))
    if processes().is_main_process:
        Path(sys.argv[1], "found.json").write_text(json.dumps(results))
