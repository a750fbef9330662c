"""Small caches of Y′, for tests."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from datasets import Dataset, Features, Image, Value
from PIL import Image as PILImage

from regen_hf import ImageModality, Representation, RepresentationCache, RepresentationSpec, extract
from regen_hf.cache.extraction import write_cache

CODES = RepresentationSpec((2, 3), 1000)
RAGGED = RepresentationSpec((None,), 1000)


def numbers(count: int = 20) -> Dataset:
    return Dataset.from_dict({"i": list(range(count))})


def codes(batch: dict[str, list]) -> Representation:
    """Example i is 10 i to 10 i + 5."""
    return Representation(values=10 * torch.tensor(batch["i"]).view(-1, 1, 1) + torch.arange(6).view(2, 3))


def ragged(batch: dict[str, list]) -> Representation:
    """Example i is i, i times; its padding is no code."""
    lengths = torch.tensor(batch["i"])[:, None]
    mask = torch.arange(max(batch["i"])) < lengths
    return Representation(values=torch.where(mask, lengths, -100), mask=mask)


def write(folder: Path, data=None, encode=codes, spec=CODES, parts=None, **settings) -> RepresentationCache:
    return write_cache(folder, numbers() if data is None else data, encode, spec, parts or {"data": "1"}, **settings)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def values(cache: RepresentationCache) -> torch.Tensor:
    return torch.cat([batch.values for batch in cache.batches(7)])


def no_encoding(_):
    pytest.fail("encoded again")


def start(*arguments: str, **environment: str) -> subprocess.Popen:
    """A new Python, which can import this file."""
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parent), *sys.path]))
    settings = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [sys.executable, *arguments], env=settings, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def output(process: subprocess.Popen) -> str:
    try:
        found, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, found
    return found


def pictures(count: int = 10, red: int = 0) -> Dataset:
    found = []
    for i in range(count):
        PILImage.new("RGB", (16, 16), (red, 20 * i, 0)).save(file := io.BytesIO(), "JPEG", quality=60)
        found.append({"bytes": file.getvalue(), "path": None})
    features = Features({"image": Image(), "name": Value("string")})
    return Dataset.from_dict({"image": found, "name": [f"picture {i}" for i in range(count)]}, features=features)


def extracted(folder: Path, extractor, data=None, size: int = 16, **settings) -> RepresentationCache:
    data = pictures() if data is None else data
    return extract(extractor, ImageModality(size), data, "image", folder, **{"batch_size": 4, **settings})
