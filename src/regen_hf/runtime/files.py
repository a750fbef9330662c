"""Writing without leaving anything half-written."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def check_output_folder(folder: str | os.PathLike, needed_bytes: int = 0) -> Path:
    """Makes `folder` and proves that it can be written to, before any work starts.

    Raises:
        OSError: if it cannot be written to, or if its disk has less than `needed_bytes` free.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
    except OSError as error:
        raise OSError(f"the output folder {folder} cannot be written to: {error.strerror or error}.") from error
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise OSError(
            f"the disk of the output folder {folder} has {free / 2**20:.0f} MiB free, "
            f"but {needed_bytes / 2**20:.0f} MiB are needed."
        )
    return folder


@contextlib.contextmanager
def atomic_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """A new folder to write into, which takes the place of `folder` when all went well, and vanishes when not."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        new, old = Path(scratch, "new"), Path(scratch, "old")
        new.mkdir()
        yield new
        try:
            if folder.exists():
                os.replace(folder, old)
            os.replace(new, folder)
        except BaseException:
            if old.exists() and not folder.exists():
                os.replace(old, folder)
            raise
