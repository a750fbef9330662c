"""Measures what the library costs, writes results.json and the table of README.md; `make bench`.

python benchmarks/run.py                                   # all rows, on whatever processor there is
python benchmarks/run.py --only import_time cached_codes   # some of them; the others keep what they were
"""

import argparse
import dataclasses
import json
import os
import platform
import re
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from datasets.utils.logging import disable_progress_bar
from transformers.utils import logging

FOLDER = Path(__file__).resolve().parent
EXAMPLES = FOLDER.parent / "examples"
sys.path[:0] = [str(FOLDER), str(EXAMPLES), str(EXAMPLES / "image_generation")]

import gpu  # noqa: E402
import ratios  # noqa: E402
import sampling  # noqa: E402

from regen_hf.training.accelerators import computes_bf16  # noqa: E402


@dataclasses.dataclass
class Row:
    """One figure: `bar` is what it must reach, as `"≥ 0.95"`; `value` and `holds` are null where not measured."""

    name: str
    what: str
    value: float | None
    unit: str
    bar: str | None
    holds: bool | None
    command: str
    machine: str


CPU_ROWS: dict[str, tuple[Callable[[], float], str, str | None, str]] = {
    "prior_training": (
        partial(ratios.in_scratch, ratios.prior_training), "of a bare loop's speed", "≥ 0.95",
        "training the demo's prior by `train`, from cached Y′ and texts, against a bare loop over tensors in memory",
    ),
    "extraction": (
        partial(ratios.in_scratch, ratios.extraction), "of the bare encoder's speed", "≥ 0.90",
        "`extract`, from PNG to Y′ on disk, against the encoder over tensors: Stable Diffusion's autoencoder, 64 px",
    ),
    "extraction_demo": (
        partial(ratios.in_scratch, ratios.extraction_demo), "of the bare encoder's speed", "≥ 0.90",
        "the same with the demo's small autoencoder at 32 px",
    ),
    "generation": (
        partial(ratios.in_scratch, ratios.generation), "of a bare loop's time", "≤ 1.05",
        "`pipeline(\"regeneration\")`, from texts to PIL pictures, against a bare diffusers loop to tensors",
    ),
    "cached_codes": (
        partial(ratios.in_scratch, ratios.cached_codes), "examples/s", "≥ 100000",
        "reading cached codes of 8 × 64 in random batches of 64, one thread",
    ),
    "extraction_memory": (
        partial(ratios.in_scratch, ratios.extraction_memory), "of the peak memory", "≤ 1.10",
        "extraction from 10,000 pictures against 1,000",
    ),
    "import_time": (
        ratios.import_time, "of transformers' time", "≤ 1.10",
        "`import regen_hf` against `from transformers import pipeline`",
    ),
    "autoregressive_generation": (
        sampling.autoregressive_generation, "of transformers' speed", "≥ 0.95",
        "`AutoregressiveGenerator.generate` against transformers' `generate` on the same T5 weights, batch 8",
    ),
    "masked_decoding": (
        partial(sampling.masked_decoding, width=192), "times the tokens/s", "≥ 4",
        "masked decoding in 12 steps against autoregressive decoding with a cache: 256 codes, 6 blocks of width 192",
    ),
    "masked_decoding_larger": (
        partial(sampling.masked_decoding, width=256), "times the tokens/s", "≥ 4", "the same with blocks of width 256",
    ),
    "diffusion_sampling": (
        sampling.diffusion_sampling, "of a bare loop's speed", "≥ 0.97",
        "`DiffusionGenerator.generate` against a bare diffusers loop over the demo's backbone, with guidance",
    ),
    "cached_training": (
        partial(ratios.in_scratch, ratios.cached_training), "times as fast", None,
        "training the demo's prior on cached Y′ against encoding in every step",
    ),
}  # fmt: skip
GPU_ROWS: dict[str, tuple[str, str | None, str]] = {
    "prior_parameters": ("parameters", None, "of the prior whose training is measured"),
    "prior_training_tokens_per_second": ("tokens/s", None, "training that prior in bf16"),
    "bf16_matrix_rate_tflops": ("TFLOP/s", None, "a bf16 matrix product of 8192 on this device"),
    "prior_training_share_of_matrix_rate": ("of the matrix rate", "≥ 0.45", "model FLOPs of that training"),
    "generation_tokens_per_second": ("tokens/s", None, "generation by that prior, batch 64"),
    "generation_images_per_second": ("images/s", None, "256 px, diffusion prior of 24 layers, 50 steps, guidance"),
    "extraction_images_per_second": ("images/s", None, "extraction by AutoencoderKL at 256 px"),
}


