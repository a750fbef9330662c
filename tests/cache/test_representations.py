"""What a cache of Y′ holds, here and on the Hub."""

import json
import pickle
import re
from pathlib import Path

import pytest
import torch
from caches import CODES, RAGGED, codes, files, numbers, output, pictures, ragged, start, values, write
from datasets import Features, Image, Value
from hub import serve

from regen_hf import Representation, RepresentationCache, RepresentationSpec

# What a cache holds.


def test_codes_of_one_shape(tmp_path, small_shards):
    cache = write(tmp_path / "cache", batch_size=4)
    found = cache[[12, 0]]
    assert found.values.tolist() == [[[120, 121, 122], [123, 124, 125]], [[0, 1, 2], [3, 4, 5]]]
    assert found.values.dtype == torch.long and found.mask is None
    assert len(cache) == 20 and cache.lengths is None and cache.spec == CODES
    shards = [f"shard-0000{i}.arrow" for i in range(4)]
    assert sorted(files(tmp_path / "cache")) == ["representations.json", *shards]
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize(("shape", "second"), [
    ((None,), [0, 1]), ((2, None), [[0, 1], [2, 3]]), ((None, 2), [[0, 1], [2, 3]]),
    ((1, None, 3), [[[0, 1, 2], [3, 4, 5]]]),
])  # fmt: skip
def test_a_size_that_varies(shape, second, tmp_path, small_shards):
    varies = shape.index(None)

    def encode(batch):
        longest = max(batch["i"])
        padded = torch.full((len(batch["i"]), *(size or longest for size in shape)), torch.nan)
        for row, i in zip(padded, batch["i"], strict=True):
            real = row.narrow(varies, 0, i)
            real.copy_(torch.arange(real.numel()).view(real.shape))
        return Representation(values=padded, mask=torch.arange(longest) < torch.tensor(batch["i"])[:, None])

    cache = write(tmp_path / "cache", encode=encode, spec=RepresentationSpec(shape), batch_size=4)
    found = cache[[2, 0, 9]]
    assert found.values.dtype == torch.float32 and found.values.shape == (3, *(size or 9 for size in shape))
    assert found.mask.sum(1).tolist() == [2, 0, 9] and found.mask[0].tolist() == [True] * 2 + [False] * 7
    assert found.values[0].narrow(varies, 0, 2).tolist() == second
    assert found.values[0].narrow(varies, 2, 7).count_nonzero() == 0 == found.values[1].count_nonzero()
    assert found.values[2].flatten().tolist() == list(range(found.values[2].numel()))
    assert cache.lengths.tolist() == list(range(20))
    assert [batch.mask.shape[1] for batch in cache.batches(8)] == [7, 15, 19]


def test_a_size_that_varies_but_does_not_in_a_batch_needs_no_mask(tmp_path):
    cache = write(tmp_path / "cache", encode=codes, spec=RepresentationSpec((2, None), 1000))
    assert cache[[1]].values.tolist() == [[[10, 11, 12], [13, 14, 15]]] and cache[[1]].mask.tolist() == [[True] * 3]


def test_any_order_gives_what_was_put_in(tmp_path, small_shards):
    cache = write(tmp_path / "cache", batch_size=4)
    expected = codes({"i": list(range(20))}).values
    order = torch.randperm(20).tolist()
    assert torch.equal(values(cache), expected)
    assert torch.equal(cache[order].values, expected[order])
    assert torch.equal(cache[-3:].values, expected[-3:]) and torch.equal(cache[[-1, 5, 5]].values, expected[[-1, 5, 5]])
    assert cache[[]].values.shape == (0, 2, 3)


@pytest.mark.parametrize(("rows", "error", "message"), [
    ([20], IndexError, "`rows` must be in [0, 20), got 20 to 20"), ([-21, 0], IndexError, "got -21 to 0"),
    (3, TypeError, "list of ints or a slice, got 3"), ([True, False], TypeError, "got [True, False]"),
])  # fmt: skip
def test_rows_that_are_not_there(rows, error, message, tmp_path):
    with pytest.raises(error, match=re.escape(message)):
        write(tmp_path / "cache")[rows]


