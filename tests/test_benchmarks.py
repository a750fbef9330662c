"""The benchmarks run and say what they found; their figures are in benchmarks/results.json."""

import json
import math
from pathlib import Path

import gpu
import pytest
import ratios
import torch

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    import importlib.util
    import sys

    spec = importlib.util.spec_from_file_location("bench_run", FOLDER / "run.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_run"] = module
    spec.loader.exec_module(module)
    return module


def test_what_a_gpu_is_measured_by_runs_at_tiny_size(bench, tmp_path):
    found = gpu.measure(torch.device("cpu"), gpu.TINY, tmp_path)
    assert found.keys() == bench.GPU_ROWS.keys()
    assert all(math.isfinite(value) for value in found.values())


def test_operations_of_a_step_are_counted():
    linear = torch.nn.Linear(8, 4, bias=False)

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = linear

        def forward(self, x):
            from regen_hf import LossOutput

            return LossOutput(loss=self.linear(x).sum())

    assert gpu.step_flops(Module(), {"x": torch.ones(16, 8)}) == 2 * (2 * 16 * 8 * 4)  # forward, and for the weight


def test_the_median_of_ratios_counts():
    seconds = iter([2.0, 1.0, 1.0, 3.0, 8.0, 1.0])  # the second round measures the other first
    assert ratios.side_by_side(lambda: next(seconds), lambda: next(seconds), rounds=3) == 3.0


def test_bars(bench):
    assert [bench.holds(0.95, "≥ 0.95"), bench.holds(1.06, "≤ 1.05"), bench.holds(1.0, None)] == [True, False, None]


def test_rows_and_table_are_written(bench, tmp_path):
    (tmp_path / "README.md").write_text("# B\n<!-- table -->\nstale\n<!-- end of table -->\nafter\n", encoding="utf-8")
    rows = [
        bench.Row("import_time", "importing", 1.01, "of it", "≤ 1.10", True, "make bench", "CPU"),
        bench.Row("bf16_matrix_rate_tflops", "product", None, "TFLOP/s", None, None, "make bench", "not measured"),
    ]
    bench.write(rows, tmp_path)
    bench.write(
        [bench.Row("cached_codes", "codes", 5e4, "examples/s", "≥ 100000", False, "make bench", "CPU")], tmp_path
    )
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in found] == ["cached_codes", "import_time", "bf16_matrix_rate_tflops"]
    assert set(found[0]) == {"name", "what", "value", "unit", "bar", "holds", "command", "machine"}
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "stale" not in text and text.endswith("after\n")
    for line in ("| importing | 1.01 of it | ≤ 1.10 | yes |", "| codes | 50,000 examples/s | ≥ 100000 | **no** |",
                 "| product | not measured |  |  |"):  # fmt: skip
        assert line in text


def test_recorded_figures_are_of_the_rows_that_there_are(bench):
    recorded = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in recorded] == [*bench.CPU_ROWS, *bench.GPU_ROWS]
