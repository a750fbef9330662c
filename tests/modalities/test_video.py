import sys

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Value, Video
from PIL import Image

from regen_hf import VideoModality, save_video

COLORS = ["red", "lime", "blue", "white", "black", "yellow"]
RGB = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (255, 255, 0)]


def clip(count: int = 6, size: tuple[int, int] = (8, 8)) -> list:
    return [Image.new("RGB", size, color) for color in COLORS[:count]]


def test_pixels_run_from_minus_one_to_one_and_back():
    target = VideoModality(4, 6).as_target([clip(size=(4, 4))])["target"]
    assert target.shape == (1, 3, 6, 4, 4) and target.dtype == torch.float32
    assert target[0, :, 1, 0, 0].tolist() == [-1, 1, -1]
    made = VideoModality(4, 6, fps=5).from_target(target)[0]
    assert made["fps"] == 5 and [frame.getpixel((3, 3)) for frame in made["video"]] == RGB


def test_frames_are_taken_at_even_distances():
    target = VideoModality(4, 3).as_target([clip(5)])["target"]
    assert (torch.tensor([[1, -1, -1], [-1, -1, 1], [-1, -1, -1]]) == target[0, :, :, 0, 0].T).all()  # 0, 2 and 4


@pytest.mark.parametrize("ending", ["mp4", "gif"])
def test_reads_what_it_writes(tmp_path, ending):
    path = tmp_path / "made" / f"clip.{ending}"
    save_video(clip(), path, fps=4)
    forms = [path, str(path), path.read_bytes(), {"bytes": path.read_bytes(), "path": None}, {"path": str(path)}]
    target = VideoModality(8, 6).as_target(forms)["target"]
    assert (target == target[:1]).all()
    expected = VideoModality(8, 6).as_target([np.stack([np.asarray(frame) for frame in clip()])])["target"]
    assert (target[0] - expected[0]).abs().max() < 0.05


def test_sizes_that_are_not_even_can_be_written(tmp_path):
    save_video(clip(size=(9, 7)), tmp_path / "odd.mp4")
    assert VideoModality(4, 6).as_target([tmp_path / "odd.mp4"])["target"].shape == (1, 3, 6, 4, 4)


def test_samples_are_a_sheet_in_motion(tmp_path):
    samples = [{"video": clip(2), "fps": 4}, {"video": clip(4)[2:], "fps": 4}]
    path = VideoModality(8, 2, fps=4).save_samples(samples, ["a", "b"], tmp_path / "sheet")
    with Image.open(path) as sheet:
        assert (sheet.format, sheet.n_frames, sheet.info["duration"]) == ("GIF", 2, 250)
        first = {color for _, color in sheet.convert("RGB").getcolors(9999)}
        sheet.seek(1)
        second = {color for _, color in sheet.convert("RGB").getcolors(9999)}
    assert {RGB[0], RGB[2]} <= first and {RGB[1], RGB[3]} <= second and RGB[1] not in first


def test_columns_are_read_undecoded():
    rows = {"video": [{"bytes": b"clip", "path": None}], "n": [1]}
    dataset = Dataset.from_dict(rows, features=Features({"video": Video(), "n": Value("int64")}))
    assert VideoModality(4, 2).prepare_column(dataset, "video")[0]["video"] == {"bytes": b"clip", "path": None}
    assert VideoModality(4, 2).prepare_column(dataset, "n") is dataset


def test_settings_survive():
    modality = VideoModality(4, 3, fps=12)
    assert VideoModality(**modality.to_dict()).to_dict() == {"size": 4, "num_frames": 3, "fps": 12}


def test_refuses_what_is_no_clip(tmp_path, monkeypatch):
    video = VideoModality(4, 2)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    for file in ("broken.mp4", "absent.mp4"):
        with pytest.raises(ValueError, match=f"{file} is no readable video"):
            video.as_target([str(tmp_path / file)])
    with pytest.raises(ValueError, match="target 1 must have at least `num_frames` 2 frames, got 0"):
        video.as_target([clip(), []])
    with pytest.raises(ValueError, match="target 0 must have frames of one size, got 8 × 8 and 9 × 8"):
        video.as_target([[*clip(2), Image.new("RGB", (9, 8))]])
    with pytest.raises(ValueError, match=r"target 0 must be \(frames, height, width, 3\), uint8, got \(2, 3, 4, 4\)"):
        video.as_target([np.zeros((2, 3, 4, 4), np.uint8)])
    with pytest.raises(TypeError, match="target 0 must be an array, PIL images, a path or bytes of a video, got int"):
        video.as_target([3])
    with pytest.raises(ValueError, match="`num_frames` must be a whole number of at least 1, got 0"):
        VideoModality(4, 0)
    with pytest.raises(ValueError, match=r"`path` must end in .mp4 or .gif, got '.*clip.avi'"):
        save_video(clip(), tmp_path / "clip.avi")
    with pytest.raises(ValueError, match="`frames` must hold at least one image"):
        save_video([], tmp_path / "clip.gif")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"need the package av: pip install 'regen_hf\[video\]'"):
        video.as_target([b"clip"])
