"""What waiting OpenMP threads cost: steps/s of the demo's autoencoder and prior, idle and beside three busy processes.

python benchmarks/waiting.py [OUTPUT.json]. Each way is a process of its own, since the environment counts when torch is
imported; the median of its steps is kept.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
WAYS = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
SETTINGS = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def seconds_of_a_step(part: str, steps: int) -> float:
    """The median step of training a part of the demo, as `make demo` trains it; after one that warms up."""
    import torch
    from ratios import demo_model

    from regen_hf import Batches, StageArguments, train

    module = getattr(demo_model()[0], part)
    generator = torch.Generator().manual_seed(0)
    if part == "extractor":
        example = {"target": torch.rand(256, 3, 32, 32, generator=generator) * 2 - 1}
    else:
        ids = torch.randint(2, 16, (256, 8), generator=generator)
        target = torch.randn(256, *module.config.target_shape, generator=generator)
        example = {"target": target, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
    moments = []

    def read(rows):
        moments.append(time.perf_counter())
        return {name: tensor[rows] for name, tensor in example.items()}

    own = {"extractor": {"batch_size": 32}, "prior": {"batch_size": 128, "optimizer": "muon"}}[part]
    train(module, Batches(256, read), StageArguments(max_steps=steps + 2, mixed_precision="auto", **own))
    return statistics.median(after - before for before, after in itertools.pairwise(moments[1:]))


def measured(part: str, steps: int, **settings: str) -> float:
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    run = subprocess.run(
        [sys.executable, __file__, "--part", part, str(steps)], check=True, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env={**clean, **settings},
    )  # fmt: skip
    return float(run.stdout.split()[-1])


def compare() -> list[dict]:
    rows = []
    for busy in (0, 3):
        spinning = f"import os\nwhile os.getppid() == {os.getpid()}: pass"  # ends with this process
        others = [subprocess.Popen([sys.executable, "-c", spinning]) for _ in range(busy)]
        try:
            for part in ("extractor", "prior"):
                steps = {"extractor": 12, "prior": 3}[part]
                seconds = {way: round(measured(part, steps, **settings), 4) for way, settings in WAYS.items()}
                rows.append({"part": part, "busy processes beside": busy, "seconds a step": seconds})
                print(rows[-1], flush=True)
        finally:
            for other in others:
                other.kill()
    return rows


def main() -> None:
    if sys.argv[1:2] == ["--part"]:
        examples = FOLDER.parent / "examples"
        sys.path[:0] = [str(FOLDER), str(examples), str(examples / "image_generation")]
        print(seconds_of_a_step(sys.argv[2], int(sys.argv[3])))
        return
    from run import machine, processor

    result = {"machine": machine(processor()), "rows": compare()}
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
