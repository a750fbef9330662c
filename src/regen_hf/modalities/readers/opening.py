"""What all readers share: a file of this machine or bytes, and one error for what cannot be read."""

import contextlib
import io
import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

File = bytes | str | os.PathLike


def file_of(name: str, example: Any) -> tuple[str, File | None]:
    """What messages call an example, and the file or the bytes that it is; `None` if it is neither.

    Args:
        example: a path, bytes, or `{"bytes": ..., "path": ...}` as datasets gives them undecoded.
    """
    if isinstance(example, Mapping):
        path, content = example.get("path"), example.get("bytes")
        name = _called(path) if isinstance(path, str | os.PathLike) and path else name
        example = (path or None) if content is None else content
    elif isinstance(example, str | os.PathLike):
        name = _called(example)
    if isinstance(example, bytearray | memoryview):
        example = bytes(example)
    return name, example if isinstance(example, File) else None


def _called(path: str | os.PathLike) -> str:
    name = os.fsdecode(path)
    return (name if len(name) <= 500 else f"...{name[-500:]}").encode(errors="replace").decode()


@contextlib.contextmanager
def reading(name: str, kind: str) -> Iterator[None]:
    """Whatever a library raises while it reads somebody's data means that these data cannot be read.

    What tells nothing of the data is let through: a package that is missing, memory that is short.

    Raises:
        ValueError: with `name`, and the library's error as its cause.
    """
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"{name} is no readable {kind}: {error or type(error).__name__}") from error


@contextlib.contextmanager
def opened(name: str, kind: str, file: File) -> Iterator[BinaryIO]:
    """A file to read, in [`reading`]. It has no name, so that no library goes by that instead of by what is in it.

    Raises:
        ValueError: for a URL, which is not followed; for what is no file, such as a folder, a device or a pipe.
    """
    if not isinstance(file, bytes) and "://" in os.fsdecode(file):
        raise ValueError(f"{name} must be a file on this machine, got a URL: download it first.")
    with reading(name, kind), io.BytesIO(file) if isinstance(file, bytes) else _regular(file) as stream:
        yield stream


def _regular(path: str | os.PathLike) -> BinaryIO:
    at_once = getattr(os, "O_NONBLOCK", 0)  # else a pipe would be waited for
    descriptor = os.open(path, os.O_RDONLY | at_once | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("it is no regular file")
    return os.fdopen(descriptor, "rb")
