"""That changed data is seen and unchanged data is not taken for changed, whatever its files are."""

import os
import shutil
import wave

import pytest
from datasets import Audio, Dataset, Features, Image, IterableDataset, List, Value, Video, load_dataset
from PIL import Image as PILImage

from regen_hf.cache import contents
from regen_hf.cache.contents import data_contents, data_facts
from regen_hf.modalities.readers.columns import leave_undecoded

COLORS = {"black": 0, "white": 255}


def picture(path, color):
    PILImage.new("L", (8, 8), COLORS[color]).save(path, "BMP")  # files of one size


def sound(path, color):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 1, 8000, 0, "NONE", None))
        file.writeframes(bytes([COLORS[color]]) * 8)


def text(path, color):
    path.write_text(f"a,b\n1,2\n3,{COLORS[color]:03}\n")


def stream_of(place):
    return load_dataset("csv", data_files=str(place), split="train", streaming=True)


def lines(path):
    yield {"a": "first"}
    for line in open(path):  # noqa: SIM115
        yield {"a": line}


# how one file is written, what its name ends with, and a dataset that refers to it
BEHIND = {
    "pictures": (picture, ".bmp", lambda p: Dataset.from_dict({"a": [str(p)]}).cast_column("a", Image())),
    "pictures, undecoded": (
        picture, ".bmp", lambda p: Dataset.from_dict({"a": [str(p)]}).cast_column("a", Image(decode=False)),
    ),
    "paths of pictures": (picture, ".bmp", lambda p: Dataset.from_dict({"a": ["none.bmp", str(p)]})),
    "paths without endings": (picture, "", lambda p: Dataset.from_dict({"a": [str(p)]})),
    "frames": (
        picture, ".bmp",
        lambda p: Dataset.from_dict({"a": [[str(p)], []]}, features=Features({"a": List(Image(decode=False))})),
    ),
    "sounds": (
        sound, ".wav", lambda p: Dataset.from_dict({"a": [str(p)]}).cast_column("a", Audio(decode=False)),
    ),
    "clips": (
        sound, ".mp4", lambda p: Dataset.from_dict({"a": [str(p)]}).cast_column("a", Video(decode=False)),
    ),
    "in a row of several": (
        picture, ".bmp", lambda p: Dataset.from_dict({"a": [{"x": 1, "files": [None, str(p)]}], "b": ["text"]}),
    ),
    "some of the rows": (picture, ".bmp", lambda p: Dataset.from_dict({"a": ["x.bmp", str(p)]}).select([1])),
    "table": (text, ".csv", lambda p: load_dataset("csv", data_files=str(p), split="train")),
    "stream of a table": (text, ".csv", stream_of),
    "stream of a table, changed on the way": (text, ".csv", lambda p: stream_of(p).map(dict).shuffle(0).take(1)),
    "stream of pictures": (
        picture, ".bmp", lambda p: Dataset.from_dict({"a": [str(p)]}).cast_column("a", Image()).to_iterable_dataset(),
    ),
    "stream of a generator": (text, ".csv", lambda p: IterableDataset.from_generator(lines, gen_kwargs={"path": p})),
}  # fmt: skip


@pytest.mark.parametrize("kind", BEHIND)
def test_files_that_are_exchanged_are_seen(kind, tmp_path):
    write, ending, load = BEHIND[kind]
    path = tmp_path / f"file{ending}"
    write(path, "black")
    before = os.stat(path)
    facts, found = data_facts(load(path)), data_contents(load(path))
    assert (data_facts(load(path)), data_contents(load(path))) == (facts, found)
    write(path, "white")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a copy that keeps times has it
    if kind != "table":  # which datasets keeps a copy of, by the time of its file
        assert data_facts(load(path)) != facts and data_contents(load(path)) != found
    os.utime(path)
    assert data_contents(load(path)) != found
    write(path, "black")
    assert data_facts(load(path)) != facts and data_contents(load(path)) == found


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", ["parquet", "arrow", "csv", "json"])
def test_a_file_that_is_merely_touched_is_the_same(kind, streaming, tmp_path):
    data = Dataset.from_dict({"a": ["x", "y"], "b": [1, None]})
    path = tmp_path / f"data.{kind}"
    if kind == "arrow":
        data.save_to_disk(tmp_path / "saved")
        shutil.copy(next((tmp_path / "saved").glob("*.arrow")), path)
    else:
        getattr(data, f"to_{kind}")(path)

    def load():
        return load_dataset(kind, data_files=str(path), split="train", streaming=streaming)

    facts, found = data_facts(load()), data_contents(load())
    os.utime(path, ns=(1, 1))
    assert data_facts(load()) != facts and data_contents(load()) == found
    if kind == "arrow" and not streaming:
        assert data_contents(Dataset.from_file(str(path))) == found


