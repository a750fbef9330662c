"""Priors that are learned in one file of tests and write in another."""

import tiny
import torch

from regen_hf import AutoregressiveGenerator

READ_OUT = {"source_shape": (None,), "source_num_codes": 12, "condition_dropout": 0.0}


def reading_out(**settings) -> AutoregressiveGenerator:
    torch.manual_seed(0)
    given = {**READ_OUT, **settings}
    return AutoregressiveGenerator.from_components(tiny.gpt2(), (None,), 12, max_places=20, **given)


def beside(decoder=None, order="delay", stride=1, **settings) -> AutoregressiveGenerator:
    """Of two codebooks, with a place for each `stride` of the source."""
    spec = {"source_shape": [None], "source_num_codes": 9, "source_stride": stride, "max_places": 16, **settings}
    spec = {"num_codebooks": 2, "order": order, "condition_dropout": 0.0, **spec}
    torch.manual_seed(0)
    return AutoregressiveGenerator.from_components(decoder or tiny.llama(), (2, None), 12, **spec).eval()


def labels(rows: int) -> dict[str, torch.Tensor]:
    return {"class_labels": torch.arange(rows)[:, None] % 3}


def writer(shape=(None,), **settings) -> AutoregressiveGenerator:
    torch.manual_seed(0)
    settings = {"num_classes": 3, **settings}
    if shape[-1] is None:
        settings.setdefault("max_places", 12)
    return AutoregressiveGenerator.from_components(tiny.gpt2(), shape, 11, **settings).eval()
