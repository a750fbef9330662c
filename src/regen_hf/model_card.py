"""The model card, written from what a run really was."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .modeling_regeneration import RegenerationModel
from .training import StageResult

USE = """```python
import regen_hf
from transformers import pipeline

pipe = pipeline("regeneration", model=".")  # this folder, or its name on the Hub
pipe({example})
```"""


def write_model_card(
    folder: str | os.PathLike,
    model: RegenerationModel,
    results: Sequence[StageResult],
    metrics: Mapping[str, Any],
    *,
    title: str,
    description: str,
    example: str,
    pipeline_tag: str | None = None,
    license: str = "apache-2.0",
) -> Path:
    """Writes `README.md` into a saved model's folder.

    Args:
        results: what [`train_regenerator`] gave.
        metrics: what was measured, by name.
        title, description: of the model, in words.
        example: an X to show in the code.
        pipeline_tag: the Hub's name of the task, such as `"text-to-image"`.
        license: of the weights; it must allow for those of the parts and of the data.
    """
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(
        license=license, library_name="regen_hf", pipeline_tag=pipeline_tag, tags=["regeneration-learning", "regen_hf"]
    )
    parts = {"extractor": model.extractor, "prior": model.prior, "decoder": model.decoder_model}
    made_of = [
        f"| {name} | `{type(part).__name__}` | {sum(p.numel() for p in part.parameters()):,} |"
        for name, part in parts.items()
        if part is not None
    ]
    stages = [f"| {r.name} | {r.steps:,} | {r.seconds:.0f} | {r.losses[-1][1]:.4f} |" for r in results]
    lines = [
        f"---\n{data.to_yaml()}\n---",
        f"# {title}",
        description,
        f"It generates by way of Y′: {model.config.extractor_config.representation_spec}.",
        "## Use",
        USE.format(example=repr(example)),
        "## Parts",
        "\n".join(["| part | class | parameters |", "|---|---|---|", *made_of]),
        "## Training",
        "\n".join(["| stage | steps | seconds | last loss |", "|---|---|---|---|", *stages]),
        "## Measured",
        "\n".join(["| metric | value |", "|---|---|", *(f"| {k} | {v} |" for k, v in metrics.items())]),
    ]
    path = Path(folder) / "README.md"
    ModelCard("\n\n".join(lines) + "\n", ignore_metadata_errors=False).save(path)
    return path
