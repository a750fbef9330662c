"""Low-rank adapters on the parts of a regenerator, by peft."""

from collections.abc import Sequence

from torch import nn

from .modeling_regeneration import RegenerationModel

PARTS = {"extractor": "extractor", "prior": "prior", "decoder": "decoder_model"}


def add_lora(model: RegenerationModel, parts: Sequence[str], rank: int = 8, alpha: int | None = None) -> None:
    """Freezes a regenerator and puts adapters (Hu et al., 2021, arXiv:2106.09685) on the linear layers of some parts.

    `train_regenerator` then trains the adapters alone, and `save_pretrained` saves them alone; loading that folder
    loads the regenerator that they belong to, by the name it was loaded from.

    Args:
        model: loaded by `from_pretrained`, so that the adapters can name what they belong to.
        parts: of `"extractor"`, `"prior"` and `"decoder"`.
        rank: of the adapters.
        alpha: what they are scaled by, over `rank`; twice the rank if not given.

    Raises:
        ValueError: for a part that the model lacks or that has no linear layer, or a model that was not loaded.
    """
    from peft import LoraConfig

    if not model.name_or_path:
        raise ValueError("`model` must have been loaded by `from_pretrained`: an adapter names what it belongs to.")
    if not isinstance(rank, int) or rank < 1:
        raise ValueError(f"`rank` must be a whole number of at least 1, got {rank!r}.")
    targets = []
    for part in parts:
        if part not in PARTS or getattr(model, PARTS[part]) is None:
            there = [name for name, place in PARTS.items() if getattr(model, place) is not None]
            raise ValueError(f"`parts` must be of {', '.join(there)}, got {part!r}.")
        layers = getattr(model, PARTS[part]).named_modules(prefix=PARTS[part])
        found = [name for name, layer in layers if isinstance(layer, nn.Linear)]
        if not found:
            raise ValueError(f"`parts` holds {part!r}, which has no linear layer to adapt.")
        targets += found
    model.add_adapter(LoraConfig(r=rank, lora_alpha=alpha or 2 * rank, target_modules=targets))
    # peft reads this to name the regenerator in the adapter's file
    model.peft_config["default"].base_model_name_or_path = model.name_or_path
