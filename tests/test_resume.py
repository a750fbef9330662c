"""Training that is killed with SIGKILL at random moments; 20 of them are in benchmarks/kill_and_resume.py."""

import random
import time

import pytest
from kill_and_resume import digest, finish, kill, start


@pytest.mark.parametrize("case", [
    {"processes": 1, "accumulation": 1, "kills": 2, "steps": 10},
    {"processes": 2, "accumulation": 2, "kills": 1, "steps": 10},
], ids=["one", "two"])  # fmt: skip
def test_ends_with_the_weights_of_an_uninterrupted_run(case, tmp_path):
    seconds = finish(start(tmp_path / "whole", case, resume=False))
    chance = random.Random()  # any moment must do
    for number in range(case["kills"]):
        run = start(tmp_path / "killed", case, resume=number > 0)
        moment = chance.uniform(0, seconds / (case["kills"] + 1))
        time.sleep(moment)
        assert kill(run), f"it had ended after {moment} seconds"
    finish(start(tmp_path / "killed", case, resume=True))
    assert digest(tmp_path / "killed") == digest(tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob("*.tmp")) and not list((tmp_path / "killed").rglob("step-*"))
