"""Training that is killed with SIGKILL at random moments; 20 of them are in benchmarks/kill_and_resume.py."""

import random
import shutil
import time

import pytest
from kill_and_resume import digest, finish, kill, start


@pytest.mark.slow
@pytest.mark.parametrize("case", [
    {"processes": 1, "accumulation": 1, "kills": 2, "steps": 10},
    {"processes": 2, "accumulation": 2, "kills": 1, "steps": 10},
], ids=["one", "two"])  # fmt: skip
def test_ends_with_the_weights_of_an_uninterrupted_run(case, tmp_path):
    seconds = finish(start(tmp_path / "whole", case, resume=False))
    chance = random.Random()  # any moment must do
    number = 0
    while number < case["kills"]:
        run = start(tmp_path / "killed", case, resume=number > 0)
        time.sleep(chance.uniform(0, seconds / (case["kills"] + 1)))
        if kill(run):
            number += 1
        else:  # the machine was busier before: begin anew, and kill sooner
            shutil.rmtree(tmp_path / "killed")
            number, seconds = 0, seconds / 2
    finish(start(tmp_path / "killed", case, resume=True))
    assert digest(tmp_path / "killed") == digest(tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob("*.tmp")) and not list((tmp_path / "killed").rglob("step-*"))
