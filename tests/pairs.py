"""Pairs of a text and a picture of its colour, for tests."""

import tiny
from datasets import Dataset, Features, Image, Value
from PIL import Image as PILImage

COLORS = {"red": (255, 0, 0), "blue": (0, 0, 255), "green": (0, 255, 0), "dancing": (255, 255, 0)}


def pairs():
    texts = [name for name in tiny.NAMES for _ in range(4)]
    images = [PILImage.new("RGB", (16, 16), COLORS[text.split()[0]]) for text in texts]
    features = Features({"text": Value("string"), "image": Image()})
    return Dataset.from_dict({"text": texts, "image": images}, features=features)


def broken(tmp_path):
    dataset = pairs().cast_column("image", Image(decode=False))
    rows = [row["image"] for row in dataset]
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no picture")
    rows[5] = {"bytes": None, "path": str(tmp_path / "broken.png")}
    features = Features({"text": Value("string"), "image": Image()})
    return Dataset.from_dict({"text": dataset["text"], "image": rows}, features=features)
