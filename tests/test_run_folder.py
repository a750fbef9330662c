import pytest
import torch
from torch import nn

from regen_hf.run_folder import RunFolder


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


def test_another_run_is_not_continued(tmp_path):
    RunFolder(tmp_path).begin({"dataset": "a", "stages": ["prior"], "model": "m"}, model(0))
    with pytest.raises(ValueError, match="it was begun with other dataset, stages"):
        RunFolder(tmp_path, resume=True).begin({"dataset": "b", "stages": ["decoder"], "model": "m"}, model(0))


def test_resume_begins_where_there_is_nothing(tmp_path):
    folder = RunFolder(tmp_path / "new", resume=True)
    folder.begin({}, model(0))
    assert not folder.resume and (tmp_path / "new" / "stages" / "run.json").is_file()


def test_one_run_at_a_time(tmp_path):
    other = RunFolder(tmp_path).claimed()
    with RunFolder(tmp_path).claimed(), pytest.raises(OSError, match="another run is writing to the output folder"):
        other.__enter__()
    with RunFolder(tmp_path).claimed():
        pass
    assert not list(tmp_path.iterdir())
