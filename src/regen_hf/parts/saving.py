"""Saving into a folder that others may be reading, and reading from one that others may be saving into."""

import contextlib
import errno
import inspect
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers.utils import PushToHubMixin

try:
    import fcntl
except ImportError:  # no POSIX system: what is saved is still exchanged file by file
    fcntl = None

SCRATCH = ".saving-"
WEIGHTS = re.compile(r"(model|adapter_model)(?P<variant>\.[^.-]+)?(-\d{5}-of-\d{5})?\.safetensors")
INDEX = re.compile(r"model\.safetensors\.index(?P<variant>\.[^.]+)?\.json")
ATTEMPTS = 3
PUSHING = set(inspect.signature(PushToHubMixin.push_to_hub).parameters) - {"self"}


def asked_of_hub(
    folder: str | os.PathLike, push_to_hub: bool, given: dict[str, Any], saving: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The arguments of `push_to_hub` among those that a `save_pretrained` was `given`.

    Args:
        folder: what is saved into; it names the repository where `repo_id` does not.
        saving: those that say how the files are written.

    Raises:
        TypeError: for one that has no effect.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if given.pop("safe_serialization", True) is False:
        raise TypeError("`safe_serialization` must be True: weights are never saved as a pickle.")
    for name in given:
        if name not in PUSHING:
            raise TypeError(f"`{name}` is no argument of `save_pretrained`.")
        if not push_to_hub and name != "max_shard_size":
            raise TypeError(f"`{name}` has no effect without `push_to_hub=True`.")
    saving = {name: value for name, value in (saving or {}).items() if value is not None}
    if push_to_hub:
        for name in saving.keys() - PUSHING - {"is_main_process"}:
            raise TypeError(f"`{name}` has no effect on what `push_to_hub` uploads: save, and upload the folder.")
    shards = {name: value for name, value in saving.items() if name in PUSHING}
    return {"repo_id": os.path.basename(os.path.normpath(folder)), **given, **shards}


@contextlib.contextmanager
def saved_into(folder: str | os.PathLike) -> Iterator[Path]:
    """A new folder to write into, whose files take the places of those in `folder` when all went well.

    Weights that an older save left in more or fewer shards go; everything else that is there stays. When something goes
    wrong, `folder` is as it was.

    Raises:
        OSError: in one line, where the folder cannot be written to, or where its disk is full.
    """
    folder = Path(folder)
    there = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=SCRATCH) as scratch:
            new, old = Path(scratch, "new"), Path(scratch, "old")
            new.mkdir()
            yield new
            with _locked(folder, exclusive=True):
                _exchange(folder, new, old)
    except (OSError, SafetensorError) as error:
        if not there and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        if isinstance(error, OSError) and not full and error.errno not in (errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        why = "its disk is full" if full else str(error)
        code = errno.ENOSPC if full else getattr(error, "errno", None) or errno.EIO
        raise OSError(code, f"nothing was saved into {folder}: {why}") from error


def _exchange(folder: Path, new: Path, old: Path) -> None:
    """Moves the files of `new` into `folder`, the configuration last; what was there is put back on any error."""
    names = sorted((file.relative_to(new) for file in new.rglob("*") if file.is_file()), key=_order)
    stale = [Path(name) for name in os.listdir(folder) if Path(name) not in names and _is_stale(name, names)]
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


def _is_stale(name: str, names: list[Path]) -> bool:
    """Whether a file is of weights as they were saved before, and would be read beside those of `names`."""
    found = WEIGHTS.fullmatch(name) or INDEX.fullmatch(name)
    if found is None:
        return False
    own = [each for path in names if (each := WEIGHTS.fullmatch(str(path)))]
    kind = found[1] if found.re is WEIGHTS else "model"
    return any((each[1], each["variant"]) == (kind, found["variant"]) for each in own)


@contextlib.contextmanager
def _locked(folder: str | os.PathLike, exclusive: bool) -> Iterator[None]:
    """Waits for who exchanges the files of a folder, or, where that is ourselves, for who reads them so."""
    with contextlib.ExitStack() as stack:
        if fcntl is not None and os.path.isdir(folder):
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