def processor() -> str:
    """The CPU: its name, how many cores, and whether it computes in bf16, on which the figures depend."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.is_file() else []
    bf16 = "bf16" if computes_bf16() else "no bf16"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"CPU {names[0] if names else platform.machine()}, {os.cpu_count()} cores, {capability}, {bf16}"


def machine(device: str) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "diffusers", "accelerate"))
    return f"{device}; Python {platform.python_version()}, {versions}"


def holds(value: float, bar: str | None) -> bool | None:
    if bar is None:
        return None
    sign, bound = bar.split()
    return value >= float(bound) if sign == "≥" else value <= float(bound)


def measured(only: list[str]) -> list[Row]:
    here = machine(processor())
    command, rows = "make bench", []
    for name, (measure, unit, bar, what) in CPU_ROWS.items():
        if not only or name in only:
            value = measure()
            rows.append(Row(name, what, round(value, 4), unit, bar, holds(value, bar), command, here))
            print(f"{name}: {value:.4g} {unit} (bar {bar})", flush=True)
    wanted = [name for name in GPU_ROWS if not only or name in only]
    found = {}
    if wanted and torch.cuda.is_available():
        found = ratios.in_scratch(partial(gpu.measure, torch.device("cuda"), gpu.Sizes()))
        here = machine(torch.cuda.get_device_name())
    for name in wanted:
        unit, bar, what = GPU_ROWS[name]
        value = found.get(name)
        passed = None if value is None else holds(value, bar)
        place = here if found else "not measured: no CUDA device"
        rows.append(Row(name, what, value, unit, bar, passed, command, place))
    return rows


def write(rows: list[Row], folder: Path) -> None:
    """`results.json`, with rows that were not measured this time as they were, and the table in `README.md`."""
    path = folder / "results.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    now = {row.name: dataclasses.asdict(row) for row in rows}
    merged = {row["name"]: row for row in before} | {
        name: row for name, row in now.items() if row["value"] is not None or name not in {r["name"] for r in before}
    }
    ordered = [merged[name] for name in [*CPU_ROWS, *GPU_ROWS] if name in merged]
    path.write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    readme = folder / "README.md"
    head, _, rest = readme.read_text(encoding="utf-8").partition("<!-- table -->")
    _, _, tail = rest.partition("<!-- end of table -->")
    machines = sorted({row["machine"] for row in ordered if row["value"] is not None})
    lines = ["| what | figure | bar | holds | on |", "|---|---|---|---|---|"]
    for row in ordered:
        figure = "not measured" if row["value"] is None else f"{row['value']:,.4g} {row['unit']}"
        if row["value"] is not None and row["value"] >= 10_000:
            figure = f"{row['value']:,.0f} {row['unit']}"
        verdict = {True: "yes", False: "**no**", None: ""}[row["holds"]]
        place = "" if row["value"] is None else f"({machines.index(row['machine']) + 1})"
        lines.append(f"| {row['what']} | {figure} | {row['bar'] or ''} | {verdict} | {place} |")
    table = "\n".join(lines + [f"\n({number}) {each}" for number, each in enumerate(machines, 1)])
    readme.write_text(f"{head}<!-- table -->\n{table}\n<!-- end of table -->{tail}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], choices=[*CPU_ROWS, *GPU_ROWS], help="rows to measure")
    options = parser.parse_args()
    logging.disable_progress_bar()
    disable_progress_bar()
    rows = measured(options.only)
    write(rows, FOLDER)
    failed = [row.name for row in rows if row.holds is False]
    print(f"written to {FOLDER / 'results.json'}; {'all bars hold' if not failed else f'below the bar: {failed}'}")


if __name__ == "__main__":
    main()