@pytest.mark.parametrize(("num_codes", "kind"), [(2**15, "int16"), (2**15 + 1, "int32"), (2**31 + 1, "int64")])
def test_the_largest_code_is_kept_whole(num_codes, kind, tmp_path):
    largest = lambda batch: Representation(values=torch.full((len(batch["i"]), 1), num_codes - 1))  # noqa: E731
    cache = write(tmp_path / "cache", numbers(2), largest, RepresentationSpec((1,), num_codes))
    assert cache[[1]].values.tolist() == [[num_codes - 1]]
    assert cache.dataset.features["representation"].feature == Value(kind)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(dtype, tmp_path):
    encode = lambda batch: Representation(values=torch.tensor([[0.5]] * len(batch["i"]), dtype=dtype))  # noqa: E731
    found = write(tmp_path / "cache", encode=encode, spec=RepresentationSpec((1,)))[[0]].values
    assert found.dtype == torch.float32 and found.tolist() == [[0.5]]


def test_a_pickled_cache_takes_its_files_along_and_not_what_is_in_them(tmp_path):
    wide = lambda batch: Representation(values=torch.ones(len(batch["i"]), 50_000))  # noqa: E731
    pickled = pickle.dumps(write(tmp_path / "cache", encode=wide, spec=RepresentationSpec((50_000,))))
    assert len(pickled) < 20_000
    assert pickle.loads(pickled)[[3]].values.sum() == 50_000


# Caches of somebody else.

DESCRIBED = {
    "shards": [
        [],
        {},
        "x",
        {"../shard-00000.arrow": 20},
        {"/etc/shard-00000.arrow": 20},
        {"shard-00000.arrow": -1},
        {"": 0},
        {"shard-00000.arrow": 2.0},
        {"shard-00000.arrow": True},
        {"shard-0/../shard-00000.arrow": 20},
        {"..": 20},
        {"plan.json": 20},
        {"shard-00000.arrow\n": 20},
    ],
    "shape": ["2", [2, -3], [2, 0], [2.0, 3], [2**62, 2**62], [10**400], [[2]], [1] * 9, {"2": 3}, [True, 3], None],
    "num_codes": [0, -1, 1.5, "9", 10**400, [], True],
    "num_codebooks": [0, None, 10**400, "1", 3],
    "rate": [0, -1, "1", float("nan"), float("inf"), 10**400, True],
    "fingerprint": [None, [], {"data": 1}, {"data": None}, "x"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in DESCRIBED.items() for value in values])
def test_a_description_that_says_what_cannot_be_is_refused_by_its_key(key, value, tmp_path):
    write(tmp_path / "cache")
    path = tmp_path / "cache" / "representations.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ValueError, match=rf"representations\.json is damaged: `{key}` must be ") as found:
        RepresentationCache(tmp_path / "cache")
    assert len(str(found.value)) < 500


def test_what_a_description_says_is_shown_where_it_fits_in_a_line(tmp_path):
    write(tmp_path / "cache")
    path = tmp_path / "cache" / "representations.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rate": "fifty of them in each second of it"}))
    with pytest.raises(ValueError, match=r"`rate` must be .*, got 'fifty of them in each second of it'\."):
        RepresentationCache(tmp_path / "cache")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[1]", "\xff"])
