"""What the examples share: what a run finds in its folder, and how the direct map gets its size and its time."""

import argparse
import json

import pytest
import task


def test_a_direct_map_that_was_interrupted_goes_on_with_as_many_steps(tmp_path):
    asked = []

    def train(folder, steps):
        asked.append((folder.relative_to(tmp_path).as_posix(), steps))
        folder.mkdir(parents=True, exist_ok=True)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return {"seconds_prior": 2.0, "chrf": 1.5}

    metrics = {"seconds_training": 60.0}
    with pytest.raises(KeyboardInterrupt):
        task.compare(train, tmp_path, metrics, trial=10)
    found = task.compare(train, tmp_path, {"seconds_training": 90.0}, trial=10, resume=True)
    assert asked == [("direct/trial", {"prior": 10}), ("direct", {"prior": 300}), ("direct", {"prior": 300})]
    assert found["direct_chrf"] == json.loads((tmp_path / "metrics.json").read_text())["direct_chrf"] == 1.5


@pytest.mark.parametrize(("resume", "compare", "left"), [
    (False, False, {"model", "representations"}),
    (False, True, {"model"}),
    (True, True, {"model", "representations", "direct"}),
])  # fmt: skip
def test_another_runs_direct_map_does_not_count(tmp_path, resume, compare, left):
    for name in ("model", "representations", "direct"):
        (tmp_path / name / "inner").mkdir(parents=True)
    task.begin(argparse.Namespace(output=tmp_path, resume=resume, compare=compare))
    assert {path.name for path in tmp_path.iterdir()} == left


def test_a_direct_map_is_as_large():
    assert task.same_size(lambda width: width**2, range(8, 105, 8), 1550) == 40
    with pytest.raises(ValueError, match="no direct map has 1,300 parameters, the nearest 1,024: more than 5 % off"):
        task.same_size(lambda width: width**2, range(8, 105, 8), 1300)


def test_counts_are_counts():
    assert task.at_least(0)("0") == 0
    with pytest.raises(argparse.ArgumentTypeError, match="must be at least 1, not -1"):
        task.at_least(1)("-1")
