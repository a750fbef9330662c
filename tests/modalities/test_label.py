import numpy as np
import pytest

from regen_hf import LabelModality


def test_names_and_numbers_are_classes():
    labels = LabelModality(["cat", "dog"])
    assert labels.as_source(["dog", "cat", 1])["class_labels"].tolist() == [[1], [0], [1]]


@pytest.mark.parametrize("label", ["cow", 2, -1, True, None, 1.0])
def test_refuses_what_is_no_class(label):
    with pytest.raises(ValueError, match=r"source 1 must be a class name \('cat', 'dog'\) or a number below 2, got"):
        LabelModality(["cat", "dog"]).as_source(["cat", label])


def test_refuses_no_classes():
    for names in ([], "cat"):
        with pytest.raises(ValueError, match="`names` must be a list"):
            LabelModality(names)


@pytest.mark.parametrize("names", ["cat", [], [1], [None], None, {"cat": 0}, 5, [["cat"]]])
def test_names_are_texts(names):
    with pytest.raises(ValueError, match="`names` must be "):
        LabelModality(names)


def test_a_name_is_of_one_class():
    with pytest.raises(ValueError, match="`names` must differ from each other, but 'cat' is there twice"):
        LabelModality(["cat", "dog", "cat"])


@pytest.mark.parametrize("label", [float("nan"), float("inf"), 0.0, True, None, 2, -1, "cow", 10**5000], ids=range(9))
def test_what_is_no_class_is_named(label):
    with pytest.raises(ValueError, match="source 1 must be a class name"):
        LabelModality(["cat", "dog"]).as_source(["cat", label])


def test_numbers_of_numpy_are_numbers():
    assert LabelModality(["cat", "dog"]).as_source([np.int64(1), np.uint8(0)])["class_labels"].tolist() == [[1], [0]]
