"""What something depends on, as short texts that can be compared."""

import hashlib
import json
import tempfile
from pathlib import Path

import torch
from transformers import PreTrainedModel

from ..modalities import Modality


def data_fingerprint(dataset) -> str:
    """What tells a dataset from others.

    A stream can tell only its name, configuration, version, splits, number of files and first example. A change that
    leaves these as they were, such as other examples further on or another `map` or `filter`, is not seen.
    """
    if hasattr(dataset, "_fingerprint"):
        return dataset._fingerprint
    from datasets.fingerprint import Hasher

    info = dataset.info
    splits = {name: split.num_examples for name, split in (info.splits or {}).items()}
    told = [info.builder_name, info.dataset_name, info.config_name, str(info.version), splits, str(dataset.split)]
    raw = dataset.decode(False) if dataset.features else dataset
    return json.dumps([*told, dataset.num_shards, Hasher.hash(next(iter(raw), None))])


def config_text(config) -> str:
    """A configuration without where it came from and what wrote it."""
    return json.dumps(_described(config.to_dict()), sort_keys=True, default=str)


def _described(value):
    if not isinstance(value, dict):
        return value
    passing = ("_name_or_path", "name_or_path", "transformers_version", "dtype", "is_local", "local_files_only")
    return {str(name): _described(each) for name, each in value.items() if name not in passing}


def fingerprint(model: PreTrainedModel, modality: Modality, dataset, column: str) -> dict[str, str]:
    """What the Y′ of a dataset depends on, as digests: a model's weights and configuration, preprocessing, data.

    Args:
        model: the extractor; or the prior, for the Y′ that it predicts.
        modality: how examples become tensors.
        dataset, column: where the examples are; see [`data_fingerprint`].
    """
    weights = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    texts = {
        "configuration": config_text(model.config),
        "data": f"{data_fingerprint(dataset)} {column}",
        "preprocessing": _preprocessing(modality),
    }
    parts = {name: hashlib.sha256(text.encode()) for name, text in texts.items()} | {"weights": weights}
    return {name: digest.hexdigest() for name, digest in sorted(parts.items())}


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
