"""Saving into a folder that others may be reading, and reading from one that others may be saving into."""

import contextlib
import errno
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

try:
    import fcntl
except ImportError:  # no POSIX system: what is saved is still exchanged file by file
    fcntl = None

OF_DISKS = (errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EFBIG)
SCRATCH = ".saving-"
OWNER = ".regen_hf_saving"  # marks such a folder, and is locked for as long as somebody writes into it
WEIGHTS = re.compile(r"(model|adapter_model)(?P<variant>\.[^./-]+)?(-\d{5}-of-\d{5})?\.safetensors")
INDEX = re.compile(r"model\.safetensors\.index(?P<variant>\.[^./]+)?\.json")
ATTEMPTS = 3


@contextlib.contextmanager
def saved_into(folder: str | os.PathLike) -> Iterator[Path]:
    """A new folder to write into, whose files take the places of those in `folder` when all went well.

    Weights that an older save left in more or fewer shards go, and what a killed one was writing; everything else that
    is there stays. When something goes wrong, `folder` is as it was.

    Raises:
        OSError: in one line, where the folder cannot be written to, or where its disk is full.
    """
    folder = Path(folder)
    there = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _scratch(folder) as scratch:
            new, old = scratch / "new", scratch / "old"
            new.mkdir()
            yield new
            with _locked(folder, exclusive=True):
                _exchange(folder, new, old)
    except (OSError, SafetensorError) as error:
        if not there and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        if isinstance(error, OSError) and not full and error.errno not in OF_DISKS:
            raise
        why = "its disk is full" if full else str(error)
        code = errno.ENOSPC if full else getattr(error, "errno", None) or errno.EIO
        raise OSError(code, f"nothing was saved into {folder}: {why}") from error


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder to write into, which says whose it is, in the place of those that killed processes left."""
    with contextlib.ExitStack() as stack:
        with _locked(folder, exclusive=True):  # none is seen before its owner has it
            _remove_left(folder)
            scratch = tempfile.TemporaryDirectory(dir=folder, prefix=SCRATCH)
            stack.callback(scratch.cleanup)
            owner = Path(scratch.name, OWNER)
            owner.write_text(platform.node(), encoding="utf-8")
            stack.enter_context(_locked(owner, exclusive=True))
        stack.callback(scratch.cleanup)  # before its owner lets go
        yield Path(scratch.name)


def _remove_left(folder: Path) -> None:
    for left in folder.glob(f"{SCRATCH}*"):
        if not left.is_symlink() and _is_left(left / OWNER):
            old = left / "old"
            taken = [file.relative_to(old) for file in old.rglob("*") if file.is_symlink() or file.is_file()]
            if all(os.path.lexists(folder / name) for name in taken):  # else it may be all that there is
                shutil.rmtree(left, ignore_errors=True)  # what is another user's stays


def _is_left(owner: Path) -> bool:
    """Whether the process of this machine that had this file is gone, where that can be known."""
    if fcntl is None or not owner.is_file():
        return False
    try:
        with open(owner, encoding="utf-8", errors="replace") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file.read(1000) == platform.node()
    except OSError:  # it still has it, or has just removed it; or the file system has no locks
        return False


def _exchange(folder: Path, new: Path, old: Path) -> None:
    """Moves the files of `new` into `folder`, the configuration last; what was there is put back on any error."""
    names = sorted((file.relative_to(new) for file in new.rglob("*") if file.is_file()), key=_order)
    stale = [Path(name) for name in stale_weights(os.listdir(folder), names)]
    done: list[Path] = []
    try:
        for name in (*names, *stale):
            kept, place = old / name, folder / name
            if place.is_dir():
                raise IsADirectoryError(errno.EISDIR, f"a file is to be saved in the place of the folder {place}")
            kept.parent.mkdir(parents=True, exist_ok=True)
            place.parent.mkdir(parents=True, exist_ok=True)
            done.append(name)
            if place.exists() or place.is_symlink():
                _keep(place, kept)
            if name in stale:
                place.unlink(missing_ok=True)
            else:
                os.replace(new / name, place)
    except BaseException:
        for name in reversed(done):
            if os.path.lexists(old / name):
                os.replace(old / name, folder / name)
            elif name not in stale:
                (folder / name).unlink(missing_ok=True)
        raise


def _keep(place: Path, kept: Path) -> None:
    """The file by a second name, so that it is never missing under its own."""
    try:
        os.link(place, kept, follow_symlinks=False)
    except OSError:  # a file system without links
        os.replace(place, kept)


def _order(name: Path) -> tuple[bool, bool, Path]:
    return name.name == "config.json", name.suffix == ".json", name


def stale_weights(there: Iterable[str], names: Collection[Path]) -> list[str]:
    """Which files are of weights as they were saved before, and would be read beside those of `names`."""
    own = {(each[1], each["variant"]) for name in names if (each := WEIGHTS.fullmatch(name.as_posix()))}
    return sorted(name for name in there if Path(name) not in names and _kind(name) in own)


def _kind(name: str) -> tuple[str, str | None] | None:
    """What weights a file is of, or an index of: `model` or `adapter_model`, and the variant."""
    if found := WEIGHTS.fullmatch(name):
        return found[1], found["variant"]
    return ("model", found["variant"]) if (found := INDEX.fullmatch(name)) else None


@contextlib.contextmanager
def _locked(folder: str | os.PathLike, exclusive: bool) -> Iterator[None]:
    """Waits for who exchanges the files of a folder, or, where that is ourselves, for who reads them so."""
    with contextlib.ExitStack() as stack:
        if fcntl is not None and os.path.exists(folder):
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            with contextlib.suppress(OSError):  # a file system that has no locks
                fcntl.flock(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield


def read_whole(folder: str | os.PathLike, read: Callable[[], Any]) -> Any:
    """What `read` gives, all of it of one save: where files were exchanged meanwhile, they are read again."""
    if not os.path.isdir(folder):
        return read()
    for _ in range(ATTEMPTS):
        before = _seen(folder)
        try:
            found = read()
        except Exception:
            if _seen(folder) == before:
                raise
        else:
            if _seen(folder) == before:
                return found
    with _locked(folder, exclusive=False):  # whoever saves as often as that waits this once
        return read()


def _seen(folder: str | os.PathLike) -> set[tuple[str, int, int]]:
    """The files of a folder that a model consists of, with what tells them from others of the same name."""
    with _locked(folder, exclusive=False):
        files = [file for file in os.scandir(folder) if file.name.endswith((".json", ".safetensors"))]
        return {(each.name, (found := each.stat(follow_symlinks=False)).st_ino, found.st_mtime_ns) for each in files}
