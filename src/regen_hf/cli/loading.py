"""Models and datasets by the names that options give: of the Hub, or folders."""

from pathlib import Path

from .options import ModelArguments


def load_model(asked: ModelArguments):
    from transformers import AutoModel, AutoProcessor

    from ..modeling_regeneration import RegenerationModel

    model = AutoModel.from_pretrained(asked.model, trust_remote_code=asked.trust_remote_code)
    if not isinstance(model, RegenerationModel):
        raise ValueError(f"`model` {asked.model} is a {type(model).__name__}, not a regenerator.")
    return model, AutoProcessor.from_pretrained(asked.model, trust_remote_code=asked.trust_remote_code)


def load_data(
    name: str, split: str, config: str | None = None, streaming: bool = False, shuffle_buffer: int = 0, seed: int = 0
):
    """A split of a dataset, or a stream of it."""
    from datasets import load_dataset

    if not any(Path(name, file).is_file() for file in ("state.json", "dataset_dict.json")):
        dataset = load_dataset(name, config, split=split, streaming=streaming)
    elif config is not None:
        raise ValueError(f"`dataset_config` is {config!r}, but {name} was made by `save_to_disk` and has none.")
    else:
        dataset = _saved_split(name, split)
        dataset = dataset.to_iterable_dataset() if streaming else dataset
    return dataset.shuffle(seed=seed, buffer_size=shuffle_buffer) if streaming and shuffle_buffer else dataset


def _saved_split(folder: str, split: str):
    """A split of what `save_to_disk` wrote; a dataset without splits is `train`, as for `load_dataset`."""
    from datasets import DatasetDict, ReadInstruction, concatenate_datasets, load_from_disk

    found = load_from_disk(folder)
    splits = found if isinstance(found, DatasetDict) else {"train": found}
    asked = ReadInstruction.from_spec(split).to_absolute({name: len(each) for name, each in splits.items()})
    parts = []
    for each in asked:
        whole = splits[each.splitname]
        rows = range(len(whole))[each.from_ : each.to]
        parts.append(whole if len(rows) == len(whole) else whole.select(rows))
    return concatenate_datasets(parts)
