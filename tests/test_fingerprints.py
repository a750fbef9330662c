from datasets import Dataset

from regen_hf.fingerprints import data_fingerprint


def test_tells_datasets_apart():
    one, same, other = (Dataset.from_dict({"a": values}) for values in ([1, 2], [1, 2], [1, 3]))
    assert data_fingerprint(one) == data_fingerprint(same) != data_fingerprint(other)
    assert data_fingerprint(one.select([0])) != data_fingerprint(one)


def test_tells_streams_apart_by_what_they_say():
    one, same, other = (Dataset.from_dict({"a": values}).to_iterable_dataset() for values in ([1, 2], [1, 2], [3, 2]))
    assert data_fingerprint(one) == data_fingerprint(same) != data_fingerprint(other)
