import os
import shutil
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest
from caches import start

from regen_hf.runtime import files
from regen_hf.runtime.files import atomic_folder, check_output_folder, remove_files


def test_a_folder_takes_its_place_when_all_went_well(tmp_path):
    for text in ("one", "two"):
        with atomic_folder(tmp_path / "a" / "b") as new:
            (new / "file").write_text(text)
        assert (tmp_path / "a" / "b" / "file").read_text() == text
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_the_old_folder_stays_when_something_fails(tmp_path):
    with atomic_folder(tmp_path / "b") as new:
        (new / "file").write_text("old")
    with pytest.raises(OSError, match="disk full"), atomic_folder(tmp_path / "b") as new:
        (new / "file").write_text("ne")
        raise OSError("disk full")
    assert (tmp_path / "b" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.fixture(params=["at once", "file by file"])
def way(request, monkeypatch):
    """How a folder takes the place of another; not every system and disk lets two change their names at once."""
    if request.param == "file by file":
        monkeypatch.setattr(files, "_exchange", lambda *_: False)


def put(folder, **texts):
    for name, text in texts.items():
        place = folder / name.replace("__", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def texts(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_what_is_not_its_own_stays(way, tmp_path):
    put(
        tmp_path / "b", same="old", gone="old", mine="mine", target__mine="mine", target__gone="old", other__mine="mine"
    )
    (tmp_path / "b" / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "b" / "empty" / "within").mkdir(parents=True)
    put(tmp_path / "b", codes__gone="old")
    with atomic_folder(tmp_path / "b", own=["same", "gone", "target/gone", "codes/gone"]) as new:
        put(new, same="new", more="new", target__same="new")
    mine = {"mine": "mine", "target/mine": "mine", "other/mine": "mine"}
    assert texts(tmp_path / "b") == {"same": "new", "more": "new", "target/same": "new", **mine}
    assert (tmp_path / "b" / "link").is_symlink() and (tmp_path / "b" / "empty" / "within").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def which(folder):
    found = os.stat(folder)
    return found.st_ino, found.st_ctime_ns


def test_a_reader_finds_a_whole_folder_at_any_moment(tmp_path):
    """By listing it; what is listed of a folder that was replaced meanwhile may be gone already."""
    put(tmp_path / "b", a0="", b0="")
    seen, done = [], threading.Event()

    def read():
        while not done.is_set():
            before, names, after = which(tmp_path / "b"), os.listdir(tmp_path / "b"), which(tmp_path / "b")
            if before == after:
                seen.append(frozenset(names))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(1, 60):
            with atomic_folder(tmp_path / "b", own=[f"a{number - 1}", f"b{number - 1}"]) as new:
                put(new, **{f"a{number}": "", f"b{number}": ""})
    finally:
        done.set()
        reader.join()
    assert len(set(seen)) > 1 and set(seen) <= {frozenset([f"a{i}", f"b{i}"]) for i in range(60)}


def test_a_reader_finds_every_file_where_folders_cannot_be_exchanged(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    put(tmp_path / "b", weights="0", **{"config.json": "0"})
    seen, done = [], threading.Event()

    def read():
        while not done.is_set():
            seen.extend((tmp_path / "b" / name).read_text() for name in ("weights", "config.json"))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(60):
            with atomic_folder(tmp_path / "b") as new:
                put(new, weights=str(number), **{"config.json": str(number)})
    finally:
        done.set()
        reader.join()
    assert seen and "" not in seen


def test_a_link_is_not_written_through(tmp_path):
    put(tmp_path / "elsewhere", file="mine")
    (tmp_path / "b").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(OSError, match=f"{tmp_path / 'b'} is a link, which is not followed"),
        atomic_folder(tmp_path / "b"),
    ):
        pytest.fail("begun")
    assert texts(tmp_path / "elsewhere") == {"file": "mine"}


def test_scratch_of_the_killed_is_removed_and_nothing_else(tmp_path):
    put(tmp_path, **{".b.killed__new__file": "", ".b.mine__file": "mine", ".b.txt": "mine"})
    (tmp_path / ".b.killed" / files.SCRATCH).touch()
    (tmp_path / ".b.link").symlink_to(tmp_path / ".b.killed")
    files.remove_scratch(tmp_path / "b")
    assert texts(tmp_path) == {".b.mine/file": "mine", ".b.txt": "mine"}


def hold(lock: str, folder: str) -> None:
    with files.only_writer(Path(lock), Path(folder)):
        print("held", flush=True)
        time.sleep(600)


@pytest.mark.slow
def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.5)
    lock = tmp_path / ".lock"
    process = start("-c", f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import test_files as t; "
                    f"t.hold({str(lock)!r}, {str(tmp_path)!r})")  # fmt: skip
    try:
        assert process.stdout.readline() == "held\n"
        message = f"another run is writing to the output folder {tmp_path}: process {process.pid} on "
        with pytest.raises(OSError, match=message), files.only_writer(lock, tmp_path):
            pytest.fail("two at once")
    finally:
        process.kill()
        process.wait()
    assert lock.exists()
    with files.only_writer(lock, tmp_path):
        assert lock.read_text().startswith(f"process {os.getpid()} on ")
    assert not lock.exists()


@pytest.mark.parametrize("make", [lambda lock: lock.write_text("mine"), lambda lock: lock.symlink_to("mine")])
def test_a_lock_of_something_else_is_left_alone(make, tmp_path):
    make(tmp_path / ".lock")
    with (
        pytest.raises(OSError, match=r"\.lock is no lock of this library"),
        files.only_writer(tmp_path / ".lock", tmp_path),
    ):
        pytest.fail("begun")
    assert os.path.lexists(tmp_path / ".lock") and not (tmp_path / "mine").exists()


def test_an_output_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"output folder .*file/out cannot be written to: Not a directory"):
        check_output_folder(tmp_path / "file" / "out")
    with pytest.raises(OSError, match=r"cannot be written to"):
        check_output_folder("/proc/regen_hf")


def test_a_full_disk_is_refused(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**30, 2**30 - 2**20, 2**20))
    with pytest.raises(OSError, match=r"has 1 MiB free, but 5 MiB are needed"):
        check_output_folder(tmp_path / "out", needed_bytes=5 * 2**20)
    assert check_output_folder(tmp_path / "out", needed_bytes=2**20).is_dir()


def test_nothing_beyond_the_folder_is_removed(tmp_path):
    for name in ("folder/own.txt", "elsewhere/precious.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "elsewhere")
    names = ["own.txt", "../elsewhere/precious.txt", str(tmp_path / "elsewhere" / "precious.txt"), "link/precious.txt"]
    remove_files(tmp_path / "folder", names)
    assert (tmp_path / "elsewhere" / "precious.txt").exists() and not (tmp_path / "folder" / "own.txt").exists()
