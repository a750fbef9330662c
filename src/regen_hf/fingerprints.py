"""What something depends on, as short texts that can be compared."""

import json


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
    passing = ("_name_or_path", "transformers_version", "dtype")
    return {str(name): _described(each) for name, each in value.items() if name not in passing}
