import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from regen_hf.runtime import files as files_
from regen_hf.training import run_folder
from regen_hf.training.run_folder import RunFolder


def model(seed):
    torch.manual_seed(seed)
    return nn.Linear(2, 2)


def test_a_continued_run_starts_from_the_same_weights(tmp_path):
    first, second = model(0), model(1)
    RunFolder(tmp_path).begin({"stages": ["prior"]}, first)
    RunFolder(tmp_path, resume=True).begin({"stages": ["prior"]}, second)
    assert torch.equal(first.weight, second.weight)


@pytest.mark.parametrize("state", [" that is not finished", ""])
def test_a_run_is_not_begun_anew_by_accident(state, tmp_path):
    folder = RunFolder(tmp_path)
    folder.begin({}, model(0))
    if not state:
        folder.finish()
    both = r"pass `resume=True` \(`--resume`\) to go on with it, or `overwrite=True` \(`--overwrite`\) to begin anew"
    with pytest.raises(ValueError, match=f"{tmp_path} holds a run{state}: {both}"):
        RunFolder(tmp_path).begin({}, model(0))
    with pytest.raises(ValueError, match=f"holds a run{state}: pass"), RunFolder(tmp_path).claimed():
        pytest.fail("begun")
    RunFolder(tmp_path, overwrite=True).begin({}, model(0))
    assert not RunFolder(tmp_path).finished


def test_to_go_on_and_to_begin_anew_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`resume` goes on with the run in .*, `overwrite` begins anew: give one"):
        RunFolder(tmp_path, resume=True, overwrite=True)


OWN = [
    "final.safetensors", "best.safetensors", "result.json", "step-00000003/state.safetensors",
    "step-00000003/state.json", ".step-00000004.tmp/state.safetensors", "logs/regen_hf/events.out.tfevents.1.host.2.0",
    "logs/regen_hf/1764.5/hparams.yml", ".result.json.tmp",
]  # fmt: skip
MINE = [
    "mine.py", "prior/mine.py", "prior/step-00000003/mine.py", "prior/.step-00000004.tmp/mine.py", "prior/step-mine",
    "prior/step-1/state.json", "prior/logs/mine.txt", "prior/logs/regen_hf/mine.txt", "prior-copy/final.safetensors",
    "mine/result.json", "prior/step-00000003/state.json.mine", "prior/mine/final.safetensors",
]  # fmt: skip


