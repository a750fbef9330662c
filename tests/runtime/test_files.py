import os
import shutil
from collections import namedtuple

import pytest

from regen_hf.runtime.files import atomic_folder, check_output_folder


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


def test_the_old_folder_comes_back_when_the_exchange_fails(tmp_path, monkeypatch):
    with atomic_folder(tmp_path / "b") as new:
        (new / "file").write_text("old")
    replace, calls = os.replace, []

    def fails_once(source, target):
        calls.append(source)
        if len(calls) == 2:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails_once)
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "b") as new:
        (new / "file").write_text("new")
    assert (tmp_path / "b" / "file").read_text() == "old"


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
