import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import run
import task
import torch
from data import mirrored, split
from datasets import Dataset, Features, Image, Value
from emoji_data import emoji_dataset, find_font
from evaluate import measure, psnr
from example_modules import shorten
from models import REPRESENTATIONS
from PIL import Image as PILImage
from run import STEPS, main
from task import is_held_out

from regen_hf import ImageModality, RegenerationPipeline, TextModality

ROOT = Path(__file__).parents[2]
COLORS = ("red", "green", "blue", "white", "black")
SHAPES = ("circle", "square", "cross", "star", "line", "dot", "ring", "arc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of pictures with a metadata.csv, as people have them."""
    folder = tmp_path_factory.mktemp("pictures")
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "text"])
        for i, text in enumerate(f"{color} {shape}" for color in COLORS for shape in SHAPES):
            PILImage.effect_noise((40, 40), 10 + i).convert("RGB").save(folder / f"{i}.png")
            writer.writerow([f"{i}.png", text])
    return folder


def test_the_held_out_rule():
    names = ["eyes", "red heart", "genie", "grinning face", "rocket", "bus stop"]
    assert [is_held_out(name) for name in names] == [True, False, True, True, False, True]


def test_splits_by_the_rule_and_asks_for_known_words_only():
    texts = [f"{color} {shape}" for color in COLORS for shape in SHAPES] + ["eyes"]
    trained, held, asked = split(Dataset.from_dict({"text": texts}), "text")
    assert sorted([*trained["text"], *held["text"]]) == sorted(texts)
    assert [text for text in texts if is_held_out(text)] == list(held["text"])
    assert [held["text"][k] for k in asked] == [text for text in held["text"] if text != "eyes"]


@pytest.mark.slow
def test_draws_the_emoji_of_the_system():
    dataset = emoji_dataset(32, find_font())
    assert 3000 < len(dataset) < 4200
    assert len(set(dataset["text"])) == len(dataset)
    pictures = {row["text"]: np.asarray(row["image"]) for row in dataset.select(range(0, len(dataset), 7))}
    assert all(picture.shape == (32, 32, 3) and picture.min() < 250 for picture in pictures.values())
    rows = dataset.filter(lambda text: text == "red heart", input_columns="text")
    red, green, blue = np.asarray(rows[0]["image"])[16, 16]
    assert red > 150 and green < 100 and blue < 100