def put(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_what_another_run_left_is_not_taken_for_this_one_and_nothing_else_is_removed(tmp_path):
    folder = RunFolder(tmp_path)
    folder.begin({"stages": ["prior"]}, model(0))
    put(folder.stages / "prior", OWN)
    put(folder.stages, MINE)
    folder.finish()
    RunFolder(tmp_path, overwrite=True).begin({"stages": ["decoder"]}, model(0))
    assert files(folder.stages) == sorted([*MINE, "run.json", "start.safetensors"])


def test_an_empty_stage_is_removed(tmp_path):
    folder = RunFolder(tmp_path)
    folder.begin({"stages": ["prior"]}, model(0))
    put(folder.stages / "prior", OWN)
    RunFolder(tmp_path, overwrite=True).begin({"stages": ["prior"]}, model(0))
    assert not (folder.stages / "prior").exists()


def test_a_run_that_was_killed_while_it_cleared_the_folder_clears_all_of_it(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.begin({"stages": ["extractor", "prior"]}, model(0))
    put(folder.stages / "prior", ["result.json"])
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(run_folder, "_remove_stage", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        RunFolder(tmp_path, overwrite=True).begin({"stages": ["decoder"]}, model(0))
    again = RunFolder(tmp_path, resume=True)
    again.begin({"stages": ["decoder"]}, model(0))
    assert not again.resume and not (folder.stages / "prior").exists()


@pytest.mark.parametrize("name", ["stages/mine.py", "model/config.json", "samples/mine.png", "training_summary.json"])
@pytest.mark.parametrize("settings", [{}, {"resume": True}, {"overwrite": True}])
def test_what_no_run_made_is_not_written_over(settings, name, tmp_path):
    put(tmp_path, [name, "notes.txt", ".model.mine/old/config.json"])
    message = f"the output folder {tmp_path} holds {name}, which no run has marked as its own: move it away, or give"
    with pytest.raises(ValueError, match=message), RunFolder(tmp_path, **settings).claimed():
        pytest.fail("begun")
    assert files(tmp_path) == sorted([name, "notes.txt", ".model.mine/old/config.json"])


@pytest.mark.parametrize("name", ["stages", "model", "samples", "training_summary.json", "stages/prior"])
def test_a_link_is_not_followed(name, tmp_path):
    put(tmp_path / "elsewhere", OWN)
    folder = RunFolder(tmp_path / "run")
    folder.begin({"stages": ["prior"]}, model(0))
    if name == "stages":
        folder.stages.rename(tmp_path / "run" / "moved")
    (tmp_path / "run" / name).symlink_to(tmp_path / "elsewhere")
    for settings in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(ValueError, match=f"{name} is a link, which a run does not write through"):
            RunFolder(tmp_path / "run", **settings).begin({"stages": ["prior"]}, model(0))
    assert files(tmp_path / "elsewhere") == sorted(OWN)


def test_a_run_of_an_older_version_is_gone_on_with_or_replaced(tmp_path):
    shutil.copytree(Path(__file__).parents[1] / "written_before" / "run", tmp_path / "run")
    put(tmp_path / "run", ["stages/mine.py", "model/mine.py"])
    with pytest.raises(ValueError, match="holds a run that is not finished"), RunFolder(tmp_path / "run").claimed():
        pytest.fail("begun")
    with RunFolder(tmp_path / "run", resume=True).claimed() as folder:
        assert folder.found["identity"]["stages"] == ["extractor", "prior", "joint"]
        made = ["README.md", "config.json", "model.safetensors", "processor_config.json", "regeneration_remote_code.py"]
        assert sorted(folder.model_files) == made
    RunFolder(tmp_path / "run", overwrite=True).begin({"stages": ["prior"]}, model(0))
    assert files(tmp_path / "run" / "stages") == ["mine.py", "run.json", "start.safetensors"]
    assert sorted(RunFolder(tmp_path / "run").model_files) == made


def test_what_is_no_file_of_a_run_is_left_alone(tmp_path):
    put(tmp_path, ["stages/run.json"])
    for settings in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(ValueError, match=r"run.json is no file of a run: move it away"):
            RunFolder(tmp_path, **settings).begin({}, model(0))
    (tmp_path / "stages" / "run.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"run.json is damaged"):
        RunFolder(tmp_path).begin({}, model(0))


@pytest.mark.parametrize(("key", "value", "named"), [
    ("model", ["../../precious.txt"], "model"), ("model", ["/precious.txt"], "model"), ("model", [".."], "model"),
    ("model", [""], "model"), ("model", "README.md", "model"), ("model", [3], "model"), ("model", None, "model"),
    ("stages", [".."], "stages"), ("stages", ["../elsewhere"], "stages"), ("stages", [None], "stages"),
    ("stages", "prior", "stages"), ("identity", {"stages": [".."]}, "identity.stages"),
    ("identity", {"stages": 3}, "identity.stages"), ("identity", ["stages"], "identity"), ("facts", [1], "facts"),
    ("finished", "no", "finished"), ("begun", 1, "begun"),
])  # fmt: skip
def test_what_no_run_says_of_itself_is_refused_by_its_key(key, value, named, tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin({"stages": ["prior"]}, model(0))
    said = json.loads((folder.stages / "run.json").read_text()) | {key: value}
    (folder.stages / "run.json").write_text(json.dumps(said))
    put(tmp_path, ["precious.txt", "elsewhere/result.json", "run/result.json", "run/model/config.json"])
    before = files(tmp_path)
    for settings in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(ValueError, match=rf"`{named}( of .*/run.json` |` of .*/run.json )must be ") as found:
            RunFolder(tmp_path / "run", **settings).begin({"stages": ["prior"]}, model(0))
        assert "\n" not in str(found.value)
    assert files(tmp_path) == before


def test_a_run_that_was_killed_before_it_had_marked_anything_is_begun(tmp_path):
    put(tmp_path, ["stages/start.safetensors"])  # as older versions did, which wrote it first
    RunFolder(tmp_path).begin({}, model(0))
    assert files(tmp_path) == ["stages/run.json", "stages/start.safetensors"]


def test_a_model_that_a_killed_run_had_put_aside_comes_back(tmp_path):
    RunFolder(tmp_path).begin({}, model(0))
    put(tmp_path, [".model.abc/old/config.json", ".model.mine/mine.py", ".model.scratch/.regen_hf_scratch"])
    with RunFolder(tmp_path, resume=True).claimed():
        assert (tmp_path / "model" / "config.json").is_file()
    assert [path.name for path in tmp_path.glob(".model.*")] == [".model.mine"]


@pytest.mark.parametrize("error", [
    OSError(28, "No space left on device"), OSError(122, "Disk quota exceeded"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
])  # fmt: skip
def test_a_full_disk_is_one_sentence(error, tmp_path):
    message = rf"output folder {tmp_path} cannot be written to: .*; make room, and `resume=True` \(`--resume`\) goes on"
    with pytest.raises(OSError, match=message), RunFolder(tmp_path).claimed():
        raise error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [OSError(2, "No such file"), OSError(13, "Permission denied", "/data/x.png"), ValueError("x")]
)
def test_another_error_stays_as_it_is(error, tmp_path):
    with pytest.raises(type(error)) as found, RunFolder(tmp_path).claimed():
        raise error
    assert found.value is error


def test_another_run_is_not_continued(tmp_path):
    RunFolder(tmp_path).begin({"dataset": "a", "stages": ["prior"], "model": "m"}, model(0))
    with pytest.raises(ValueError, match="it was begun with other dataset, stages"):
        RunFolder(tmp_path, resume=True).begin({"dataset": "b", "stages": ["decoder"], "model": "m"}, model(0))


def test_resume_begins_where_there_is_nothing(tmp_path):
    folder = RunFolder(tmp_path / "new", resume=True)
    folder.begin({}, model(0))
    assert not folder.resume and (tmp_path / "new" / "stages" / "run.json").is_file()


def test_one_run_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(files_, "PATIENCE", 0)
    other = RunFolder(tmp_path).claimed()
    message = rf"another run is writing to the output folder {tmp_path}: process {os.getpid()} on "
    with RunFolder(tmp_path).claimed(), pytest.raises(OSError, match=message):
        other.__enter__()
    with RunFolder(tmp_path).claimed():
        pass
    assert not list(tmp_path.iterdir())
