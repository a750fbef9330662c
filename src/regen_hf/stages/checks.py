"""What must hold before any stage begins, and what a resumed run must have in common with the one that was begun."""

import copy
import math
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from transformers.modeling_utils import remove_tied_weights_from_state_dict

from ..cache.fingerprints import config_text, older_config_text
from ..modeling_regeneration import RegenerationModel
from ..processing_regeneration import RegenerationProcessor
from ..runtime.data_checks import is_stream
from ..training.accelerators import check_precision
from ..training.arguments import StageArguments
from .data import RunData
from .fitting import has_statistics
from .lora import has_adapters


def check_stages(
    model: RegenerationModel,
    asked: Mapping[str, StageArguments],
    data: RunData,
    losses: Sequence[nn.Module],
    measure_statistics: bool = False,
) -> None:
    """Raises `ValueError` for arguments of [`train_regenerator`] that a stage could not follow or would not use."""
    places = {"extractor": model.extractor, "prior": model.prior, "decoder": model.decoder_model, "joint": model}
    if not asked:
        raise ValueError("there is nothing to train: give arguments for at least one stage.")
    if "extractor" in asked and not model.extractor.is_trainable:
        raise ValueError(f"`extractor` asks to train {type(model.extractor).__name__}, which has nothing to learn.")
    if "decoder" in asked and model.decoder_model is None:
        raise ValueError("`decoder` asks to train a decoder, but the model has none.")
    if losses and "extractor" not in asked:
        raise ValueError("`extractor_losses` are for the stage `extractor`, which is not asked for.")
    if data.unpaired is not None and not asked.keys() & {"extractor", "decoder"}:
        raise ValueError(f"`unpaired` is for the stages extractor and decoder; those asked for are {list(asked)}.")
    if data.representations is not None and ("extractor" in asked or not asked.keys() & {"prior", "decoder"}):
        raise ValueError(f"`representations` are for prior and decoder alone; the stages asked for are {list(asked)}.")
    if measure_statistics and not asked.keys() - {"extractor"}:
        raise ValueError("`measure_statistics` is for the stages prior, decoder and joint, none of which is asked for.")
    if measure_statistics and not any(map(has_statistics, (places[name] for name in asked.keys() - {"extractor"}))):
        raise ValueError(
            f"`measure_statistics` has no effect: what is trained of {type(model).__name__}, stages {list(asked)}, has "
            "no statistics of Y′ or of Y."
        )
    if measure_statistics and has_adapters(model):
        raise ValueError("`measure_statistics` cannot be had with adapters, which are saved without statistics.")
    varies = None in model.config.extractor_config.representation_spec.shape
    for name, arguments in asked.items():
        check_precision(arguments)
        part = places[name]
        if not any(p.requires_grad for p in part.parameters()):
            raise ValueError(f"`{name}` asks to train {type(part).__name__}, which has no parameter to train.")
        if arguments.gradient_checkpointing and not part.supports_gradient_checkpointing:
            raise ValueError(f"`gradient_checkpointing` is not possible with {type(part).__name__}, of stage {name}.")
        if arguments.group_by_length and (name in ("extractor", "joint") or not varies):
            raise ValueError(f"`group_by_length` needs Y′ that varies in length, which stage {name} does not have.")
        if arguments.num_workers and name in ("extractor", "joint") and is_stream(data.pairs):
            raise ValueError(f"`num_workers` must be 0 for stage {name}, which reads a stream.")
        if arguments.predicted and name != "decoder":
            raise ValueError(f"`predicted` is for the stage decoder, but {name} has {arguments.predicted}.")
        if arguments.keep == "best" and data.validation is None:
            raise ValueError(f"`keep` is 'best' for the stage {name}, which needs `validation` data.")


def check_keepable(model: RegenerationModel, processor: RegenerationProcessor) -> None:
    """Raises `ValueError` for what could not be saved, or not be loaded again, once it is trained."""
    tied = "`model` has one tensor in two places, which cannot be saved: give each its own"
    try:
        remove_tied_weights_from_state_dict(dict(model.state_dict()), model)
    except RuntimeError as error:
        raise ValueError(f"{tied}. {error}") from error
    if not has_adapters(model):  # of which the regenerator below is not saved
        model.checked()
    with tempfile.TemporaryDirectory() as folder:
        copy.deepcopy(model.config).save_pretrained(folder)  # which changes what it saves
        processor.save_pretrained(folder)


def needed_bytes(model: RegenerationModel, data: RunData) -> int:
    """What a run writes: the model and its successor, checkpoints with optimizer states, and representations."""
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    examples = sum(count or 0 for name, count in data.sizes.items() if name != "validation")
    size = math.prod(length or 1 for length in model.config.extractor_config.representation_spec.shape)
    return 12 * weights + 4 * examples * size


def identity(
    model: RegenerationModel,
    processor: RegenerationProcessor,
    asked: Mapping[str, StageArguments],
    data: RunData,
    losses: Sequence[nn.Module],
    measure_statistics: bool = False,
    begun: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a resumed run must have in common with the one that was begun, beside the contents of its datasets; stages
    compare their arguments.

    Args:
        begun: of a run that was begun with the same, as it was written.
    """
    older = older_config_text(model.config)
    return {
        "stages": list(asked),
        "columns": data.columns,
        "model": older if (begun or {}).get("model") == older else config_text(model.config),
        "trained parameters": [name for name, p in model.named_parameters() if p.requires_grad],
        "adapters": {name: str(config) for name, config in getattr(model, "peft_config", {}).items()},
        "processor": repr((processor.source.to_dict(), processor.target.to_dict())),
        "extractor_losses": [f"{loss} {getattr(loss, 'weight', '')}" for loss in losses],
        **({"measure_statistics": True} if measure_statistics else {}),  # runs written before do not say it
    }
