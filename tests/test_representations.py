"""The cache of Y′: what it holds, how it is begun, interrupted, shared and refused."""

import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
import torch
from datasets import Dataset, Features, Image, Value
from hub import serve
from PIL import Image as PILImage

from regen_hf import ImageModality, Representation, RepresentationCache, RepresentationSpec, extract, representations
from regen_hf.representations import cache_name, fingerprint, write_cache

CODES = RepresentationSpec((2, 3), 1000)
RAGGED = RepresentationSpec((None,), 1000)


def numbers(count: int = 20) -> Dataset:
    return Dataset.from_dict({"i": list(range(count))})


def codes(batch: dict[str, list]) -> Representation:
    """Example i is 10 i to 10 i + 5."""
    return Representation(values=10 * torch.tensor(batch["i"]).view(-1, 1, 1) + torch.arange(6).view(2, 3))


def ragged(batch: dict[str, list]) -> Representation:
    """Example i is i, i times; its padding is no code."""
    lengths = torch.tensor(batch["i"])[:, None]
    mask = torch.arange(max(batch["i"])) < lengths
    return Representation(values=torch.where(mask, lengths, -100), mask=mask)


def write(folder: Path, data=None, encode=codes, spec=CODES, parts=None, **settings) -> RepresentationCache:
    return write_cache(folder, numbers() if data is None else data, encode, spec, parts or {"data": "1"}, **settings)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def values(cache: RepresentationCache) -> torch.Tensor:
    return torch.cat([batch.values for batch in cache.batches(7)])


