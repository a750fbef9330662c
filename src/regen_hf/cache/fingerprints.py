"""What something depends on, as short texts that can be compared."""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from ..modalities import Modality
from .contents import data_contents, data_facts, reference

PASSING = ("_name_or_path", "name_or_path", "transformers_version", "dtype", "is_local", "local_files_only")
OF_SAVING = ("architectures", "auto_map")  # which saving writes into the config of the model at hand


def config_text(config) -> str:
    """A configuration without where it came from and what wrote it."""
    return _config_text(config, PASSING + OF_SAVING)


def older_config_text(config) -> str:
    """The same as older versions had it."""
    return _config_text(config, PASSING)


def _config_text(config, passing: Sequence[str]) -> str:
    return json.dumps(_described(config.to_dict(), passing), sort_keys=True, default=str)


def _described(value, passing: Sequence[str] = PASSING):
    if not isinstance(value, dict):
        return value
    return {str(name): _described(each, passing) for name, each in value.items() if name not in passing}


def fingerprint(
    model: PreTrainedModel, modality: Modality, dataset, column: str, known: Sequence[dict[str, Any]] = ()
) -> dict[str, str]:
    """What the Y′ of a dataset depends on, as digests: a model's weights and configuration, preprocessing, data.

    Args:
        model: the extractor; or the prior, for the Y′ that it predicts.
        modality: how examples become tensors.
        dataset, column: where the examples are; see [`data_contents`].
        known: descriptions of caches that may be of the same data, which is not read where they know it.
    """
    weights = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    texts = {
        "configuration": config_text(model.config),
        "preprocessing": _preprocessing(modality),
    }
    found = {name: _digest(text) for name, text in texts.items()} | {"weights": weights.hexdigest()}
    older = _digest(older_config_text(model.config))
    if any(each["fingerprint"].get("configuration") == older for each in known):
        found["configuration"] = older
    return dict(sorted((found | {"data": _data(dataset, column, known)}).items()))


def column_facts(dataset, column: str) -> str:
    """By what it is seen that a column has not changed, without reading it; see [`data_facts`]."""
    return _digest(f"{data_facts(dataset, [column])} {column}")


def _data(dataset, column: str, known: Sequence[dict[str, Any]]) -> str:
    facts, before = column_facts(dataset, column), _digest(f"{reference(dataset)} {column}")
    for each in known:
        data = each["fingerprint"].get("data")
        if each.get("facts") == facts or (each.get("facts") is None and data == before):  # as older versions had it
            return data
    whole = _digest(f"contents {data_contents(dataset)} {column}") if known else None  # as older versions had it
    if any(each["fingerprint"].get("data") == whole for each in known):
        return whole
    return _digest(f"contents {data_contents(dataset, [column])} {column}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _preprocessing(modality: Modality) -> str:
    """The settings, and the files that hold what does not fit into them, such as a tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        modality.save(folder)
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        files = {str(path.relative_to(folder)): hashlib.sha256(_content(path)).hexdigest() for path in paths}
    described = {type(modality).__name__: modality.to_dict()}
    return json.dumps([described, files] if files else described, sort_keys=True, default=str)


def _content(path: Path) -> bytes:
    """What a file holds, without where it came from and what wrote it."""
    if path.suffix != ".json":
        return path.read_bytes()
    return json.dumps(_described(json.loads(path.read_text(encoding="utf-8"))), sort_keys=True).encode()


def cache_name(parts: dict[str, str]) -> str:
    """16 hex digits that stand for `parts`: a name for the folder of a cache."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
