"""Small runs of `train_regenerator`, for tests."""

import tiny
from pairs import pairs

from regen_hf import StageArguments, train_regenerator


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
