"""Caches that extractors make, and what is refused."""

import re

import pytest
import tiny
import torch
from caches import RAGGED, codes, extracted, files, no_encoding, numbers, pictures, ragged, values, write
from datasets import Dataset

from regen_hf import ImageModality, Representation, RepresentationSpec
from regen_hf.cache.fingerprints import cache_name

# What an extractor makes.


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
        with pytest.raises(ValueError, match=f"^the cache in {place} was made from other {names} than asked for: pass"):
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
    with pytest.raises(
        ValueError, match=r"holds codes \(vocabulary 1000, shape 2 × 3\), not codes \(vocabulary 1000, any length"
    ):
        write(tmp_path / "other", spec=RAGGED)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="mine holds something that is no cache"):
        write(tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    assert len(write(tmp_path / "empty")) == 20


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
    (1.0, 12, "Y′ must be 4 times codes (vocabulary 12, shape 2 × 3), got torch.float32 of shape (4, 2, 3)."),
    (1, None, "Y′ must be 4 times continuous values (shape 2 × 3), got torch.int64 of shape (4, 2, 3)."),
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
    ([[1, 1, 1], [1, 1, 0]], (3,), "some of it is padding, but all of it must be codes (vocabulary 9, shape 3)"),
    (None, (4,), "Y′ must be 2 times codes (vocabulary 9, shape 4), got torch.int64 of shape (2, 3)"),
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


def test_files_are_opened_by_the_modality(tmp_path):
    data = pictures(2).to_dict() | {"image": [{"bytes": b"%!PS-Adobe-3.0 EPSF-3.0\n", "path": None}] * 2}
    data = Dataset.from_dict(data, features=pictures(2).features)
    with pytest.raises(ValueError, match="examples 0 to 1: target 0 is no readable image: it is none of AVIF"):
        extracted(tmp_path / "cache", tiny.autoencoder_extractor(), data)
