"""The example of video: end to end in a few steps, the clips that it draws, and what it says of bad input."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from example_modules import load, shorten
from PIL import Image as PILImage
from transformers import pipeline

from regen_hf import VideoModality

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data():
    return load("video_generation", "data")


def pictures(*names: str) -> Dataset:
    features = Features({"text": Value("string"), "image": Image()})
    drawn = [PILImage.new("RGB", (16, 16), ("black", "red", "blue")[i % 3]) for i in range(len(names))]
    return Dataset.from_dict({"text": list(names), "image": drawn}, features=features)


def test_every_picture_is_drawn_in_every_motion(data):
    rows = data.clips(pictures("dot", "heart"), 16, 4, 2)
    assert len(rows) == 2 * len(data.MOTIONS) and rows[0]["video"].shape == (4, 16, 16, 3)
    assert "heart falls and bounces" in rows["text"] and len(data.clips(pictures("dot", "heart"), 16, 4, 1)) == 12


def test_motions_are_those_that_their_names_say(data):
    middles = load("video_generation", "evaluate").middles

    def path(motion: str) -> list[list[float]]:
        black = PILImage.new("RGB", (8, 8), "black")
        frames = [np.asarray(data.frame(black, 32, *data.MOTIONS[motion](t))) for t in (0.0, 0.5, 1.0)]
        clip = torch.tensor(np.stack(frames)).permute(3, 0, 1, 2)[None] / 127.5 - 1
        return middles(clip)[0].round().tolist()

    assert path("moves right") == [[8, 16], [16, 16], [24, 16]]
    assert path("falls") == [[16, 8], [16, 16], [16, 24]]
    assert path("falls and bounces")[1] == [16, 24] and path("falls and bounces")[0] == [16, 8]
    assert path("jumps") == [[16, 24], [16, 8], [16, 24]]
    assert path("grows") == [[16, 16]] * 3
    black = PILImage.new("RGB", (8, 8), "black")
    sizes = [(np.asarray(data.frame(black, 32, *data.MOTIONS["grows"](t))) == 0).all(2).sum() for t in (0.0, 1.0)]
    assert sizes == [8 * 8, 24 * 24]


@pytest.fixture(scope="module")
def run():
    """Two steps a stage on small clips of a few pictures."""
    run = load("video_generation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "emoji_dataset", lambda _: pictures("dot", "heart", "red heart"))
        patch.setattr("task.is_held_out", lambda text: text in ("dot falls", "red heart jumps"))
        shorten(patch, run)
        yield run


def asked(folder, *more: str) -> list[str]:
    return [f"--output={folder / 'out'}", "--things=3", "--size=16", "--num-frames=8", *more]


@pytest.fixture(scope="module")
def compared(run, tmp_path_factory):
    """The folder of a run by way of latents, and end to end."""
    folder = tmp_path_factory.mktemp("compared")
    run.main(asked(folder, "--compare"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("representation", ["latents", "lowres"])
def test_every_way_from_the_command_line(run, compared, tmp_path, representation):
    folder = compared if representation == "latents" else tmp_path
    if representation != "latents":
        run.main(asked(folder, f"--representation={representation}"))
    metrics = json.loads((folder / "out" / "metrics.json").read_text())
    assert {"heldout_retrieval_top1", "trajectory_error", "trajectory_error_true", "disturbed_psnr"} <= metrics.keys()
    assert (metrics["heldout_count"], metrics["clips"]) == (2, 34)
    assert {path.name for path in (folder / "out" / "clips").iterdir()} == {"0.mp4", "1.mp4"}
    assert (folder / "out" / "samples.gif").is_file() and (folder / "out" / "true.gif").is_file()
    made = pipeline("regeneration", model=str(folder / "out" / "model"))("dot falls")
    assert len(made["video"]) == 8 and made["video"][0].size == (16, 16)


@pytest.mark.slow
def test_the_baseline_is_as_large(compared):
    metrics = json.loads((compared / "out" / "metrics.json").read_text())
    assert metrics["direct_parameters"] == pytest.approx(metrics["parameters"], rel=0.05)
    assert {"direct_heldout_retrieval_top1", "direct_trajectory_error"} <= metrics.keys()


def test_a_clip_that_cannot_be_read_is_named_before_anything_is_trained(run, tmp_path, monkeypatch):
    clip = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.full((8, 16, 16, 3), 30, dtype=np.uint8)
    VideoModality(16, 8).save_samples([{"video": [PILImage.fromarray(each) for each in clip]}], [""], tmp_path / "a")
    rows = {"text": ["a falls", "b falls"], "video": [str(tmp_path / "a.gif"), str(tmp_path / "none.mp4")]}
    monkeypatch.setattr("task.named_dataset", lambda *_: Dataset.from_dict(rows))
    with pytest.raises(ValueError, match="example 1, column 'video': .*none.mp4 is no readable video"):
        run.main(asked(tmp_path, "--dataset=any"))
    assert not (tmp_path / "out" / "model").exists()
