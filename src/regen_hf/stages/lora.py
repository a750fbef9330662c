"""Low-rank adapters on the parts of a regenerator, by peft."""

import math
import os
import re
import warnings
from collections.abc import Sequence

from torch import nn
from transformers.pytorch_utils import Conv1D

from ..modeling_regeneration import RegenerationModel

PARTS = {"extractor": "extractor", "prior": "prior", "decoder": "decoder_model"}
LINEAR = (nn.Linear, Conv1D)  # GPT-2 and its kin call a linear layer Conv1D


def add_lora(model: RegenerationModel, parts: Sequence[str], rank: int = 8, alpha: float | None = None) -> None:
    """Freezes a regenerator and puts adapters (Hu et al., 2021, arXiv:2106.09685) on the linear layers of some parts.

    `train_regenerator` then trains the adapters alone, and `save_pretrained` saves them alone. `from_pretrained` and
    `pipeline` load that folder together with the regenerator that it belongs to, from the name it was loaded from.

    Args:
        model: loaded by `from_pretrained`, so that the adapters can name what they belong to.
        parts: of `"extractor"`, `"prior"` and `"decoder"`. Convolutions and attention without linear layers stay as
            they are.
        rank: of the adapters.
        alpha: what they are scaled by, over `rank`; twice the rank if not given.

    Raises:
        ValueError: for a part that the model lacks or that has no linear layer, a model that was not loaded or that has
            adapters already, or a rank or alpha that is not above 0.
    """
    from peft import LoraConfig

    if not model.name_or_path:
        raise ValueError("`model` must have been loaded by `from_pretrained`: an adapter names what it belongs to.")
    if has_adapters(model):
        base = model.peft_config["default"].base_model_name_or_path
        raise ValueError(f"`model` has adapters already: load the regenerator without them, from {base}.")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise ValueError(f"`rank` must be a whole number of at least 1, got {rank!r}.")
    if alpha is not None and (
        isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < math.inf
    ):
        raise ValueError(f"`alpha` must be above 0, got {alpha!r}.")
    # a pattern of whole names: peft takes a list of names for endings, which the parts of a nested regenerator share
    targets = "|".join(re.escape(name) for part in _checked(model, parts) for name in _linear_layers(model, part))
    config = LoraConfig(r=rank, lora_alpha=2 * rank if alpha is None else alpha, target_modules=targets)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out")  # peft sets it for each layer as it must be
        model.add_adapter(config)
    # peft reads this to name the regenerator in the adapters' file; a folder is found from everywhere
    base = os.path.abspath(model.name_or_path) if os.path.isdir(model.name_or_path) else model.name_or_path
    model.peft_config["default"].base_model_name_or_path = base


def has_adapters(model: RegenerationModel) -> bool:
    """Whether adapters were added or loaded."""
    return bool(getattr(model, "_hf_peft_config_loaded", False))


def _checked(model: RegenerationModel, parts: Sequence[str]) -> list[str]:
    there = [name for name, place in PARTS.items() if getattr(model, place) is not None]
    wrong = [parts] if isinstance(parts, str) or not parts else [part for part in parts if part not in there]
    if wrong:
        raise ValueError(f"`parts` must be a list of {', '.join(there)}, got {wrong[0]!r}.")
    return list(parts)


def _linear_layers(model: RegenerationModel, part: str) -> list[str]:
    layers = getattr(model, PARTS[part]).named_modules(prefix=PARTS[part])
    found = [name for name, layer in layers if isinstance(layer, LINEAR)]
    if not found:
        raise ValueError(f"`parts` holds {part!r}, which has no linear layer to adapt.")
    return found
