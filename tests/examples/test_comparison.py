"""The end-to-end baseline: how it gets its size and its time."""

import json

import comparison
import pytest


def test_a_baseline_that_was_interrupted_goes_on_with_as_many_steps(tmp_path):
    asked = []

    def train(folder, steps):
        asked.append((folder.relative_to(tmp_path).as_posix(), steps))
        folder.mkdir(parents=True, exist_ok=True)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return {"seconds_prior": 2.0, "chrf": 1.5}

    metrics = {"seconds_training": 60.0}
    with pytest.raises(KeyboardInterrupt):
        comparison.compare(train, tmp_path, metrics, trial=10)
    found = comparison.compare(train, tmp_path, {"seconds_training": 90.0}, trial=10, resume=True)
    assert asked == [("direct/trial", {"prior": 10}), ("direct", {"prior": 300}), ("direct", {"prior": 300})]
    assert found["direct_chrf"] == json.loads((tmp_path / "metrics.json").read_text())["direct_chrf"] == 1.5


def test_a_baseline_is_as_large():
    assert comparison.same_size(lambda width: width**2, range(8, 105, 8), 1550) == 40
    with pytest.raises(
        ValueError, match="no end-to-end baseline has 1,300 parameters, the nearest 1,024: more than 5 % off"
    ):
        comparison.same_size(lambda width: width**2, range(8, 105, 8), 1300)
