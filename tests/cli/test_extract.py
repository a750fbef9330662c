from types import SimpleNamespace

import pytest
from cli.command_runs import trained, training
from cli.shared_options import SHARED, STREAMED, option_names
from pairs import pairs

from regen_hf.cache import representations
from regen_hf.cli import extract
from regen_hf.stages import inputs


@pytest.mark.parametrize("streaming", [[], ["--streaming"]])
def test_representations_are_extracted_and_trained_on(streaming, run, tmp_path, monkeypatch):
    asked = ["--model", "model", "--dataset", "files", "--target_column", "image", "--output_folder", tmp_path / "y"]
    found = run("extract", *asked, "--keep_columns", "text", "--batch_size", 7, *streaming)
    assert found.status == 0, found.error
    assert "24 representations, continuous values (shape 4 × 4 × 4), are in" in found.out
    cache = representations.RepresentationCache(tmp_path / "y")
    assert cache.dataset["text"] == pairs()["text"]
    if streaming:
        return
    monkeypatch.setattr(inputs, "extract", None)  # it is not done again by training
    trained(run, tmp_path / "out", "--representations", tmp_path / "y", dataset="files")
    trained(run, tmp_path / "same", "--representations", tmp_path / "y", dataset="splits")  # which holds the same
    more = ["--representations", tmp_path / "y", "--split", "validation"]
    found = run(*training(tmp_path / "other", *more, dataset="splits"))
    assert found.status == 2 and "was made from other data than asked for" in found.error
    found = run("extract", *asked, "--split", "train[:6]")
    assert found.status == 2 and "made from other data than asked for: pass `overwrite=True` (`--overw" in found.error
    found = run("extract", *asked, "--split", "train[:6]", "--overwrite")
    assert found.status == 0 and len(representations.RepresentationCache(tmp_path / "y")) == 6


EXTRACT = ["extract", "--model", "model", "--dataset", "flat", "--output_folder", "out"]

WRONG = {
    "extract no column": (EXTRACT, "no column 'target'; its columns"),
    "extract no kept column": (
        [*EXTRACT, "--target_column", "image", "--keep_columns", "label"], "no column 'label'; its columns",
    ),
    "private without a name": (
        [*EXTRACT, "--target_column", "image", "--private"], "`private` is True, which has no effect without `push_to_",
    ),
    "extract sources": ([*EXTRACT, "--source_column", "text"], "'--source_column', which is no argument"),
}  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_one_line(argv, message, refused):
    refused(argv, message)


CASES = {
    **SHARED,
    "dataset": (["--dataset", "e"], lambda calls: calls.extract.args[2].name, "e"),
    "target_column": (["--target_column", "image"], lambda calls: calls.extract.args[3], "image"),
    "keep_columns": (["--keep_columns", "a", "b"], lambda calls: calls.extract.columns, ["a", "b"]),
    "streaming": STREAMED,
    "output_folder": (["--output_folder", "p"], lambda calls: calls.extract.args[4], "p"),
    "push_to_hub": (["--push_to_hub", "user/y"], lambda c: hasattr(c, "push") and c.push.args, ("user/y",)),
    "private": (
        ["--push_to_hub", "user/y", "--private"], lambda calls: hasattr(calls, "push") and calls.push.private, True,
    ),
    "batch_size": (["--batch_size", 3], lambda calls: calls.extract.batch_size, 3),
    "num_workers": (["--num_workers", 3], lambda calls: calls.extract.num_workers, 3),
    "overwrite": (["--overwrite"], lambda calls: calls.extract.overwrite, True),
}  # fmt: skip


LEAST = ["extract", "--model", "m", "--dataset", "d", "--output_folder", "o"]


@pytest.mark.parametrize("name", option_names(extract.extract))
def test_every_argument_reaches_where_it_is_used(name, reaches):
    """A new one fails here until it is in `CASES`."""
    reaches(LEAST, *CASES[name])


def test_every_case_is_of_an_option():
    assert set(CASES) == set(option_names(extract.extract))


def test_one_process_of_several_tells_and_uploads(calls, run, monkeypatch):
    here = SimpleNamespace(is_main_process=False, num_processes=2, device="meta")
    monkeypatch.setattr(extract, "processes", lambda: here)
    found = run(*LEAST, "--push_to_hub", "user/y")
    assert (found.status, found.out) == (0, "") and not hasattr(calls, "push")
    assert calls.extract.args[0].device.type == "meta"  # each encodes where it is
