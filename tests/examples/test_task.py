"""What the examples share: what a run finds in its folder, and what it is asked."""

import argparse
import shutil
import subprocess
from pathlib import Path

import pytest
import task
import torch
from datasets import Dataset

from regen_hf import Representation, RepresentationSpec, write_cache

MINE = ["mine.txt", "direct/mine.txt", "representations/mine/mine.txt", "representations/y/mine.txt"]


@pytest.fixture
def folder(tmp_path):
    """That of a finished run with a baseline and Y′, and with files of somebody's own."""
    data, spec = Dataset.from_dict({"i": [0, 1]}), RepresentationSpec((1,), 9)
    write_cache(tmp_path / "representations" / "x", data, encode, spec, {"data": "1"})
    write_cache(tmp_path / "representations" / "y", data, encode, spec, {"data": "2"})
    for name in [*MINE, "direct/steps.json", "stages/run.json"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"finished": true, "identity": {}}')
    return tmp_path


def encode(batch):
    return Representation(torch.tensor(batch["i"])[:, None])


def cached(folder):
    return sorted(path.parent.name for path in folder.glob("representations/*/*.arrow"))


@pytest.mark.parametrize(("asked", "caches", "steps"), [
    ({"overwrite": True}, ["x", "y"], False),
    ({"overwrite": True, "compare": True}, [], False),
    ({"resume": True, "compare": True}, ["x", "y"], True),
])  # fmt: skip
def test_another_runs_baseline_does_not_count_and_nothing_of_others_is_removed(folder, asked, caches, steps):
    options = {"resume": False, "overwrite": False, "compare": False, **asked}
    task.begin(argparse.Namespace(output=folder, **options))
    assert cached(folder) == caches and (folder / "direct" / "steps.json").exists() == steps
    assert all((folder / name).is_file() for name in MINE)


def test_a_run_is_not_begun_anew_without_a_word(folder):
    with pytest.raises(ValueError, match=f"{folder} holds a run: --resume goes on with it, --overwrite begins anew in"):
        task.begin(argparse.Namespace(output=folder, resume=False, overwrite=False, compare=True))
    assert cached(folder) == ["x", "y"]


@pytest.mark.parametrize(("asked", "said"), [
    ("", " --overwrite"), ("--scale=2", " --overwrite"), ("--resume", ""), ("--output=mine", ""), ("--overwrite", ""),
])  # fmt: skip
def test_make_says_it_for_what_the_examples_made_in_their_own_folders(asked, said):
    make = ["make", "--dry-run", "--no-print-directory", "example", "VENV=tests", f"ARGS={asked}"]
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    found = subprocess.run(make, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout
    assert (
        " ".join(found.splitlines()[-1].split())
        == f"tests/bin/python examples/image_generation/run.py{said} {asked}".strip()
    )


def test_counts_are_counts():
    assert task.at_least(0)("0") == 0
    with pytest.raises(argparse.ArgumentTypeError, match="must be at least 1, not -1"):
        task.at_least(1)("-1")
