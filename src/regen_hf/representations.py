"""Y′ extracted once, kept on disk, read fast."""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tqdm.auto import tqdm

from .contracts import PreTrainedExtractor
from .files import atomic_folder
from .modalities import Modality

DATA, DESCRIPTION = "representations.arrow", "representations.json"


class RepresentationCache(torch.utils.data.Dataset):
    """The Y′ of every example of a dataset, in its order, memory-mapped from disk.

    Args:
        folder: a finished cache; [`extract`] makes one.

    Raises:
        FileNotFoundError: if `folder` holds no finished cache.
    """

    def __init__(self, folder: str | os.PathLike):
        from datasets import Dataset

        self.folder = Path(folder)
        described = self.folder / DESCRIPTION
        if not described.is_file():
            raise FileNotFoundError(f"{folder} holds no finished cache of representations.")
        self.description = json.loads(described.read_text(encoding="utf-8"))
        self.shape = tuple(self.description["shape"])
        self._dataset = Dataset.from_file(str(self.folder / DATA)).with_format("torch")

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, indices: Sequence[int] | slice) -> torch.Tensor:
        """`(batch, *shape)`: float32 for latents, `torch.long` for codes."""
        values = self._dataset[indices]["representation"]
        values = values.long() if self.description["discrete"] else values.float()
        return values.view(-1, *self.shape)

    def batches(self, batch_size: int = 1024) -> Iterator[torch.Tensor]:
        """Every Y′ once, in order."""
        for start in range(0, len(self), batch_size):
            yield self[start : start + batch_size]


def fingerprint(extractor: PreTrainedExtractor, modality: Modality, dataset, column: str) -> dict[str, str]:
    """What the Y′ of a dataset depends on: the extractor's weights and configuration, the preprocessing, the data."""
    weights = hashlib.sha256()
    for name, tensor in sorted(extractor.state_dict().items()):
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    described = extractor.config.to_dict()
    for name in ("_name_or_path", "transformers_version", "dtype"):
        described.pop(name, None)
    text = {"configuration": described, "preprocessing": {type(modality).__name__: modality.to_dict()}}
    parts = {k: hashlib.sha256(json.dumps(v, sort_keys=True, default=str).encode()) for k, v in text.items()}
    parts |= {"weights": weights, "data": hashlib.sha256(f"{dataset._fingerprint} {column}".encode())}
    return {name: digest.hexdigest() for name, digest in sorted(parts.items())}


@torch.no_grad()
def extract(
    extractor: PreTrainedExtractor,
    modality: Modality,
    dataset,
    column: str,
    folder: str | os.PathLike,
    batch_size: int = 64,
) -> RepresentationCache:
    """Encodes every Y of a dataset once, a batch at a time, and keeps the result.

    Args:
        extractor: makes Y′.
        modality: how Y becomes a tensor.
        dataset: a `datasets.Dataset` with the targets in `column`.
        folder: where caches are kept, each in a folder named by its fingerprint. One that is there is read; a change
            of the extractor, the preprocessing or the data makes another.
    """
    parts = fingerprint(extractor, modality, dataset, column)
    name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    place = Path(folder) / name
    if (place / DESCRIPTION).is_file():
        return RepresentationCache(place)
    spec = extractor.config.representation_spec
    discrete = spec.num_codes is not None
    kind = "float32" if not discrete else "int16" if spec.num_codes <= 2**15 else "int32"
    was_training = extractor.training
    extractor.eval()
    with atomic_folder(place) as new:
        with _Writer(new / DATA, math.prod(spec.shape), kind) as writer:
            for start in tqdm(range(0, len(dataset), batch_size), desc="extract", unit="batch"):
                batch = modality.as_target(dataset[start : start + batch_size][column])
                writer.write(_encode(extractor, **batch))
        description = {"shape": list(spec.shape), "discrete": discrete, "fingerprint": parts}
        (new / DESCRIPTION).write_text(json.dumps(description, indent=2), encoding="utf-8")
    extractor.train(was_training)
    return RepresentationCache(place)


def _encode(extractor: PreTrainedExtractor, target: torch.Tensor, target_mask: torch.Tensor | None = None):
    mask = None if target_mask is None else target_mask.to(extractor.device)
    representation = extractor.encode(target.to(extractor.device), mask)
    if representation.mask is not None:
        raise ValueError(f"{type(extractor).__name__} gives a mask; a cache holds representations of one size only.")
    return representation.values


class _Writer:
    """Appends batches of Y′ to an Arrow file of fixed-size lists, which datasets reads without copying."""

    def __init__(self, path: Path, size: int, kind: str):
        import pyarrow

        self.arrow, self.size, self.kind = pyarrow, size, kind
        self.schema = pyarrow.schema([("representation", pyarrow.list_(getattr(pyarrow, kind)(), size))])
        self.stream = pyarrow.ipc.new_stream(str(path), self.schema)

    def write(self, values: torch.Tensor) -> None:
        flat = values.flatten().float() if self.kind == "float32" else values.flatten()
        lists = self.arrow.FixedSizeListArray.from_arrays(
            self.arrow.array(flat.cpu().numpy().astype(self.kind)), self.size
        )
        self.stream.write_batch(self.arrow.record_batch([lists], schema=self.schema))

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *error) -> None:
        self.stream.close()