def no_encoding(_):
    pytest.fail("encoded again")


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 6 rows, which are written in chunks of 4 and 2."""
    monkeypatch.setattr(representations, "SHARD_ROWS", 6)
    monkeypatch.setattr(representations, "CHUNK_BYTES", 40)


def start(*arguments: str, **environment: str) -> subprocess.Popen:
    """A new Python, which can import this file."""
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parent), *sys.path]))
    settings = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [sys.executable, *arguments], env=settings, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def output(process: subprocess.Popen) -> str:
    try:
        found, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, found
    return found


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


# What is beside Y′.


def pictures(count: int = 10, red: int = 0) -> Dataset:
    found = []
    for i in range(count):
        PILImage.new("RGB", (16, 16), (red, 20 * i, 0)).save(file := io.BytesIO(), "JPEG", quality=60)
        found.append({"bytes": file.getvalue(), "path": None})
    features = Features({"image": Image(), "name": Value("string")})
    return Dataset.from_dict({"image": found, "name": [f"picture {i}" for i in range(count)]}, features=features)


@pytest.mark.parametrize("stream", [False, True])
def test_columns_that_are_kept_stay_as_they_are(stream, tmp_path, small_shards):
    data = pictures().to_iterable_dataset() if stream else pictures()
    sizes = lambda batch: Representation(values=torch.tensor([[image.width] for image in batch["image"]]))  # noqa: E731
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


# What an extractor makes.


def extracted(folder: Path, extractor, data=None, size: int = 16, **settings) -> RepresentationCache:
    data = pictures() if data is None else data
    return extract(extractor, ImageModality(size), data, "image", folder, **{"batch_size": 4, **settings})


@pytest.mark.parametrize("make", [
    tiny.autoencoder_extractor, lambda: tiny.autoencoder_extractor(tiny.vq(), "codes"), tiny.downsample, tiny.identity,
])  # fmt: skip
def test_holds_what_the_extractor_gives(make, tmp_path):
    extractor = make().train()
    cache = extracted(tmp_path / "cache", extractor)
    assert all(module.training for module in extractor.modules())
    with torch.no_grad():
        expected = extractor.eval().encode(ImageModality(16).as_target(pictures()["image"])["target"]).values
    assert cache[[3, 0]].values.dtype == expected.dtype
    torch.testing.assert_close(values(cache), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(cache[[3, 0, 9]].values, expected[[3, 0, 9]], rtol=1e-4, atol=1e-5)


def test_the_extractor_is_in_eval_mode_only_meanwhile(tmp_path):
    extractor, seen = tiny.autoencoder_extractor().train(), []
    frozen, encode = extractor.autoencoder.net.encoder.eval(), extractor.encode
    extractor.encode = lambda target: seen.append((extractor.training, torch.is_grad_enabled())) or encode(target)
    random = torch.get_rng_state()
    extracted(tmp_path / "cache", extractor)
    assert set(seen) == {(False, False)}
    assert extractor.training and not frozen.training and torch.is_grad_enabled()
    assert torch.equal(random, torch.get_rng_state())


def test_is_read_again_where_nothing_changed(tmp_path):
    extractor = tiny.autoencoder_extractor()
    extracted(tmp_path / "cache", extractor)
    extractor.encode = no_encoding
    assert len(extracted(tmp_path / "cache", extractor)) == 10


def test_a_cache_of_something_else_is_refused_and_says_of_what(tmp_path):
    extractor, place = tiny.autoencoder_extractor(), tmp_path / "cache"
    extracted(place, extractor)
    before, data = files(place), pictures()

    def refused(names: str, extractor=extractor, **settings):
        with pytest.raises(
            ValueError, match=f"^the cache in {place} was made from other {names} than asked for: delete"
        ):
            extracted(place, extractor, **settings)

    refused("data", data=pictures(red=9))
    refused("preprocessing", data=data, size=32)
    refused("configuration, data, weights", tiny.downsample(), data=pictures(red=9))
    extractor.config.latent_noise = 0.5
    refused("configuration")
    with torch.no_grad():
        next(extractor.parameters()).add_(1e-3)
    refused("configuration, data, weights", data=pictures(9))
    assert files(place) == before


def test_the_parts_of_a_cache_have_a_name():
    assert cache_name({"data": "1", "weights": "2"}) == cache_name({"weights": "2", "data": "1"}) == "55cbf62f88503436"
    assert cache_name({"data": "2", "weights": "1"}) != cache_name({"data": "1", "weights": "2"})


def test_what_was_asked_for_must_be_what_there_is(tmp_path):
    write(tmp_path / "cache", columns=["i"])
    assert len(write(tmp_path / "cache", encode=no_encoding)) == 20  # without the column that it has
    write(tmp_path / "other")
    with pytest.raises(ValueError, match="kept no column 'i'"):
        write(tmp_path / "other", columns=["i"])
    with pytest.raises(ValueError, match=r"holds codes out of 1000 of shape \(2, 3\), not codes out of 1000 of shape"):
        write(tmp_path / "other", spec=RAGGED)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="mine holds something that is no cache"):
        write(tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    assert len(write(tmp_path / "empty")) == 20


# Begun, killed, and gone on with.


def slowly(folder: str) -> None:
    representations.SHARD_ROWS, representations.CHUNK_BYTES = 6, 40

    def encode(batch):
        time.sleep(0.1)
        return ragged(batch)

    write(Path(folder), numbers(60), encode, RAGGED, batch_size=4, columns=["i"])


def test_goes_on_where_it_was_killed(tmp_path, small_shards):
    partial = tmp_path / ".cache.partial"
    process = start("-c", f"import test_representations as t; t.slowly({str(tmp_path / 'cache')!r})")
    while len(list(partial.glob("shard-*.arrow"))) < 2:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finished = len(list(partial.glob("shard-*.arrow")))
    assert 2 <= finished < 10 and not (tmp_path / "cache").exists()
    seen = []
    settings = {"spec": RAGGED, "batch_size": 4, "columns": ["i"]}
    write(tmp_path / "cache", numbers(60), lambda batch: seen.extend(batch["i"]) or ragged(batch), **settings)
    assert seen == list(range(6 * finished, 60))
    write(tmp_path / "whole", numbers(60), ragged, **settings)
    assert files(tmp_path / "cache") == files(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "whole"]


def interrupted(folder: Path, data=None, parts=None, after: int = 3, **settings) -> None:
    """Leaves what a run leaves that ends in its fourth batch."""
    calls = []

    def encode(batch):
        calls.append(batch)
        if len(calls) > after:
            raise KeyboardInterrupt
        return codes(batch)

    with pytest.raises(KeyboardInterrupt):
        write(folder, data, encode, parts=parts, **{"batch_size": 4, **settings})


def test_half_written_is_never_read(tmp_path, small_shards):
    interrupted(tmp_path / "cache")
    assert [path.name for path in tmp_path.iterdir()] == [".cache.partial"]
    assert sorted(files(tmp_path / ".cache.partial")) == ["plan.json", "shard-00000.arrow"]
    for folder in (tmp_path / "cache", tmp_path / ".cache.partial", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"{folder} holds no finished cache"):
            RepresentationCache(folder)


def test_what_is_begun_of_something_else_is_thrown_away(tmp_path, small_shards):
    interrupted(tmp_path / "cache", parts={"data": "0"})
    seen = []
    write(tmp_path / "cache", encode=lambda batch: seen.extend(batch["i"]) or codes(batch))
    assert seen == list(range(20))


def test_a_shard_that_is_not_whole_is_written_again(tmp_path, small_shards):
    interrupted(tmp_path / "cache", after=5)
    first = tmp_path / ".cache.partial" / "shard-00000.arrow"
    first.write_bytes(first.read_bytes()[:-80])
    (tmp_path / ".cache.partial" / "shard-00002.arrow.1.tmp").write_bytes(b"left")
    seen = []
    cache = write(tmp_path / "cache", encode=lambda batch: seen.extend(batch["i"]) or codes(batch), batch_size=4)
    assert seen == [*range(6), *range(12, 20)]
    assert torch.equal(values(cache), codes({"i": list(range(20))}).values)
    assert len(files(tmp_path / "cache")) == 5


def test_killed_between_description_and_name(tmp_path, small_shards):
    expected = files(Path(write(tmp_path / "cache").place))
    os.replace(tmp_path / "cache", tmp_path / ".cache.partial")
    write(tmp_path / "cache", encode=no_encoding)
    assert files(tmp_path / "cache") == expected


@pytest.mark.parametrize(("harm", "problem"), [
    (lambda path: path.unlink(), "cannot be read"),
    (lambda path: path.write_bytes(path.read_bytes()[:200]), "cannot be read"),
    (lambda path: path.write_bytes(path.with_name("shard-00003.arrow").read_bytes()), "has 2 rows instead of 6"),
])  # fmt: skip
def test_a_damaged_cache_is_refused(harm, problem, tmp_path, small_shards):
    write(tmp_path / "cache")
    harm(tmp_path / "cache" / "shard-00001.arrow")
    with pytest.raises(ValueError, match=f"cache is damaged: shard-00001.arrow {problem}; delete the cache to extract"):
        RepresentationCache(tmp_path / "cache")
    (tmp_path / "cache" / "representations.json").write_text('{"shape":')
    with pytest.raises(ValueError, match="representations.json is damaged"):
        write(tmp_path / "cache")


# More than one process, and memory.


def in_two_processes(folder: str) -> None:
    from accelerate import PartialState

    representations.SHARD_ROWS = 3
    torch.manual_seed(0)
    extracted(Path(folder, "two"), tiny.autoencoder_extractor(), num_workers=1, columns=["name"])
    assert PartialState().num_processes == 2
    for shards in (2, 3):
        encoded = []

        def encode(batch, encoded=encoded):
            time.sleep(0.1 * PartialState().process_index)  # the first process has to wait
            encoded.extend(batch["i"])
            return codes(batch)

        write(Path(folder, f"of {shards}"), numbers().to_iterable_dataset(num_shards=shards), encode, batch_size=2)
        assert len(encoded) == 10
    print(f"process {PartialState().process_index} is done")


def test_two_processes_give_the_same_as_one(tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text(f"import test_representations as t; t.in_two_processes({str(tmp_path)!r})")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    found = output(start(*launcher, ACCELERATE_USE_CPU="1"))
    assert "process 0 is done" in found and "process 1 is done" in found
    assert found.count("extract: 100%") == 1, found  # one bar
    monkeypatch.setattr(representations, "SHARD_ROWS", 3)
    torch.manual_seed(0)
    extractor = tiny.autoencoder_extractor()
    extracted(tmp_path / "one", extractor, columns=["name"])
    assert len(files(tmp_path / "one")) == 5
    assert files(tmp_path / "one") == files(tmp_path / "two")
    dealt = {2: [*range(10), *range(10, 20)], 3: [*range(0, 20, 2), *range(1, 20, 2)]}
    for shards, order in dealt.items():
        cache = RepresentationCache(tmp_path / f"of {shards}")
        assert torch.equal(values(cache), codes({"i": order}).values)
        assert "shard-00001-00003.arrow" in cache.description["shards"]


def blobs(count: int):
    for i in range(count):
        yield {"blob": bytes([i % 256]) * 2**14}


def measure_memory(folder: str) -> None:
    import resource

    wide = lambda batch: Representation(values=torch.ones(len(batch["blob"]), 2**12))  # noqa: E731
    for count in (2560, 25600):  # 40 and 400 MiB of data, and as much of Y′
        data = Dataset.from_generator(blobs, gen_kwargs={"count": count}, cache_dir=folder)
        write(Path(folder, str(count)), data, wide, RepresentationSpec((2**12,)))
        print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def test_ten_times_the_data_take_no_more_memory(tmp_path):
    found = output(start("-c", f"import test_representations as t; t.measure_memory({str(tmp_path)!r})"))
    once, ten_times = map(int, re.findall(r"peak (\d+)", found))
    assert ten_times < 1.1 * once


def test_workers_read_and_change_nothing(tmp_path, small_shards):
    import multiprocessing

    def read(batch):
        assert multiprocessing.parent_process() is not None
        return batch

    write(tmp_path / "none", encode=ragged, spec=RAGGED, batch_size=4)
    write(tmp_path / "two", encode=ragged, spec=RAGGED, batch_size=4, read=read, num_workers=2)
    assert files(tmp_path / "none") == files(tmp_path / "two")


# Streams.


def test_a_stream_gives_what_its_dataset_gives(tmp_path, small_shards):
    cache = write(tmp_path / "cache", numbers().to_iterable_dataset(), ragged, RAGGED, batch_size=4)
    whole = write(tmp_path / "whole", numbers(), ragged, RAGGED, batch_size=4)
    for name in ("0", "1", "2", "3"):
        shards = [tmp_path / "cache" / f"shard-00000-0000{name}.arrow", tmp_path / "whole" / f"shard-0000{name}.arrow"]
        assert shards[0].read_bytes() == shards[1].read_bytes()
    assert len(cache) == len(whole) == 20


def test_a_stream_goes_on_after_its_finished_shards(tmp_path, small_shards):
    interrupted(tmp_path / "cache", numbers().to_iterable_dataset(), after=5)
    seen = []
    encode = lambda batch: seen.extend(batch["i"]) or codes(batch)  # noqa: E731
    write(tmp_path / "cache", numbers().to_iterable_dataset(), encode, batch_size=4)
    assert seen == list(range(12, 20))
    write(tmp_path / "whole", numbers().to_iterable_dataset(), batch_size=4)
    assert files(tmp_path / "cache") == files(tmp_path / "whole")


def test_a_stream_must_go_on_with_as_many_processes(tmp_path, small_shards):
    interrupted(tmp_path / "cache", numbers().to_iterable_dataset())
    plan = tmp_path / ".cache.partial" / "plan.json"
    plan.write_text(plan.read_text().replace('"processes": 1', '"processes": 3'))
    with pytest.raises(ValueError, match="was begun by 3 processes, but this run has 1: go on with 3, or delete it"):
        write(tmp_path / "cache", numbers().to_iterable_dataset())


def test_the_fingerprint_of_a_stream(tmp_path):
    extractor, modality = tiny.downsample(), ImageModality(16)

    def data(found, column="image"):
        return fingerprint(extractor, modality, found, column)["data"]

    stream = pictures().to_iterable_dataset
    assert data(stream()) == data(stream())
    assert data(stream()) == data(pictures(5).to_iterable_dataset())  # what it cannot see
    others = [stream(num_shards=2), pictures(red=9).to_iterable_dataset(), stream().skip(1)]
    assert len({data(stream()), data(stream(), "name"), *map(data, others)}) == 5
    cache = extracted(tmp_path / "cache", extractor, stream())
    torch.testing.assert_close(values(cache), values(extracted(tmp_path / "whole", extractor)))
    assert len(extracted(tmp_path / "cache", extractor, stream())) == 10


# What is refused.


def one_wrong(value, where: int = 7):
    def encode(batch):
        found = torch.zeros(len(batch["i"]), 2, 3, dtype=torch.tensor(value).dtype)
        found[torch.tensor(batch["i"]) == where, 1, 1] = value
        return Representation(values=found)

    return encode


@pytest.mark.parametrize(("value", "num_codes", "message"), [
    (12, 12, "Y′ of example 7 must be codes in [0, 12), got 12."),
    (-1, 12, "Y′ of example 7 must be codes in [0, 12), got -1."),
    (2**16, 12, "Y′ of example 7 must be codes in [0, 12), got 65536."),
    (float("nan"), None, "Y′ of example 7 must be finite, got nan."),
    (float("-inf"), None, "Y′ of example 7 must be finite, got -inf."),
    (1.0, 12, "Y′ must be 4 times codes out of 12 of shape (2, 3), got torch.float32 of shape (4, 2, 3)."),
    (1, None, "Y′ must be 4 times continuous values of shape (2, 3), got torch.int64 of shape (4, 2, 3)."),
])  # fmt: skip
def test_values_that_cannot_be_kept(value, num_codes, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        write(tmp_path / "cache", encode=one_wrong(value), spec=RepresentationSpec((2, 3), num_codes), batch_size=4)
    assert not (tmp_path / "cache").exists()


def test_the_example_of_a_wrong_value_among_others_of_other_lengths(tmp_path):
    def encode(batch):
        found = ragged(batch)
        found.values[7, 6] = 1000
        return found

    with pytest.raises(ValueError, match=r"example 7 must be codes in \[0, 1000\), got 1000"):
        write(tmp_path / "cache", encode=encode, spec=RAGGED)


@pytest.mark.parametrize(("mask", "shape", "message"), [
    ([[1, 1, 1], [1, 0, 1]], (None,), "the mask of Y′ of example 1 is false before it is true"),
    ([[[1, 1, 1]], [[1, 1, 1]]], (None,), "the mask of Y′ must have the shape (2, 3), got (2, 1, 3)"),
    ([[1, 1, 1], [1, 1, 0]], (3,), "some of it is padding, but all of it must be codes out of 9 of shape (3,)"),
    (None, (4,), "Y′ must be 2 times codes out of 9 of shape (4,), got torch.int64 of shape (2, 3)"),
])  # fmt: skip
def test_masks_and_shapes_that_cannot_be_kept(mask, shape, message, tmp_path):
    mask = None if mask is None else torch.tensor(mask) == 1
    encode = lambda batch: Representation(values=torch.zeros(2, 3, dtype=torch.long), mask=mask)  # noqa: E731
    with pytest.raises(ValueError, match=re.escape(message)):
        write(tmp_path / "cache", numbers(2), encode, RepresentationSpec(shape, 9))


class NotToBePickled(ValueError):
    def __reduce__(self):
        raise RuntimeError


@pytest.mark.parametrize(("where", "stream", "workers"), [
    ("encode", False, 0), ("encode", True, 0), ("read", False, 0), ("read", True, 0), ("read", False, 1),
])  # fmt: skip
@pytest.mark.parametrize("error", [ValueError, TypeError, NotToBePickled])
def test_an_error_names_its_examples(error, where, stream, workers, tmp_path):
    def fails(batch):
        if 9 in batch["i"]:
            raise error("nine is bad")
        return batch if where == "read" else codes(batch)

    data = numbers().to_iterable_dataset() if stream else numbers()
    with pytest.raises(ValueError, match="examples 8 to 11: nine is bad") as found:
        write(tmp_path / "cache", data, **{"encode": codes, where: fails}, batch_size=4, num_workers=workers)
    assert isinstance(found.value.__cause__, ValueError if workers and error is NotToBePickled else error)


@pytest.mark.parametrize(("settings", "error", "message"), [
    ({"data": [1, 2]}, TypeError, "`dataset` must be a datasets.Dataset or IterableDataset, got list"),
    ({"data": numbers(0)}, ValueError, "`dataset` has no examples"),
    ({"data": numbers().to_iterable_dataset().take(0)}, ValueError, "`dataset` has no examples"),
    ({"spec": RepresentationSpec((None, None))}, ValueError, "`spec` may have one size that varies"),
    ({"batch_size": 0}, ValueError, "`batch_size` must be at least 1, got 0"),
    ({"columns": ["j"]}, ValueError, "the dataset has no column 'j'; its columns are i"),
    ({"inputs": ["j"]}, ValueError, "the dataset has no column 'j'; its columns are i"),
    ({"data": numbers().rename_column("i", "representation"), "columns": ["representation"]}, ValueError, "rename it"),
    ({"data": numbers().to_iterable_dataset(), "num_workers": 2}, ValueError, "`num_workers` must be 0 for a stream"),
    ({"data": numbers().to_iterable_dataset().map(dict), "columns": ["i"]}, ValueError, "`columns` must be ()"),
])  # fmt: skip
def test_requests_that_make_no_sense(settings, error, message, tmp_path):
    with pytest.raises(error, match=re.escape(message)):
        write(tmp_path / "cache", **settings)
    assert not (tmp_path / "cache").exists()


# The Hub.


def to_the_hub_and_back(folder: str) -> None:
    for name, encode, spec in (("codes", codes, CODES), ("ragged", ragged, RAGGED)):
        data = pictures().add_column("i", list(range(10)))
        cache = write(Path(folder, name), data, encode, spec, inputs=["i"], columns=["image"])
        cache.push_to_hub(f"user/{name}")
        back = RepresentationCache.from_hub(f"user/{name}")
        assert back.spec == spec and back.description == cache.description
        assert back.dataset.features == cache.dataset.features
        order = [7, 1, 9, 1]
        assert torch.equal(back[order].values, encode({"i": order}).values.clamp(min=0))
        assert torch.equal(back[order].values, cache[order].values) and len(back) == len(cache) == 10
        assert (back.lengths is None) == (name == "codes")
        assert back.dataset[7]["image"].tobytes() == cache.dataset[7]["image"].tobytes()
        back.check({"data": "1"})
    assert back.lengths.tolist() == list(range(10))
    assert torch.equal(back[[2, 1]].mask, torch.tensor([[True, True], [True, False]]))
    for name, expected in (("codes", ValueError), ("plain", FileNotFoundError)):
        if name == "plain":
            numbers().push_to_hub("user/plain")
        try:
            RepresentationCache.from_hub(f"user/{name}").check({"data": "2"})
        except expected as error:
            print(error)


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
