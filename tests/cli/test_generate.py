import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli.shared_options import SHARED, option_names, train_data
from PIL import Image as PILImage

from regen_hf import RegenerationModel
from regen_hf.cli import generate


def generated(run, out, *more):
    """The sheet that was made, as a picture."""
    found = run("generate", "--model", "model", "--output", out, *more)
    assert found.status == 0, found.error
    with PILImage.open(re.search(r"see (.*\.png)$", found.out.strip())[1]) as sheet:
        return found.out, sheet.size, sheet.tobytes()


def test_generates_for_sources_and_repeats_itself(run, tmp_path):
    two = ["--sources", "red heart", "blue dog"]
    said, size, pixels = generated(run, tmp_path / "a", *two)
    assert said.startswith("2 generated") and (tmp_path / "a.png").is_file()
    assert generated(run, tmp_path / "b.png", *two)[2] == pixels
    assert generated(run, tmp_path / "c", *two, "--seed", 1)[2] != pixels
    assert generated(run, tmp_path / "d", *two, "--generation", '{"num_inference_steps": 5}')[2] != pixels
    assert generated(run, tmp_path / "e", *two, "--generation", '{"guidance": 9.0}')[2] != pixels
    said, wider, _ = generated(run, tmp_path / "f", *two, "--num_return_sequences", 3)
    assert said.startswith("6 generated") and wider[0] > size[0]


def test_generates_for_a_column_in_batches(run, tmp_path, monkeypatch):
    rows, generate = [], RegenerationModel.generate

    def count(self, **batch):
        rows.append(len(batch["input_ids"]))
        return generate(self, **batch)

    monkeypatch.setattr(RegenerationModel, "generate", count)
    asked = ["--dataset", "splits", "--split", "train[:5]", "--source_column", "text", "--batch_size", 2]
    assert generated(run, tmp_path / "a", *asked)[0].startswith("5 generated")
    assert rows == [2, 2, 1]


def test_generating_is_for_one_process(run, monkeypatch):
    monkeypatch.setattr(generate, "processes", lambda: SimpleNamespace(num_processes=2))
    found = run("generate", "--model", "model", "--output", "out", "--sources", "a")
    assert found.status == 2 and "generate runs in one process, got 2" in found.error


GENERATE = ["generate", "--model", "model", "--output", "out"]

WRONG = {
    "no source": (GENERATE, "give either `sources` or a `dataset`"),
    "two sources": ([*GENERATE, "--sources", "a", "--dataset", "flat"], "give either `sources`"),
    "split of no dataset": ([*GENERATE, "--sources", "a", "--split", "b"], "`split` is 'b', which has no"),
    "generate no column": ([*GENERATE, "--dataset", "flat"], "no column 'source'; its columns are"),
    "empty source": ([*GENERATE, "--sources", " "], "source 0 must be text"),
    "unknown of generate": ([*GENERATE, "--sources", "a", "--generation", '{"guidanse": 1}'], "guidanse"),
    "own of generate": (
        [*GENERATE, "--sources", "a", "--generation", '{"batch_size": 1}'],
        "`generation` must not hold 'batch_size', which the command sets itself",
    ),
    "no sequences": (
        [*GENERATE, "--sources", "a", "--num_return_sequences", 0],
        "`num_return_sequences` must be a whole number of at least 1, got 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_one_line(argv, message, refused):
    refused(argv, message)


CASES = {
    **SHARED,
    "dataset": (["--dataset", "e"], lambda calls: list(calls.data), [("train", "e")]),
    "sources": (["--dataset", "", "--sources", "a", "b"], lambda calls: calls.pipe.args, (["a", "b"],)),
    "source_column": (["--source_column", "text"], lambda calls: train_data(calls).read, ["text"]),
    "output": (["--output", "p"], lambda calls: calls.save.args[2], Path("p")),
    "num_return_sequences": (["--num_return_sequences", 3], lambda calls: calls.pipe.num_return_sequences, 3),
    "batch_size": (["--batch_size", 3], lambda calls: calls.pipe.batch_size, 3),
    "seed": (["--seed", 3], lambda calls: calls.pipe.generator.initial_seed(), 3),
    "generation": (["--generation", '{"guidance": 2}'], lambda c: getattr(c.pipe, "guidance", None), 2),
}  # fmt: skip


LEAST = ["generate", "--model", "m", "--dataset", "d", "--output", "o"]


@pytest.mark.parametrize("name", option_names(generate.generate))
def test_every_argument_reaches_where_it_is_used(name, reaches):
    """A new one fails here until it is in `CASES`."""
    reaches(LEAST, *CASES[name])


def test_every_case_is_of_an_option():
    assert set(CASES) == set(option_names(generate.generate))
