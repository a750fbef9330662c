"""Commands as tests give them, and what they made."""

import json
import os
import subprocess
import sys

import tiny
import torch

from regen_hf import ImageModality, RegenerationModel, RegenerationProcessor

COLUMNS = ["--source_column", "text", "--target_column", "image"]


def save(model, folder, size=16):
    model.save_pretrained(folder)
    RegenerationProcessor(tiny.text(), ImageModality(size)).save_pretrained(folder)


def training(out, *more, model="model", dataset="flat"):
    asked = ["--batch_size", 8, "--warmup_steps", 1, *COLUMNS, "--max_steps", 2]
    return ["train", "--model", model, "--dataset", dataset, "--output_folder", out, *asked, *more]


def trained(run, out, *more, **settings):
    """Trains for real, and gives what the summary says of each stage."""
    found = run(*training(out, *more, **settings))
    assert found.status == 0, found.error
    return {stage["name"]: stage for stage in json.loads((out / "training_summary.json").read_text())["stages"]}


def weights(folder):
    return RegenerationModel.from_pretrained(folder).state_dict()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def start(*argv, **environment):
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1", **environment}
    return subprocess.run(
        [sys.executable, *map(str, argv)], env=settings, capture_output=True, text=True, timeout=200
    )  # fmt: skip
