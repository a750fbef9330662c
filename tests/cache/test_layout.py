import json

import pyarrow
import pytest

from regen_hf import RepresentationSpec
from regen_hf.cache.layout import count_rows, fixed_size, read_description, storage_type

SAID = {"shards": {"shard-00000.arrow": 3}, "shape": [2, None], "num_codes": 9, "num_codebooks": 2, "rate": None,
        "fingerprint": {"data": "a"}}  # fmt: skip


@pytest.mark.parametrize(
    "key, value",
    [
        ("shards", {"../x.arrow": 3}),
        ("shape", [2, -1]),
        ("num_codes", True),
        ("num_codebooks", 3),
        ("rate", float("nan")),
    ],
)
def test_what_a_description_may_not_say_is_named(key, value, tmp_path):
    path = tmp_path / "representations.json"
    path.write_text(json.dumps(SAID))
    assert read_description(path, tmp_path) == SAID
    path.write_text(json.dumps({**SAID, key: value}))
    with pytest.raises(ValueError, match=f"representations.json is damaged: `{key}` must be "):
        read_description(path, tmp_path)


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_a_compressed_shard_is_not_unpacked(compression, tmp_path):
    table = pyarrow.table({"representation": [[0, 0]] * 5})
    options = pyarrow.ipc.IpcWriteOptions(compression=compression)
    with pyarrow.ipc.new_stream(str(tmp_path / "shard.arrow"), table.schema, options=options) as stream:
        stream.write_table(table)
    if compression is None:
        assert count_rows(tmp_path / "shard.arrow") == 5
        return
    with pytest.raises(ValueError, match="shard.arrow is damaged: a shard must not be compressed"):
        count_rows(tmp_path / "shard.arrow")


def test_codes_take_as_few_bytes_as_they_need():
    assert [storage_type(RepresentationSpec((None,), n)) for n in (2**15, 2**15 + 1, None)] == [
        "int16",
        "int32",
        "float32",
    ]
    assert fixed_size(RepresentationSpec((2, None), 9, 2)) == 2
