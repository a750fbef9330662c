import io
import os
import stat

import numpy as np
import pytest
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image

from regen_hf import ImageModality, VideoModality, readable_examples
from regen_hf.modalities.readers.pictures import picture

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
RED = Image.new("RGB", (4, 4), "red")


def saved(image, kind: str = "PNG", **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """Stands for Ghostscript, and leaves a file where it is started."""
    program, ran = tmp_path / "gs", tmp_path / "ran"
    program.write_text(f"#!/bin/sh\necho ran >> {ran}\nexit 1\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return ran


@pytest.mark.parametrize(
    "form", ["bytes", "row", "path", "named png", "opened", "frame", "opened frame", "dataset", "list"]
)
def test_no_picture_is_a_program(tmp_path, ghostscript, form):
    path = tmp_path / ("a.png" if form == "named png" else "a.eps")
    path.write_bytes(EPS)
    row = {"bytes": EPS, "path": None}
    image, clips = ImageModality(4), VideoModality(4, 1)
    with pytest.raises(ValueError, match="is no readable image: it is (EPS, )?none of AVIF, BMP"):
        if form == "dataset":
            rows = Dataset.from_dict({"y": [row]}, features=Features({"y": ImageFeature()}))
            image.as_target(image.prepare_column(rows, "y")[:]["y"])
        elif form == "list":
            rows = Dataset.from_dict({"y": [[row]]}).cast_column("y", [ImageFeature()])
            clips.as_target(clips.prepare_column(rows, "y")[:]["y"])
        else:
            given = {"bytes": EPS, "row": row, "frame": [row]}.get(form, path)
            if form.startswith("opened"):
                given = Image.open(path) if form == "opened" else [Image.open(path)]
            (clips if "frame" in form else image).as_target([given])
    assert not ghostscript.exists()


@pytest.mark.parametrize("kind", ["AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP", "MPO"])
def test_reads_what_is_common(kind):
    for given in (saved(RED, kind), Image.open(io.BytesIO(saved(RED, kind)))):
        assert np.abs(np.array(picture("x", given), int) - [255, 0, 0]).max() < 5


@pytest.mark.parametrize("kind", ["ICO", "TGA", "PCX", "ICNS", "DDS", "SGI", "IM", "MSP"])
def test_does_not_read_what_is_rare(kind):
    with pytest.raises(ValueError, match="x is no readable image: it is none of AVIF"):
        picture("x", saved(RED.convert("1") if kind == "MSP" else RED, kind))


@pytest.mark.parametrize("pixels, form", [(101, "file"), (101, "opened"), (250, "file"), (250, "row")])
def test_larger_pictures_than_pillow_allows_are_named_and_skipped(monkeypatch, recwarn, pixels, form):
    """Up to twice as many Pillow only warns."""
    big = saved(Image.new("RGB", (pixels, 1)))
    given = {"file": big, "row": {"bytes": big, "path": "big.png"}}.get(form) or Image.open(io.BytesIO(big))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"(x|big.png) is no readable image: .*pixels"):
        picture("x", given)
    rows = Dataset.from_dict({"y": [{"bytes": each, "path": None} for each in (saved(RED), big)]})
    assert len(readable_examples(rows, {"y": ImageModality(4).as_target}, "skip")) == 1
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert picture("x", big).size == (pixels, 1)


def test_texts_within_a_picture_are_bounded():
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("a", "x" * 5_000_000, zip=True)
    with pytest.raises(ValueError, match="x is no readable image: .*too large"):
        picture("x", saved(RED, pnginfo=info))


def turned(kind: str) -> bytes:
    """Red above and blue below, stored lying, as telephones do."""
    image = Image.new("RGB", (8, 8), "blue")
    image.paste("red", (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image.transpose(Image.Transpose.ROTATE_90), kind, exif=exif)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_pictures_are_upright(kind):
    for given in (turned(kind), Image.open(io.BytesIO(turned(kind)))):
        found = np.array(picture("x", given), int)
        assert found[1, :, 0].min() > 200 and found[6, :, 2].min() > 200


@pytest.mark.parametrize("image, expected", [
    (Image.fromarray(np.full((2, 2), 32768, np.uint16)), 128),
    (Image.open(io.BytesIO(saved(Image.fromarray(np.full((2, 2), 65535, np.uint16))))), 255),
    (Image.open(io.BytesIO(b"P5 2 2 65535\n" + b"\x80\0" * 4)), 128),
    (Image.fromarray(np.full((2, 2), 0.5, np.float32)), 128),
    (Image.fromarray(np.full((2, 2), 200, np.int32)), 200),
])  # fmt: skip
def test_grey_of_any_depth_is_scaled_by_its_range(image, expected):
    assert (np.array(picture("x", image)) == expected).all()


@pytest.mark.parametrize("values, message", [
    (np.float32([[0.5, np.nan]]), "its pixels are not all finite"),
    (np.float32([[0.5, -np.inf]]), "its pixels are not all finite"),
    (np.float32([[0, 255]]), "in mode F must be from 0 to 1, got from 0 to 255"),
    (np.int32([[-1, 2]]), "in mode I must be from 0 to 255, got from -1 to 2"),
    (np.int32([[0, 70000]]), "in mode I must be from 0 to 255, got from 0 to 70000"),
])  # fmt: skip
def test_pixels_without_a_range_are_named(values, message):
    with pytest.raises(ValueError, match=f"x is no readable image: its pixels.*{message.removeprefix('its pixels ')}"):
        picture("x", Image.fromarray(values))


def test_one_colour_may_be_clear():
    given = saved(Image.new("RGB", (2, 2), "red"), transparency=(255, 0, 0))
    assert (np.array(picture("x", given)) == 255).all()


def test_a_picture_without_pixels_is_named():
    with pytest.raises(ValueError, match="x is no readable image: it has no pixels"):
        picture("x", Image.new("RGB", (0, 4)))
