"""The model card, written from what a run really was."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

USE = """```python
import regen_hf
from transformers import pipeline

pipe = pipeline("regeneration", model=".")  # this folder, or its name on the Hub
pipe({example})
```"""


def write_model_card(
    folder: str | os.PathLike,
    summary: Mapping[str, Any],
    metrics: Mapping[str, Any] | None = None,
    *,
    example: Any,
    title: str = "A regenerator",
    description: str = "",
    pipeline_tag: str | None = None,
    license: str | None = None,
) -> Path:
    """Writes `README.md` into a saved model's folder.

    Args:
        summary: the `training_summary.json` that [`train_regenerator`] wrote.
        metrics: what was measured, by name.
        title, description: of the model, in words.
        example: an X to show in the code.
        pipeline_tag: the Hub's name of the task, such as `"text-to-image"`.
        license: of the weights, by its name on the Hub; it must allow for those of the parts and of the data. The card
            names none unless it is given.
    """
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(
        license=license, library_name="regen_hf", pipeline_tag=pipeline_tag, tags=["regeneration-learning", "regen_hf"]
    )
    parts = [f"| {name} | `{p['class']}` | {p['parameters']:,} |" for name, p in summary["parts"].items()]
    stages = []
    for stage in summary["stages"]:
        losses = [f"{stage[kind][-1][1]:.4f}" if stage[kind] else "" for kind in ("losses", "validation")]
        stages.append(f"| {stage['name']} | {stage['steps']:,} | {stage['seconds']:.0f} | {' | '.join(losses)} |")
    counts = {kind: "a stream of" if n is None else f"{n:,}" for kind, n in summary["examples"].items()}
    examples = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    lines = [
        f"---\n{data.to_yaml()}\n---",
        f"# {title}",
        description,
        f"It generates by way of an intermediate representation (Y′): {summary['representation']}.",
        "## Use",
        USE.format(example=repr(str(example) if isinstance(example, str) else example)),  # np.str_ is one
        "## Parts",
        "\n".join(["| part | class | parameters |", "|---|---|---|", *parts]),
        "## Training",
        f"Examples: {examples}. Trained on {summary['device']} with {versions}.",
        "\n".join(["| stage | steps | seconds | last loss | validation loss |", "|---|---|---|---|---|", *stages]),
    ]
    if metrics:
        rows = [f"| {name} | {value} |" for name, value in metrics.items()]
        lines += ["## Measured", "\n".join(["| metric | value |", "|---|---|", *rows])]
    path = Path(folder) / "README.md"
    ModelCard("\n\n".join(filter(None, lines)) + "\n", ignore_metadata_errors=False).save(path)
    return path
