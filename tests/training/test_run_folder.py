import pytest
import torch
from torch import nn

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


def test_an_unfinished_run_is_not_begun_anew_by_accident(tmp_path):
    folder = RunFolder(tmp_path)
    folder.begin({}, model(0))
    with pytest.raises(ValueError, match=r"holds a run that is not finished: pass `resume=True` \(`--resume`\)"):
        RunFolder(tmp_path).begin({}, model(0))
    folder.finish()
    RunFolder(tmp_path).begin({}, model(0))


def test_what_a_finished_run_left_is_not_taken_for_this_one(tmp_path):
    folder = RunFolder(tmp_path)
    folder.begin({}, model(0))
    (folder.stages / "prior").mkdir()
    (folder.stages / "prior" / "result.json").write_text("{}")
    folder.finish()
    RunFolder(tmp_path).begin({}, model(0))
    assert not (folder.stages / "prior").exists()


def test_a_model_that_a_killed_run_had_put_aside_comes_back(tmp_path):
    old = tmp_path / ".model.abc" / "old"
    old.mkdir(parents=True)
    (old / "config.json").write_text("{}")
    with RunFolder(tmp_path).claimed():
        assert (tmp_path / "model" / "config.json").is_file()
    assert not list(tmp_path.glob(".model.*"))


def test_another_run_is_not_continued(tmp_path):
    RunFolder(tmp_path).begin({"dataset": "a", "stages": ["prior"], "model": "m"}, model(0))
    with pytest.raises(ValueError, match="it was begun with other dataset, stages"):
        RunFolder(tmp_path, resume=True).begin({"dataset": "b", "stages": ["decoder"], "model": "m"}, model(0))


def test_resume_begins_where_there_is_nothing(tmp_path):
    folder = RunFolder(tmp_path / "new", resume=True)
    folder.begin({}, model(0))
    assert not folder.resume and (tmp_path / "new" / "stages" / "run.json").is_file()


def test_one_run_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "PATIENCE", 0)
    other = RunFolder(tmp_path).claimed()
    with RunFolder(tmp_path).claimed(), pytest.raises(OSError, match="another run is writing to the output folder"):
        other.__enter__()
    with RunFolder(tmp_path).claimed():
        pass
    assert not list(tmp_path.iterdir())
