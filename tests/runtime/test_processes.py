"""Two processes over gloo, started as users start them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import processes_worker
import pytest

from regen_hf.runtime.processes import processes

WORKER = Path(processes_worker.__file__)


def start(folder, **environment):
    """Two processes of the worker: its status and what it said."""
    run = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", WORKER, folder],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = run.communicate(timeout=100)
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    return run.returncode, said


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    status, said = start(folder, ACCELERATE_USE_CPU="1")
    assert status == 0, said[-3000:]
    return json.loads((folder / "found.json").read_text())


def same(found, expected):
    assert found["processes"] == 2
    for name in ("losses", "validation"):
        assert [step for step, _ in found[name]] == [step for step, _ in expected[name]]
        assert [loss for _, loss in found[name]] == pytest.approx([loss for _, loss in expected[name]], rel=1e-4)
    assert found["weights"] == pytest.approx(expected["weights"], rel=1e-4)


@pytest.mark.slow
def test_two_processes_learn_as_one_with_the_doubled_batch(two, tmp_path):
    same(two["codec"], processes_worker.run(processes_worker.codec, tmp_path, batch_size=8))


@pytest.mark.slow
def test_noise_is_that_of_as_many_accumulated_batches(two, tmp_path):
    asked = {"batch_size": 4, "gradient_accumulation_steps": 2}
    same(two["prior"], processes_worker.run(processes_worker.prior, tmp_path, **asked))


@pytest.mark.slow
def test_sharded_parameters_learn_the_same(two):
    same(two["sharded"], two["prior"])
    same(two["resumed"], two["sharded"])


@pytest.mark.slow
def test_processes_that_do_not_know_of_each_other_are_stopped(tmp_path):
    status, said = start(tmp_path, ACCELERATE_USE_CPU="false")
    assert status != 0
    assert "2 processes were started, but each runs alone" in said


def test_one_process_is_its_own():
    assert (processes().num_processes, processes().is_main_process) == (1, True)
