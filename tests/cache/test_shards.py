"""Caches that are begun, killed, gone on with and shared."""

import contextlib
import os
import re
import signal
import time
from pathlib import Path

import pytest
import tiny
import torch
from caches import RAGGED, codes, extracted, files, no_encoding, numbers, output, pictures, ragged, start, values, write
from datasets import Dataset

from regen_hf import ImageModality, Representation, RepresentationCache, RepresentationSpec
from regen_hf.cache import extraction, shards
from regen_hf.cache.fingerprints import fingerprint
from regen_hf.runtime import files as locks

# Begun, killed, and gone on with.


def slowly(folder: str) -> None:
    shards.SHARD_ROWS, shards.CHUNK_BYTES = 6, 40

    def encode(batch):
        time.sleep(0.1)
        return ragged(batch)

    write(Path(folder), numbers(60), encode, RAGGED, batch_size=4, columns=["i"])


@pytest.mark.slow
def test_goes_on_where_it_was_killed(tmp_path, small_shards, monkeypatch):
    partial = tmp_path / ".cache.partial"
    process = start("-c", f"import test_shards as t; t.slowly({str(tmp_path / 'cache')!r})")
    while len(list(partial.glob("shard-*.arrow"))) < 2:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    with monkeypatch.context() as impatient:
        impatient.setattr(locks, "PATIENCE", 0)
        with pytest.raises(OSError, match=f"another run is writing to the output folder .*: process {process.pid} on "):
            write(tmp_path / "cache", numbers(60), no_encoding, RAGGED, columns=["i"])
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


def test_what_is_begun_of_something_else_is_thrown_away_where_that_is_said(tmp_path, small_shards):
    interrupted(tmp_path / "cache", parts={"data": "0"})
    begun = files(tmp_path / ".cache.partial")
    with pytest.raises(ValueError, match=r"\.cache\.partial holds what was begun of another cache: ask for that one"):
        write(tmp_path / "cache", encode=no_encoding)
    assert files(tmp_path / ".cache.partial") == begun
    seen = []
    write(tmp_path / "cache", encode=lambda batch: seen.extend(batch["i"]) or codes(batch), overwrite=True)
    assert seen == list(range(20))


def test_a_finished_cache_is_there_until_another_takes_its_place(tmp_path, small_shards):
    write(tmp_path / "cache", spec=RAGGED, encode=ragged)
    mine = {"mine.txt": b"mine", "shard-mine.arrow": b"mine", "shard-00000.arrow.mine": b"mine"}
    for name, content in mine.items():
        (tmp_path / "cache" / name).write_bytes(content)
    before, found = files(tmp_path / "cache"), []
    encode = lambda batch: found.append(files(tmp_path / "cache")) or codes(batch)  # noqa: E731
    with pytest.raises(ValueError, match="pass `overwrite=True`"):
        write(tmp_path / "cache", encode=no_encoding)
    write(tmp_path / "cache", numbers(5), encode, parts={"data": "5"}, overwrite=True)
    assert found and all(each == before for each in found)
    write(tmp_path / "whole", numbers(5), parts={"data": "5"})
    assert files(tmp_path / "cache") == {**files(tmp_path / "whole"), **mine}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "whole"]
    assert len(write(tmp_path / "cache", numbers(5), no_encoding, parts={"data": "5"}, overwrite=True)) == 5  # the same


@pytest.mark.parametrize("plan", [None, "{}", '{"fingerprint": {}}'])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_cache_is_left_alone(overwrite, plan, tmp_path):
    partial = tmp_path / ".cache.partial"
    partial.mkdir()
    (partial / "mine.txt").write_text("mine")
    if plan:
        (partial / "plan.json").write_text(plan)
    before = files(partial)
    with pytest.raises(FileExistsError, match=r"\.cache\.partial holds mine.txt, which is of no cache that was begun"):
        write(tmp_path / "cache", overwrite=overwrite)
    assert files(partial) == before and not (tmp_path / "cache").exists()


def test_a_link_in_the_place_of_what_is_begun_is_not_followed(tmp_path, small_shards):
    interrupted(tmp_path / "other")
    os.symlink(tmp_path / ".other.partial", tmp_path / ".cache.partial")
    before = files(tmp_path / ".other.partial")
    with pytest.raises(FileExistsError, match=r"\.cache\.partial is a link, which is not written through"):
        write(tmp_path / "cache", parts={"data": "0"}, overwrite=True)
    assert files(tmp_path / ".other.partial") == before


def test_other_files_among_what_is_begun_stay(tmp_path, small_shards):
    interrupted(tmp_path / "cache", parts={"data": "0"})
    (tmp_path / ".cache.partial" / "mine.txt").write_bytes(b"mine")
    (tmp_path / "elsewhere").write_bytes(b"mine")
    os.symlink(tmp_path / "elsewhere", tmp_path / ".cache.partial" / f"shard-00000.arrow.{os.getpid()}.tmp")
    write(tmp_path / "cache", overwrite=True)
    assert (tmp_path / "cache" / "mine.txt").read_bytes() == b"mine" == (tmp_path / "elsewhere").read_bytes()


