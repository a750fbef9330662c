"""Small runs of `train_regenerator`, for tests."""

import tiny
from datasets import Dataset, Features, Image, Value
from PIL import Image as PILImage

from regen_hf import StageArguments, train_regenerator

COLORS = {"red": (255, 0, 0), "blue": (0, 0, 255), "green": (0, 255, 0), "dancing": (255, 255, 0)}


def pairs():
    texts = [name for name in tiny.NAMES for _ in range(4)]
    images = [PILImage.new("RGB", (16, 16), COLORS[text.split()[0]]) for text in texts]
    features = Features({"text": Value("string"), "image": Image()})
    return Dataset.from_dict({"text": texts, "image": images}, features=features)


def arguments(steps=6, **settings):
    return StageArguments(**{"max_steps": steps, "batch_size": 8, "warmup_steps": 1, "ema_decay": 0.9, **settings})


STAGES = {
    "latents": {"extractor": arguments(), "prior": arguments()},
    "codes": {"extractor": arguments(), "prior": arguments()},
    "lowres": {"prior": arguments(), "decoder": arguments()},
    "identity": {"prior": arguments()},
}


def run(folder, kind="latents", dataset=None, model=None, **settings):
    model = model or tiny.MODELS[kind]()
    asked = {**STAGES[kind], "source_column": "text", "target_column": "image", **settings}
    return model, train_regenerator(model, tiny.processor(), dataset or pairs(), folder, **asked)


def broken(tmp_path):
    dataset = pairs().cast_column("image", Image(decode=False))
    rows = [row["image"] for row in dataset]
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no picture")
    rows[5] = {"bytes": None, "path": str(tmp_path / "broken.png")}
    features = Features({"text": Value("string"), "image": Image()})
    return Dataset.from_dict({"text": dataset["text"], "image": rows}, features=features)
