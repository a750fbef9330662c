"""The modules of the examples, whose folders hold some with the same names."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

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
