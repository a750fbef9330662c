"""What the examples share: what a run finds in its folder, and what it is asked."""

import argparse

import pytest
import task


@pytest.mark.parametrize(("resume", "compare", "left"), [
    (False, False, {"model", "representations"}),
    (False, True, {"model"}),
    (True, True, {"model", "representations", "direct"}),
])  # fmt: skip
def test_another_runs_baseline_does_not_count(tmp_path, resume, compare, left):
    for name in ("model", "representations", "direct"):
        (tmp_path / name / "inner").mkdir(parents=True)
    task.begin(argparse.Namespace(output=tmp_path, resume=resume, compare=compare))
    assert {path.name for path in tmp_path.iterdir()} == left


def test_counts_are_counts():
    assert task.at_least(0)("0") == 0
    with pytest.raises(argparse.ArgumentTypeError, match="must be at least 1, not -1"):
        task.at_least(1)("-1")
