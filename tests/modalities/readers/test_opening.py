import os

import pytest

from regen_hf.modalities.readers.opening import file_of, opened, reading


@pytest.mark.parametrize("example, expected", [
    (b"ab", ("target 0", b"ab")),
    (bytearray(b"ab"), ("target 0", b"ab")),
    ("a/b.png", ("a/b.png", "a/b.png")),
    ({"bytes": b"", "path": "b.png"}, ("b.png", b"")),
    ({"bytes": None, "path": "b.png"}, ("b.png", "b.png")),
    ({"bytes": None, "path": None}, ("target 0", None)),
    ({"bytes": [1], "path": None}, ("target 0", None)),
    (7, ("target 0", None)),
])  # fmt: skip
def test_a_file_is_a_path_or_bytes(example, expected):
    assert file_of("target 0", example) == expected


@pytest.mark.parametrize(
    "path", ["http://127.0.0.1:9/a.png", "file:///etc/hostname", "hf://datasets/a", "zip://a::b.zip"]
)
def test_a_url_is_not_followed(path):
    with pytest.raises(ValueError, match="must be a file on this machine, got a URL"), opened(path, "image", path):
        pass


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "absent", "zero"])
def test_what_is_no_file_is_neither_read_nor_waited_for(tmp_path, kind):
    path = {"device": "/dev/zero", "zero": "a\0b"}.get(kind, str(tmp_path / kind))
    if kind == "folder":
        os.mkdir(path)
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ValueError, match="x is no readable image: ") as raised, opened("x", "image", path):
        pass
    assert isinstance(raised.value.__cause__, OSError | ValueError)


def test_a_file_does_not_say_its_name(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"ab")
    with opened("x", "audio", tmp_path / "a.raw") as stream:
        assert stream.read() == b"ab" and not isinstance(stream.name, str)


@pytest.mark.parametrize("kind", [KeyError, AttributeError, RecursionError, AssertionError, OSError, SyntaxError])
def test_whatever_a_library_raises_over_data_is_one_error(kind):
    with pytest.raises(ValueError, match="x is no readable score: .*why") as raised, reading("x", "score"):
        raise kind("why")
    assert type(raised.value.__cause__) is kind


@pytest.mark.parametrize("kind", [MemoryError, ImportError, KeyboardInterrupt])
def test_what_tells_nothing_of_the_data_is_let_through(kind):
    with pytest.raises(kind), reading("x", "score"):
        raise kind