def test_a_description_that_cannot_be_read_is_refused(text, tmp_path):
    (tmp_path / "representations.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"representations\.json is damaged: "):
        RepresentationCache(tmp_path)


@pytest.mark.parametrize(
    "key, value", [("shape", [3, 2, 2]), ("shape", [None]), ("num_codes", None), ("num_codes", 2**40)]
)
def test_shards_that_hold_something_else_than_is_described_are_refused(key, value, tmp_path):
    write(tmp_path / "cache")
    path = tmp_path / "cache" / "representations.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ValueError, match="is damaged: for .* its shards must hold List"):
        RepresentationCache(tmp_path / "cache")


def test_a_shard_that_leads_elsewhere_is_refused(tmp_path):
    write(tmp_path / "cache")
    shard = tmp_path / "cache" / "shard-00000.arrow"
    shard.rename(tmp_path / "elsewhere.arrow")
    shard.symlink_to(tmp_path / "elsewhere.arrow")
    with pytest.raises(ValueError, match="shard-00000.arrow is a link that leads out of it"):
        RepresentationCache(tmp_path / "cache")


def shard_of(path, rows, kind) -> None:
    """Writes rows as they are, whatever they are."""
    import pyarrow

    schema = Features({"representation": kind}).arrow_schema
    with pyarrow.ipc.new_stream(str(path), schema) as file:
        file.write_table(pyarrow.table({"representation": pyarrow.array(rows, schema.types[0])}, schema=schema))


@pytest.mark.parametrize(("spec", "row", "message"), [
    (RepresentationSpec((2,)), [1.0, float("nan")], "Y′ of row 1 must be finite, got nan"),
    (RepresentationSpec((None,)), [float("-inf")], "Y′ of row 1 must be finite, got -inf"),
    (RepresentationSpec((2,), 9), [8, 9], r"Y′ of row 1 must be codes in \[0, 9\), got 9"),
    (RepresentationSpec((None,), 9), [-1, 8], r"Y′ of row 1 must be codes in \[0, 9\), got -1"),
])  # fmt: skip
def test_values_that_are_none_are_refused_by_their_row(spec, row, message, tmp_path):
    good = [[1] * len(row)] * len(row)
    ones = torch.ones(2, len(row), dtype=torch.long if spec.num_codes else None)
    cache = write(tmp_path / "cache", numbers(2), lambda _: Representation(ones), spec)
    kind = cache.dataset.features["representation"]
    shard_of(tmp_path / "cache" / "shard-00000.arrow", [good[0], row], kind)
    cache = RepresentationCache(tmp_path / "cache")
    for rows in ([0, 1], [0]):  # each time, and whatever of the shard is read
        with pytest.raises(ValueError, match=message):
            cache[rows]


def test_large_values_are_kept(tmp_path):
    encode = lambda batch: Representation(torch.full((len(batch["i"]), 2), 3e38))  # noqa: E731
    assert write(tmp_path / "cache", encode=encode, spec=RepresentationSpec((2,)))[[0]].values.max() > 2e38


def test_rows_that_are_missing_or_of_another_size_are_refused(tmp_path):
    cache = write(
        tmp_path / "cache", numbers(2), lambda batch: Representation(torch.ones(2, 2, 2)), RepresentationSpec((2, None))
    )
    kind, path = cache.dataset.features["representation"], tmp_path / "cache" / "shard-00000.arrow"
    shard_of(path, [[1.0, 2.0], [3.0]], kind)
    with pytest.raises(ValueError, match="is damaged: it holds rows that are not continuous values"):
        RepresentationCache(tmp_path / "cache")
    shard_of(path, [[1.0, 2.0], None], kind)
    with pytest.raises(ValueError, match="is damaged: 1 of its rows hold nothing"):
        RepresentationCache(tmp_path / "cache")


def test_a_cache_removes_its_own_files_and_nothing_else(tmp_path):
    write(tmp_path / "cache").remove()
    assert not list(tmp_path.iterdir())
    cache = write(tmp_path / "cache")
    (tmp_path / "cache" / "mine.txt").write_text("mine")
    cache.remove()
    assert list(files(tmp_path / "cache")) == ["mine.txt"]


# What is beside Y′.


@pytest.mark.parametrize("stream", [False, True])
def test_columns_that_are_kept_stay_as_they_are(stream, tmp_path, small_shards):
    def sizes(batch):
        assert list(batch) == ["image"]
        return Representation(values=torch.tensor([[image.width] for image in batch["image"]]))

    data = pictures().to_iterable_dataset() if stream else pictures()
    cache = write(
        tmp_path / "cache", data, sizes, RepresentationSpec((1,), 99), inputs=["image"], columns=["name", "image"]
    )
    assert cache[[0]].values.tolist() == [[16]]
    assert cache.dataset.column_names == ["representation", "name", "image"]
    assert cache.dataset.features["image"] == Image() and cache.dataset[7]["name"] == "picture 7"
    assert cache.dataset[7]["image"].getpixel((0, 0))[1] == pytest.approx(140, abs=3)
    raw = [table.with_format("arrow")[:]["image"].to_pylist() for table in (cache.dataset, pictures())]
    assert raw[0] == raw[1]


def test_the_columns_of_shuffled_data_go_with_their_rows(tmp_path, small_shards):
    cache = write(tmp_path / "cache", numbers().shuffle(seed=1), columns=["i"], batch_size=4)
    assert torch.equal(values(cache), codes({"i": cache.dataset["i"][:]}).values)
    assert sorted(cache.dataset["i"]) == list(range(20)) != cache.dataset["i"][:]


# The Hub.


def to_the_hub_and_back(folder: str) -> None:
    for name, encode, spec in (("codes", codes, CODES), ("ragged", ragged, RAGGED)):
        data = pictures().add_column("i", list(range(10)))
        cache = write(Path(folder, name), data, encode, spec, inputs=["i"], columns=["image"])
        print("pushed", cache.push_to_hub(f"user/{name}"))
        back = RepresentationCache.from_hub(f"user/{name}")
        assert back.spec == spec and back.description == cache.description
        assert back.dataset.features == cache.dataset.features
        order = [7, 1, 9, 1]
        assert torch.equal(back[order].values, encode({"i": order}).values.clamp(min=0))
        assert torch.equal(back[order].values, cache[order].values) and len(back) == len(cache) == 10
        assert (back.lengths is None) == (name == "codes")
        assert back.dataset[7]["image"].tobytes() == cache.dataset[7]["image"].tobytes()
        back.check({"data": "1"})
        with pytest.raises(ValueError, match=f"the cache user/{name} is in no folder of its own"):
            back.remove()
    assert back.lengths.tolist() == list(range(10))
    assert torch.equal(back[[2, 1]].mask, torch.tensor([[True, True], [True, False]]))
    for name, expected in (("codes", ValueError), ("plain", FileNotFoundError)):
        if name == "plain":
            numbers().push_to_hub("user/plain")
        try:
            RepresentationCache.from_hub(f"user/{name}").check({"data": "2"})
        except expected as error:
            print(error)


@pytest.mark.slow
def test_to_the_hub_and_back(tmp_path):
    with serve(tmp_path / "hub") as endpoint:
        settings = {
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": "hf_x",
        }
        code = f"import test_representations as t; t.to_the_hub_and_back({str(tmp_path)!r})"
        found = output(start("-c", code, HF_HUB_DISABLE_XET="1", **settings))
    assert "the cache in user/codes was made from other data than asked for" in found
    assert "the dataset user/plain holds no representations.json" in found
    pushed = tmp_path / "hub" / "datasets" / "user" / "ragged"
    assert json.loads((pushed / "representations.json").read_text())["shape"] == [None]
    assert {path.suffix for path in pushed.rglob("*") if path.is_file()} == {".json", ".md", ".parquet"}
    card = (pushed / "README.md").read_text()
    assert "license" not in card and "10 intermediate representations (Y′): codes (vocabulary 1000, any length)" in card
    # one commit each, and one of the plain dataset
    assert sorted((tmp_path / "hub" / ".commits").read_text().split()) == [
        "datasets/user/codes", "datasets/user/plain", "datasets/user/ragged",
    ]  # fmt: skip
