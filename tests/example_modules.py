"""The modules of the examples, whose folders hold some with the same names, and their models made quick to run."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from regen_hf import AutoregressiveGenerator, DiffusionGenerator, RegenerationModel

EXAMPLES = Path(__file__).parents[1] / "examples"
MODULES = ("run", "models", "evaluate", "pairs", "data", "rules")


def load(task: str, part: str = "run") -> ModuleType:
    """`run.py` or another module of an example."""
    kept = {name: sys.modules.pop(name, None) for name in MODULES}
    sys.path.insert(0, str(EXAMPLES / task))
    try:
        return importlib.import_module(part)
    finally:
        sys.path.remove(str(EXAMPLES / task))
        for name, module in kept.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


def shorten(patch, run: ModuleType, places: int | None = None) -> None:
    """Two steps a stage, of four examples each. The models are those of the example, but they denoise in two steps, and
    what they write has at most so many places: untrained, they would not end before the last."""
    patch.setattr(run, "STEPS", {name: dict.fromkeys(stages, 2) for name, stages in run.STEPS.items()})
    patch.setattr(run, "RECIPES", {stage: {**recipe, "batch_size": 4} for stage, recipe in run.RECIPES.items()})
    patch.setattr(run, "TRIAL", 1, raising=False)
    patch.setattr(run, "REPRESENTATIONS", {k: _shortened(v, places) for k, v in run.REPRESENTATIONS.items()})


def _shortened(build: Callable[..., RegenerationModel], places: int | None) -> Callable[..., RegenerationModel]:
    def built(*parts, **sizes) -> RegenerationModel:
        model = build(*parts, **sizes)
        for part in model.modules():
            if isinstance(part, DiffusionGenerator):
                part.config.generation = {**(part.config.generation or {}), "num_inference_steps": 2}
            if isinstance(part, AutoregressiveGenerator) and part.config.varies and places:
                part.config.max_places = places
        return model

    return built
