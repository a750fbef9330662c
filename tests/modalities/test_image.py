import io

import pytest
import torch
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from regen_hf import ImageModality


def test_pixels_run_from_minus_one_to_one_and_back():
    image = Image.new("RGB", (4, 4), (0, 255, 51))
    target = ImageModality(4).as_target([image])["target"]
    assert target.shape == (1, 3, 4, 4) and target.dtype == torch.float32
    assert target[0, :, 0, 0].tolist() == pytest.approx([-1, 1, -0.6], abs=1e-6)
    assert ImageModality(4).from_target(target)[0]["image"].getpixel((0, 0)) == (0, 255, 51)


def test_values_beyond_are_clipped():
    values = torch.tensor([2.0, -2.0, 0.0]).view(1, 3, 1, 1)
    assert ImageModality(1).from_target(values)[0]["image"].getpixel((0, 0)) == (255, 0, 128)


def test_resizes_and_lays_on_white():
    clear = Image.new("RGBA", (9, 5), (255, 0, 0, 0))
    assert (ImageModality(4).as_target([clear])["target"] == 1).all()
    assert ImageModality(4).as_target([Image.new("L", (3, 3), 0)])["target"].shape == (1, 3, 4, 4)


def test_reads_paths_and_bytes(tmp_path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "red.png")
    content = (tmp_path / "red.png").read_bytes()
    forms = [str(tmp_path / "red.png"), tmp_path / "red.png", {"bytes": content, "path": None}]
    target = ImageModality(4).as_target([*forms, {"bytes": None, "path": forms[0]}])["target"]
    assert (target == target[:1]).all()


def test_refuses_what_is_no_image(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    buffer = io.BytesIO()
    Image.effect_noise((32, 32), 50).convert("RGB").save(buffer, "png")
    cut = tmp_path / "cut.png"
    cut.write_bytes(buffer.getvalue()[:300])
    for file in (broken, cut, tmp_path / "absent.png"):
        with pytest.raises(ValueError, match=rf"{file.name} is no readable image"):
            ImageModality(4).as_target([str(file)])
    with pytest.raises(TypeError, match="target 0 must be a PIL image, a path or image bytes, got int"):
        ImageModality(4).as_target([3])
    with pytest.raises(ValueError, match="`size` must be a whole number of at least 1, got 0"):
        ImageModality(0)


def test_columns_are_read_undecoded():
    rows = {"image": [Image.new("RGB", (4, 4))], "n": [1]}
    dataset = Dataset.from_dict(rows, features=Features({"image": ImageFeature(), "n": Value("int64")}))
    assert isinstance(ImageModality(4).prepare_column(dataset, "image")[0]["image"], dict)
    assert ImageModality(4).prepare_column(dataset, "n") is dataset


def test_saves_a_sheet(tmp_path):
    samples = [{"image": Image.new("RGB", (4, 4), color)} for color in ("red", "blue")]
    ImageModality(4).save_samples(samples, ["a", "b"], tmp_path / "sheet")
    sheet = Image.open(tmp_path / "sheet.png")
    colors = {color for _, color in sheet.getcolors(100000)}
    assert {(255, 0, 0), (0, 0, 255), (255, 255, 255)} <= colors


def test_as_a_source_it_is_normalised_as_its_encoder_wants():
    modality = ImageModality(2, mean=[0.0, 0.5, 1.0], std=[1.0, 0.5, 0.25])
    given = modality.as_source([Image.new("RGB", (2, 2), (255, 255, 0))])["pixel_values"]
    assert given.shape == (1, 3, 2, 2)
    assert given[0, :, 0, 0].tolist() == pytest.approx([1.0, 1.0, -4.0], abs=1e-5)
    assert ImageModality(**modality.to_dict()).to_dict() == modality.to_dict()