def test_the_folder_of_a_cache_may_be_a_link_to_another_disk(tmp_path):
    (tmp_path / "disk" / "y").mkdir(parents=True)
    os.symlink(tmp_path / "disk" / "y", tmp_path / "cache")
    assert len(write(tmp_path / "cache")) == len(RepresentationCache(tmp_path / "disk" / "y")) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "disk"]


def test_two_at_once_are_refused(tmp_path, monkeypatch, small_shards):
    monkeypatch.setattr(locks, "PATIENCE", 0)
    message = rf"another run is writing to the output folder {tmp_path / 'cache'}: process {os.getpid()} on "

    def encode(batch):
        with pytest.raises(OSError, match=message):
            write(tmp_path / "cache", encode=no_encoding)
        return codes(batch)

    write(tmp_path / "cache", encode=encode)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_cache_that_another_process_wrote_meanwhile_is_taken(tmp_path, monkeypatch):
    @contextlib.contextmanager
    def waited(lock, folder):
        monkeypatch.setattr(extraction, "only_writer", locks.only_writer)
        write(folder)
        yield

    monkeypatch.setattr(extraction, "only_writer", waited)
    assert len(write(tmp_path / "cache", encode=no_encoding)) == 20


def on_a_small_disk(folder: str) -> None:
    """As far as a file may grow; a full disk ends a write alike."""
    import resource

    shards.SHARD_ROWS = 6
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    wide = lambda batch: Representation(values=torch.ones(len(batch["i"]), 10_000))  # noqa: E731
    try:
        write(Path(folder), encode=wide, spec=RepresentationSpec((10_000,)))
    except OSError as error:
        print(error)
    print(sorted(os.listdir(os.path.dirname(folder))), sorted(os.listdir(Path(folder).with_name(".cache.partial"))))


@pytest.mark.slow
def test_a_disk_that_is_full_is_told_in_one_line_and_nothing_half_written_is_left(tmp_path):
    found = output(start("-c", f"import test_shards as t; t.on_a_small_disk({str(tmp_path / 'cache')!r})"))
    assert (
        f"the output folder {tmp_path / 'cache'} cannot be written to: File too large; make room, and the same" in found
    )
    assert "['.cache.partial'] ['plan.json']" in found


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
    with pytest.raises(ValueError, match=f"cache is damaged: shard-00001.arrow {problem}; pass `overwrite=True`"):
        RepresentationCache(tmp_path / "cache")
    (tmp_path / "cache" / "representations.json").write_text('{"shape":')
    with pytest.raises(ValueError, match="representations.json is damaged"):
        write(tmp_path / "cache")
    assert len(write(tmp_path / "cache", overwrite=True)) == 20


# More than one process, and memory.


def in_two_processes(folder: str) -> None:
    from accelerate import PartialState

    shards.SHARD_ROWS = 3
    torch.manual_seed(0)
    extracted(Path(folder, "two"), tiny.autoencoder_extractor(), num_workers=1, columns=["name"])
    assert PartialState().num_processes == 2
    for parts in (2, 3):
        encoded = []

        def encode(batch, encoded=encoded):
            time.sleep(0.1 * PartialState().process_index)  # the first process has to wait
            encoded.extend(batch["i"])
            return codes(batch)

        write(Path(folder, f"of {parts}"), numbers().to_iterable_dataset(num_shards=parts), encode, batch_size=2)
        assert len(encoded) == 10
    print(f"process {PartialState().process_index} is done")


@pytest.mark.slow
def test_two_processes_give_the_same_as_one(tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text(f"import test_shards as t; t.in_two_processes({str(tmp_path)!r})")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    found = output(start(*launcher, ACCELERATE_USE_CPU="1"))
    assert "process 0 is done" in found and "process 1 is done" in found
    assert found.count("extract:   0%") == 1, found  # one bar, which may be drawn twice at its end
    monkeypatch.setattr(shards, "SHARD_ROWS", 3)
    torch.manual_seed(0)
    extractor = tiny.autoencoder_extractor()
    extracted(tmp_path / "one", extractor, columns=["name"])
    assert len(files(tmp_path / "one")) == 5
    assert files(tmp_path / "one") == files(tmp_path / "two")
    dealt = {2: [*range(10), *range(10, 20)], 3: [*range(0, 20, 2), *range(1, 20, 2)]}
    for parts, order in dealt.items():
        cache = RepresentationCache(tmp_path / f"of {parts}")
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


@pytest.mark.slow
def test_ten_times_the_data_take_no_more_memory(tmp_path):
    found = output(start("-c", f"import test_shards as t; t.measure_memory({str(tmp_path)!r})"))
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
    with pytest.raises(ValueError, match=r"codes \(vocabulary 1000") as held:
        write(tmp_path / "wrong", spec=RAGGED, num_workers=2)
    assert held and not multiprocessing.active_children()


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
    assert data(stream()) == data(stream().take(9))  # which it cannot see
    others = [
        stream(num_shards=2),
        stream().skip(1),
        *(each.to_iterable_dataset() for each in (pictures(5), pictures(red=9))),
    ]
    assert len({data(stream()), data(stream(), "name"), *map(data, others)}) == 6
    cache = extracted(tmp_path / "cache", extractor, stream())
    torch.testing.assert_close(values(cache), values(extracted(tmp_path / "whole", extractor)))
    assert len(extracted(tmp_path / "cache", extractor, stream())) == 10
