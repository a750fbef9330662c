"""Kills training with SIGKILL at random moments, resumes it, and compares the weights with an uninterrupted run's.

python benchmarks/kill_and_resume.py --kills 20    # about 20 minutes on 2 CPU cores; writes kill_and_resume.json

Each case trains a tiny regenerator in four stages (extractor, prior, decoder on predicted Y′, joint) with a moving
average of the weights; the cases differ in the number of processes and in gradient accumulation.
"""

import argparse
import hashlib
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
WORKER = ROOT / "tests" / "resume_worker.py"
CASES = [
    {"processes": 1, "accumulation": 1},
    {"processes": 1, "accumulation": 2},
    {"processes": 2, "accumulation": 1},
    {"processes": 2, "accumulation": 2},
]


def start(folder: Path, case: dict, resume: bool) -> subprocess.Popen:
    """A run in a process group of its own; it has said that it trains when this returns."""
    command = [sys.executable, "-u"]
    if case["processes"] > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(case["processes"])]
    command += [str(WORKER), str(folder), "--processes", str(case["processes"])]
    command += ["--accumulation", str(case["accumulation"]), "--steps", str(case.get("steps", 20))]
    command += ["--resume"] if resume else []
    threads = max(1, (os.cpu_count() or 2) // case["processes"])
    run = subprocess.Popen(
        command, env={**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    for line in run.stdout:
        if line.strip() == "training":
            return run
    raise RuntimeError(f"the worker ended before it trained: {command}")


def finish(run: subprocess.Popen) -> float:
    """Seconds until a run ends well."""
    started = time.perf_counter()
    run.stdout.read()
    if run.wait() != 0:
        raise RuntimeError(f"a run failed: {run.args}")
    return time.perf_counter() - started


def kill(run: subprocess.Popen) -> bool:
    """Kills a run and all its processes; false if it had ended."""
    if run.poll() is not None:
        return False
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    return True


def where(folder: Path) -> str:
    """How far a killed run was: the stages that are finished and the checkpoint of the one that is not."""
    stages = folder / "stages"
    finished = [path.parent.name for path in sorted(stages.glob("*/result.json"))]
    checkpoints = [f"{path.parent.name} {path.name}" for path in sorted(stages.glob("*/step-*"))]
    return f"finished: {', '.join(finished) or 'none'}; checkpoint: {', '.join(checkpoints) or 'none'}"


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    chance, rows = random.Random(options.seed), []
    with tempfile.TemporaryDirectory() as scratch:
        whole = {}
        for i, case in enumerate(CASES):
            folder = Path(scratch, f"whole-{i}")
            whole[i] = (finish(start(folder, case, resume=False)), digest(folder))
            print(f"{case}: {whole[i][0]:.1f} s uninterrupted, {whole[i][1][:12]}", flush=True)
        while len(rows) < options.kills:
            i = len(rows) % len(CASES)
            seconds, expected = whole[i]
            folder = Path(scratch, "killed")
            shutil.rmtree(folder, ignore_errors=True)
            run = start(folder, CASES[i], resume=False)
            moment = chance.uniform(0, seconds)
            time.sleep(moment)
            if not kill(run):
                continue  # it had ended: another moment
            found = where(folder)
            finish(start(folder, CASES[i], resume=True))
            same = digest(folder) == expected
            rows.append({**CASES[i], "killed_after_seconds": round(moment, 2), "state": found, "identical": same})
            print(f"{len(rows)}: {rows[-1]}", flush=True)
    result = {
        "command": "python benchmarks/kill_and_resume.py " + " ".join(sys.argv[1:]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "kills": len(rows),
        "identical": sum(row["identical"] for row in rows),
        "rows": rows,
    }
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{result['identical']} of {result['kills']} resumed runs ended with identical weights")
    sys.exit(result["identical"] != result["kills"])


if __name__ == "__main__":
    main()