def test_rows_are_told_apart_and_not_how_they_are_stored(tmp_path):
    rows = {"a": [["x"], [], None, ["y", "z"]] * 600, "b": list(range(2400))}
    data = Dataset.from_dict(rows)
    data.to_parquet(tmp_path / "data.parquet")
    data.save_to_disk(tmp_path / "saved", num_shards=3)
    found = data_contents(data)
    same = [
        load_dataset("parquet", data_files=str(tmp_path / "data.parquet"), split="train"), Dataset.load_from_disk(
            str(tmp_path / "saved")), data.select(range(2399, -1, -1)).select(range(2399, -1, -1)),
        data.with_format("numpy").with_format(None), data.map(lambda row: {"b": row["b"]}),
    ]  # fmt: skip
    assert [data_contents(each) for each in same] == [found] * 5
    others = [
        data.select(range(2399)), data.select(range(2399, -1, -1)), data.rename_column("b", "c"),
        data.cast_column("b", Value("int32")), data.with_transform(dict), data.map(lambda row: {"b": row["b"] + 1}),
        data.remove_columns("a"),
    ]  # fmt: skip
    assert len({found, *map(data_contents, others)}) == 8


def test_files_that_are_in_the_rows_are_not_looked_for(tmp_path):
    content = {"bytes": b"BM", "path": str(tmp_path / "file.bmp")}
    data = Dataset.from_dict({"a": [content]}, features=Features({"a": Image(decode=False)}))
    facts = data_facts(data)
    picture(tmp_path / "file.bmp", "black")
    assert data_facts(data) == facts


@pytest.mark.parametrize("rows", [1, 2])
def test_rows_that_are_too_large_to_be_read_at_once_are_told_apart(rows, monkeypatch):
    read = []
    monkeypatch.setattr(contents.np, "arange", lambda *bounds: read.append(bounds) or list(range(*bounds)))
    monkeypatch.setattr(Dataset, "iter", lambda self, _: [Large(self.with_format("arrow")[:])])
    one, other = (Dataset.from_dict({"a": [f"{rows}{text}"] * rows + ["c"]}) for text in "xy")
    assert data_contents(one) != data_contents(other)
    assert read == [(i, i + 1) for i in range(rows + 1)] * 2


class Large:
    """A table that says it is large."""

    nbytes = 2**31

    def __init__(self, table):
        self.table = table

    def __len__(self):
        return len(self.table)

    def __getattr__(self, name):
        return getattr(self.table, name)

    def replace_schema_metadata(self, _):
        return self


def test_a_text_is_no_path(tmp_path, monkeypatch):
    texts = ["x" * 5000 + ".txt", "a\n/b", "a\0/b", "/", ".", "a sentence.", "1/2", "zip://a.png::none.zip", ""]
    looked = []
    monkeypatch.setattr(contents.os.path, "isfile", lambda name: looked.append(name) or False)
    data_facts(Dataset.from_dict({"a": texts}))
    assert looked == ["a\n/b", "/", "1/2", "none.zip"]


def test_what_the_system_shows_as_files_is_not_read(monkeypatch, tmp_path):
    (tmp_path / "link.txt").symlink_to("/proc/self/status")
    monkeypatch.setattr(contents, "_read_file", None)
    data_contents(
        Dataset.from_dict({"a": ["/proc/kcore", "/proc/self/status", "/dev/zero", str(tmp_path / "link.txt")]})
    )


def test_what_has_been_read_is_not_read_again(tmp_path, monkeypatch):
    picture(tmp_path / "file.bmp", "black")
    data = Dataset.from_dict({"a": [str(tmp_path / "file.bmp")]})
    found = data_contents(data)
    monkeypatch.setattr(contents, "_read_file", None)
    monkeypatch.setattr(contents, "_read_rows", None)
    assert data_contents(data) == found


def test_streams_are_told_apart_by_what_they_say():
    one, same, other = (Dataset.from_dict({"a": values}).to_iterable_dataset() for values in ([1, 2], [1, 2], [1, 3]))
    assert data_contents(one) == data_contents(same) != data_contents(other)


def test_only_the_columns_in_use_have_files(tmp_path):
    path = tmp_path / "notes.py"
    text(path, "black")
    rows = Dataset.from_dict({"a": ["x"], "b": [None], "origin": [str(path)]})
    stream, mapped = rows.to_iterable_dataset(), rows.to_iterable_dataset().map(dict)
    read = rows.with_transform(lambda batch: {"a": [open(name).read() for name in batch["origin"]]})  # noqa: SIM115
    ours = leave_undecoded(rows.cast_column("b", Image(mode="RGB")), "b")
    kinds = [
        (rows, ["a"]),
        (stream, ["a"]),
        (ours, ["a"]),
        (rows, ["origin"]),
        (stream, ["origin"]),
        (mapped, ["a"]),
        (read, ["a"]),
    ]
    kinds.append((rows, None))

    def told():
        return [(data_facts(*each), data_contents(*each)) for each in kinds]

    before = told()
    text(path, "white")
    assert [one == other for one, other in zip(before, told(), strict=True)] == [True] * 3 + [False] * 5
