"""Writing without leaving anything half-written, and without taking away what somebody else put there."""

import contextlib
import errno
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

PATIENCE = 8  # seconds for readers of a killed run to let go of its lock
GRACE = 0.02  # seconds for whoever has just opened a folder that was replaced to see what is in it
SCRATCH = ".regen_hf_scratch"  # marks a folder that holds nothing but what a killed run was writing
OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


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
def disk_errors_told(folder: Path, then: str) -> Iterator[None]:
    """Raises an `OSError` of one sentence, with `folder` and what to do `then`, where it cannot be written to."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        if (number := _of_disk(error, folder)) is None:
            raise
        raise OSError(f"the output folder {folder} cannot be written to: {os.strerror(number)}; {then}.") from error


def _of_disk(error: Exception, folder: Path) -> int | None:
    """The number of an error in writing, `None` for one of another kind or in another place."""
    if isinstance(error, OSError):
        number, place = error.errno, error.filename
        elsewhere = isinstance(place, str | os.PathLike) and not _within(Path(place), folder)
        return number if number in OF_DISKS and not elsewhere else None
    found = re.search(r"\(os error (\d+)\)", str(error))  # as safetensors says it
    return int(found[1]) if found and int(found[1]) in OF_DISKS else None


def _within(path: Path, folder: Path) -> bool:
    """Whether a path is in a folder, or in what is written beside it until it is whole."""
    path, folder = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    if path == folder or folder.parent not in path.parents:
        return path == folder
    top = path.relative_to(folder.parent).parts[0]
    return top == folder.name or top.startswith(f".{folder.name}.")


@contextlib.contextmanager
def only_writer(lock: Path, folder: Path) -> Iterator[None]:
    """Keeps other processes from writing to `folder` until the context ends, or this process, however it ends.

    Args:
        lock: a file that is there meanwhile, and says which process it is.

    Raises:
        OSError: if another process has it, which is named; or if `lock` is a file of something else.
    """
    from filelock import FileLock, Timeout

    if lock.is_symlink() or (lock.exists() and not re.fullmatch(r"(process \d+ on .*)?", _content(lock))):
        raise OSError(f"{lock} is no lock of this library: move it away, or give another folder than {folder}.")
    held = FileLock(lock)
    try:
        held.acquire(timeout=PATIENCE)
    except Timeout as error:
        who = _content(lock) or "a process"
        raise OSError(f"another run is writing to the output folder {folder}: {who}. Wait, or end it.") from error
    try:
        lock.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):  # where an open file cannot be removed, it stays and is free
            lock.unlink()  # while it is held: whoever has waited for it looks whether it is still there
        held.release()


def _content(lock: Path) -> str:
    try:
        return lock.read_bytes()[:200].decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def atomic_folder(folder: str | os.PathLike, own: Collection[str] = ()) -> Iterator[Path]:
    """A new folder to write into, which takes the place of `folder` when all went well, and vanishes when not.

    There is a whole `folder` at any moment, the old or the new one. What is in the old one, is not in the new one and
    is not named in `own` stays where it is.

    Args:
        own: paths of files within `folder` that the old one was made of.

    Raises:
        OSError: if `folder` is a link, which could lead anywhere.
    """
    folder = Path(folder)
    if folder.is_symlink():
        raise OSError(f"{folder} is a link, which is not followed: move it away, or give another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        Path(scratch, SCRATCH).touch()
        new = Path(scratch, "new")
        new.mkdir()
        yield new
        take_place(new, folder, own)


def take_place(new: Path, folder: Path, own: Collection[str]) -> None:
    """Gives the folder `new` the name `folder`, as [`atomic_folder`] says it."""
    if not folder.exists():
        os.replace(new, folder)
        return
    _carry_over(folder, new, own)
    if _exchange(new, folder):
        _carry_over(new, folder, own)  # what somebody has put there since
        time.sleep(GRACE)
    else:
        names = files_below(new)
        for name in sorted(names, key=lambda name: (name.endswith(".json"), name)):  # what tells of others last
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(new / name, folder / name)
        remove_files(folder, set(own) - set(names))
    shutil.rmtree(new)  # of which nothing is there alone


def remove_scratch(folder: Path) -> None:
    """Removes what killed runs were writing when they were to replace `folder`, and nothing else."""
    for left in folder.parent.glob(f".{folder.name}.*"):
        if not left.is_symlink() and (left / SCRATCH).is_file():
            shutil.rmtree(left)


def remove_files(folder: Path, names: Collection[str]) -> None:
    """Removes these files of a folder, and the folder where nothing else is in it; nothing beyond a link."""
    if folder.is_symlink() or not folder.is_dir():
        return
    inside = folder.resolve()
    for name in names:
        if not (folder / name).parent.resolve().is_relative_to(inside):
            continue
        if (place := folder / name).is_symlink() or place.is_file():
            place.unlink()
    with contextlib.suppress(OSError):  # it holds something else
        folder.rmdir()


def files_below(folder: Path) -> list[str]:
    """The files and links below a folder, by their paths in it; what links lead to is not looked at."""
    found = []
    for top, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(top, name))]
        found += [Path(top, name).relative_to(folder).as_posix() for name in (*files, *links)]
    return found


def _carry_over(old: Path, new: Path, own: Collection[str]) -> None:
    for top, folders, files in os.walk(old):
        if not folders and not files and not os.path.lexists(place := new / Path(top).relative_to(old)):
            place.mkdir(parents=True)
    for name in files_below(old):
        if name in own or os.path.lexists(new / name):
            continue
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        if (old / name).is_symlink():
            os.symlink(os.readlink(old / name), new / name)
            continue
        try:
            os.link(old / name, new / name)
        except OSError:  # not every disk has hard links
            shutil.copy2(old / name, new / name)


def _exchange(one: Path, other: Path) -> bool:
    """Lets two folders change their names at once; false where the system or the disk cannot."""
    import ctypes

    paths = os.fsencode(os.path.abspath(one)), os.fsencode(os.path.abspath(other))
    if sys.platform == "darwin":
        return ctypes.CDLL(None).renamex_np(*paths, 2) == 0  # RENAME_SWAP
    if sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "renameat2"):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return ctypes.CDLL(None).renameat2(here, paths[0], here, paths[1], exchange) == 0