def test_a_missing_font_says_what_to_install(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("emoji_data.FONT_PLACES", ())
    with pytest.raises(FileNotFoundError, match="apt-get install fonts-noto-color-emoji"):
        find_font()


def test_mirrored_pictures_have_no_names():
    image = PILImage.new("RGB", (2, 1))
    image.putpixel((0, 0), (255, 0, 0))
    features = Features({"text": Value("string"), "image": Image()})
    dataset = mirrored(Dataset.from_dict({"text": ["a"], "image": [image]}, features=features), "image")
    assert dataset.column_names == ["image"]
    assert dataset[0]["image"].getpixel((1, 0)) == (255, 0, 0)


class Painter:
    """Stands in for a pipeline whose pictures are known."""

    def __init__(self, pictures):
        import tiny

        self.pictures, self.model = pictures, tiny.direct_model()
        self.processor = type("Processor", (), {"target": ImageModality(16)})

    def __call__(self, texts, **_):
        return [{"image": self.pictures[text]} for text in texts]


def test_retrieval_counts_pictures_that_are_nearest_to_their_own():
    names = ["red", "green", "blue", "white"]
    true = {name: PILImage.new("RGB", (16, 16), name) for name in names}
    features = Features({"text": Value("string"), "image": Image()})
    held = Dataset.from_dict({"text": names, "image": list(true.values())}, features=features)
    drawn = {**true, "green": PILImage.new("RGB", (16, 16), (10, 0, 240))}  # nearer to blue
    metrics = measure(Painter(drawn), held, [0, 1, 2], "text", "image")
    assert metrics["heldout_retrieval_top1"] == pytest.approx(2 / 3, abs=1e-4)
    assert (metrics["heldout_count"], metrics["heldout_candidates"]) == (3, 4)
    assert metrics["reconstruction_psnr"] == 100  # the identity
    assert metrics["disturbed_psnr"] < 30


def test_psnr_is_that_of_the_mean_squared_error():
    assert psnr(torch.full((1, 4), 0.2), torch.zeros(1, 4)) == 20.0
    assert psnr(torch.zeros(1, 4), torch.zeros(1, 4)) == 100.0


QUICK = ("latents", "identity")
SLOW = [pytest.param(each, marks=pytest.mark.slow) for each in REPRESENTATIONS if each not in QUICK]


@pytest.mark.parametrize(
    "representation",
    [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in REPRESENTATIONS],
)
def test_every_representation_runs_from_the_command_line(representation, folder, tmp_path, monkeypatch):
    shorten(monkeypatch, run)
    main(["--dataset", str(folder), "--output", str(tmp_path), "--representation", representation])
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert 0 <= metrics["heldout_retrieval_top1"] <= 1
    assert metrics["heldout_count"] == sum(is_held_out(f"{c} {s}") for c in COLORS for s in SHAPES)
    assert {"reconstruction_psnr", "seconds_prior", "parameters", "seconds_total"} <= set(metrics)
    for name in ("samples.png", "curves.png", "model/README.md", "model/model.safetensors"):
        assert (tmp_path / name).is_file()


def test_the_baseline_is_as_large_and_trained_for_as_long(folder, tmp_path, monkeypatch):
    calls = []

    def measured(options, folder, dataset, representation, steps, **build):
        calls.append((representation, steps, build))
        if representation == "latents":
            return {"parameters": 5_700_000, "seconds_training": 400.0}
        return {"seconds_prior": 0.5 * steps["prior"], "heldout_retrieval_top1": 0.5}

    monkeypatch.setattr("run.train_and_measure", measured)
    main(["--dataset", str(folder), "--output", str(tmp_path), "--compare", "--scale", "0.5"])
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert calls[0][:2] == ("latents", {stage: n // 2 for stage, n in STEPS["latents"].items()})
    assert [steps for _, steps, _ in calls[1:]] == [{"prior": 40}, {"prior": 800}]  # 400 s at half a second
    assert metrics["direct_seconds_prior"] == 400 and metrics["direct_heldout_retrieval_top1"] == 0.5
    text = TextModality.from_words([f"{color} {shape}" for color in COLORS for shape in SHAPES])
    assert REPRESENTATIONS["identity"](32, text, **calls[1][2]).num_parameters() == pytest.approx(5_700_000, rel=0.05)


def start(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    command = [sys.executable, str(ROOT / "examples/image_generation/run.py"), *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job would ignore it
    )  # fmt: skip


@pytest.mark.slow
def test_ctrl_c_ends_readably_and_leaves_a_usable_model(folder, tmp_path):
    process = start("--dataset", folder, "--output", tmp_path, "--scale", 0.02)
    deadline = time.monotonic() + 240
    while not (tmp_path / "samples").is_dir() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    assert "Traceback" not in output
    assert "training was interrupted; the model so far is in" in output
    from transformers import pipeline

    pipe = pipeline("regeneration", model=str(tmp_path / "model"))
    assert isinstance(pipe, RegenerationPipeline)
    assert pipe("red circle", num_inference_steps=1)["image"].size == (32, 32)


def test_a_broken_picture_ends_in_one_line_or_is_skipped(folder, tmp_path, monkeypatch, capsys):
    broken = shutil.copytree(folder, tmp_path / "pictures")
    (broken / "3.png").write_bytes(b"no picture")
    with pytest.raises(SystemExit) as ended:
        task.end_with(lambda: main(["--dataset", str(broken), "--output", str(tmp_path / "out")]))
    assert str(ended.value).startswith("error: example") and "3.png is no readable image" in str(ended.value)
    assert "\n" not in str(ended.value)
    shorten(monkeypatch, run)
    monkeypatch.setattr("run.STEPS", {"identity": {"prior": 1}})
    asked = ["--representation", "identity", "--on-bad-example", "skip"]
    main(["--dataset", str(broken), "--output", str(tmp_path / "out"), *asked])
    assert "left out 1 of 40 examples" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["--text-column", "caption"], "the dataset has no column 'caption'; its columns are image, text"),
    (["--image-column", "picture"], "the dataset has no column 'picture'"),
    (["--output", "/proc/regen_hf"], "the output folder /proc/regen_hf cannot be written to"),
])  # fmt: skip
def test_bad_arguments_are_refused_before_training(arguments, message, folder, tmp_path):
    with pytest.raises((ValueError, OSError)) as error:
        main(["--dataset", str(folder), "--output", str(tmp_path), *arguments])
    assert message in str(error.value)
    assert not (tmp_path / "model").exists()
