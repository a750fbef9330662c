"""What was tried for `extraction_demo`, the row of the table whose encoder is so small that reading counts.

python benchmarks/reading.py [OUTPUT.json]: for each way of reading PNG from Arrow, pictures/s of extraction by those of
the bare encoder over tensors, measured in turns in one run. The ways are built of public functions, but for reading
ahead, which replaces the reader of the cache.
"""

import io
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from datasets import Image
from datasets.utils.logging import disable_progress_bar
from PIL import Image as PILImage

from run import machine, processor  # isort: skip  (it makes the examples importable)
from ratios import demo_model, pictures, side_by_side, timed

from regen_hf import write_cache
from regen_hf.cache import extraction, shards


def decoded(modality) -> Callable:
    """As `extract` does it: datasets decodes, the modality makes float32 of PIL images."""
    return lambda batch: modality.as_target(batch["image"])


def buffers(table) -> dict[str, torch.Tensor]:
    """The bytes of all pictures as Arrow's buffers, decoded to uint8, and one conversion for the batch."""
    files = table["image"].combine_chunks().field("bytes")
    pixels = np.stack([np.asarray(PILImage.open(io.BytesIO(file.as_buffer()))) for file in files])
    return {"target": torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255).mul_(2).sub_(1)}


def ahead(batches: Callable) -> Callable:
    """Reads the next batch in a thread while this one is encoded."""

    def reading(job, done) -> Iterator[tuple]:
        with ThreadPoolExecutor(1) as pool:
            source = batches(job, done)
            coming = pool.submit(next, source, None)
            while (batch := coming.result()) is not None:
                coming = pool.submit(next, source, None)
                yield batch

    return reading


def measure(folder: Path, count: int = 3072, rounds: int = 5, batch_size: int = 64) -> dict[str, float]:
    model, processor_ = demo_model()
    codec, modality = model.extractor.eval(), processor_.target
    dataset = pictures(count, folder)
    arrow = dataset.cast_column("image", Image(decode=False)).with_format("arrow")
    memory, numbers = decoded(modality)(dataset[:])["target"], itertools.count()
    plain = extraction.dataset_batches

    @torch.no_grad()
    def by_hand() -> None:
        for batch in memory.split(batch_size):
            codec.encode(batch)

    def extracting(data, read, batches=plain, workers: int = 0) -> Callable[[], None]:
        def work() -> None:
            extraction.dataset_batches = batches
            write_cache(
                folder / f"cache-{next(numbers)}", data, lambda batch: codec.encode(**batch),
                codec.config.representation_spec, {"data": "pictures"}, read=read, inputs=["image"],
                batch_size=batch_size, num_workers=workers,
            )  # fmt: skip
            extraction.dataset_batches = plain

        return work

    ways = {
        "as extract does": extracting(dataset, decoded(modality)),
        "Arrow buffers, uint8 until the batch": extracting(arrow, buffers),
        "read ahead in a thread": extracting(dataset, decoded(modality), ahead(shards.dataset_batches)),
        "Arrow buffers, uint8, read ahead in a thread": extracting(arrow, buffers, ahead(shards.dataset_batches)),
        "one worker process": extracting(dataset, decoded(modality), workers=1),
        "Arrow buffers, uint8, one worker process": extracting(arrow, buffers, workers=1),
    }
    by_hand()
    found = {}
    for name, work in ways.items():
        found[name] = round(side_by_side(lambda: timed(by_hand), lambda work=work: timed(work), rounds), 4)
        print(f"{name}: {found[name]} of the bare encoder's speed", flush=True)
    return found


if __name__ == "__main__":
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        result = {
            "machine": machine(processor()), "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"),
            "of the bare encoder's speed": measure(Path(scratch)),
        }  # fmt: skip
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
