import io

import pytest
from datasets import Audio, Dataset, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image

from regen_hf import CombinedModality, ImageModality, LabelModality
from regen_hf.modalities.readers.columns import leave_undecoded, undecoded


def png(color: str = "red") -> dict:
    file = io.BytesIO()
    Image.new("RGB", (2, 2), color).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def rows(feature, value) -> Dataset:
    return Dataset.from_dict({"y": [value], "n": [1]}).cast(Features({"y": feature, "n": Value("int64")}))


@pytest.mark.parametrize("feature, value", [
    (ImageFeature(), png()),
    (List(ImageFeature()), [png(), png()]),
    ({"picture": ImageFeature(), "said": Audio()}, {"picture": png(), "said": {"bytes": b"wave", "path": None}}),
    (List({"a": List(ImageFeature())}), [{"a": [png()]}]),
])  # fmt: skip
def test_files_are_left_as_they_are_at_any_depth(feature, value):
    data = rows(feature, value)
    assert leave_undecoded(data, "y")[0]["y"] == value
    assert leave_undecoded(data, "y").select_columns(["y"]).select([0])[:]["y"] == [value]
    assert data.features["y"] == feature
    assert next(iter(leave_undecoded(data.to_iterable_dataset(), "y")))["y"] == value
    assert next(iter(undecoded(data["y"]))) == value
    assert leave_undecoded(data, "n") is data and leave_undecoded(data, "absent") is data


def test_a_part_of_a_combination_is_not_opened_by_datasets():
    both = CombinedModality(picture=ImageModality(2), kind=LabelModality(["a"]))
    data = rows({"picture": ImageFeature(), "kind": Value("string")}, {"picture": png(), "kind": "a"})
    prepared = both.prepare_column(data, "y")
    assert prepared[0]["y"]["picture"] == png()
    assert both.as_source(prepared[:]["y"])["pixel_values"].shape == (1, 3, 2, 2)
    assert next(iter(undecoded(data["y"]["picture"]))) == png()


def test_the_mode_of_an_image_is_kept():
    data = leave_undecoded(rows(ImageFeature(mode="L"), png()), "y")
    target = ImageModality(2).as_target(data[:]["y"])["target"]
    assert ((target + 1) * 127.5).round().unique().tolist() == [76]  # the grey of red
    assert data.select_columns(["y"])[0]["y"]["mode"] == "L"


def test_a_transform_of_the_users_own_gets_images():
    def darker(batch):
        return {"y": [image.point(lambda value: value // 5) for image in batch["y"]]}

    data = leave_undecoded(rows(ImageFeature(), png()).with_transform(darker), "y")
    target = ImageModality(2).as_target(data[:]["y"])["target"]
    assert ((target[0, 0] + 1) * 127.5).round().unique().tolist() == [51]
    broken = rows(ImageFeature(), {"bytes": b"%!PS-Adobe-3.0 EPSF-3.0\n", "path": None}).with_transform(darker)
    with pytest.raises(ValueError, match="an image is no readable image: it is none of"):
        leave_undecoded(broken, "y")[0]
