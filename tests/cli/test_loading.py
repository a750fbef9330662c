import pytest
from cli.command_runs import training
from datasets import Dataset, IterableDataset
from pairs import pairs

from regen_hf.cli.loading import load_data

FORMS = ["flat", "splits", "files"]


def rows(dataset):
    return [(row["text"], row["image"].tobytes()) for row in dataset]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_dataset_is_the_same(name, streaming):
    found = load_data(name, "train", streaming=streaming)
    assert isinstance(found, IterableDataset if streaming else Dataset)
    assert found.features == pairs().features and rows(found) == rows(pairs())


@pytest.mark.parametrize("name", FORMS)
def test_a_part_of_a_split(name):
    assert rows(load_data(name, "train[:25%]")) == rows(pairs())[:6]


@pytest.mark.parametrize("name", ["splits", "files"])
def test_parts_of_several_splits(name):
    assert rows(load_data(name, "train[22:]+validation")) == rows(pairs())[22:] + rows(pairs())[:6]


def test_a_stream_is_shuffled():
    def texts(buffer, seed=0):
        stream = load_data("flat", "train", streaming=True, shuffle_buffer=buffer, seed=seed)
        return [row["text"] for row in stream]

    found = [texts(buffer) for buffer in (0, 8, 24)]
    assert found[0] == pairs()["text"] and all(sorted(each) == sorted(found[0]) for each in found)
    assert found[0] != found[1] != found[2] != found[0]
    assert texts(24) == found[2] != texts(24, seed=1)


WRONG = {
    "unknown split": (training("out", "--split", "test"), "Unknown split \"test\". Should be one of"),
    "no validation split": (training("out", "--validation_split", "validation"), "Unknown split \"validation\""),
    "no configuration": (training("out", "--dataset_config", "de"), "`dataset_config` is 'de', but flat was made by"),
    "no dataset": (training("out", dataset="none"), "'none'"),
    "no model": (training("out", model="none"), "couldn't connect|is not a local folder"),
    "no regenerator": (training("out", model="bert"), "`model` bert is a BertModel, not a regenerator"),
}  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_one_line(argv, message, refused):
    refused(argv, message)
