"""What a run was: for people as a picture, for the model card as a dictionary."""

import dataclasses
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from ..modeling_regeneration import RegenerationModel
from ..training.arguments import StageResult


def summarize(
    model: RegenerationModel, results: Sequence[StageResult], examples: Mapping[str, int | None]
) -> dict[str, Any]:
    """What a run was made of and came to, as JSON: `training_summary.json`.

    Args:
        examples: how many there were of each kind of data, `None` for a stream.
    """
    from importlib.metadata import version

    import torch

    parts = {"extractor": model.extractor, "prior": model.prior, "decoder": model.decoder_model}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"
    return {
        "stages": [dataclasses.asdict(result) for result in results],
        "examples": dict(examples),
        "representation": str(model.config.extractor_config.representation_spec),
        "parts": {
            name: {"class": type(part).__name__, "parameters": sum(p.numel() for p in part.parameters())}
            for name, part in parts.items()
            if part is not None
        },
        "device": device,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("torch", "transformers", "diffusers", "accelerate")},
    }


def plot_losses(results: Sequence[StageResult], path: str | os.PathLike) -> None:
    """Draws the losses of each stage, as a PNG; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(results), 3.5), layout="constrained")
    for axes, result in zip(figure.subplots(1, len(results), squeeze=False)[0], results, strict=True):
        axes.plot(*zip(*result.losses, strict=True), linewidth=1, label="training")
        if result.validation:
            axes.plot(*zip(*result.validation, strict=True), linewidth=1, marker="o", label="validation")
            axes.legend()
        axes.set(title=f"{result.name}, {result.seconds:.0f} s", xlabel="step", ylabel="loss", yscale="log")
        axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=120)
