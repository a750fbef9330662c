import json

import pytest
from cli.runs import same, trained, training, weights


@pytest.mark.parametrize("dataset", ["flat", "splits", "files"])
def test_every_form_of_a_dataset_is_the_same(dataset, run, tmp_path):
    trained(run, tmp_path / "out", dataset=dataset)
    expected = trained(run, tmp_path / "flat", dataset="flat")
    found = json.loads((tmp_path / "out" / "training_summary.json").read_text())
    assert found["examples"]["pairs"] == 24
    assert same(weights(tmp_path / "out" / "model"), weights(tmp_path / "flat" / "model")), expected


def test_a_part_of_a_split(run, tmp_path):
    trained(run, tmp_path, "--split", "train[:25%]", "--stages", "extractor")
    assert json.loads((tmp_path / "training_summary.json").read_text())["examples"]["pairs"] == 6


def test_a_stream_is_shuffled(run, tmp_path):
    found = {}
    for buffer in (0, 8, 24):
        more = ["--streaming", "--shuffle_buffer", buffer, "--stages", "extractor", "prior"]
        found[buffer] = trained(run, tmp_path / str(buffer), *more)
        assert found[buffer]["prior"]["steps"] == 4
    losses = [each["extractor"]["losses"] for each in found.values()]
    assert losses[0] != losses[1] != losses[2] != losses[0]
    again = trained(run, tmp_path / "again", *more)
    assert again["extractor"]["losses"] == losses[-1]
    other = trained(run, tmp_path / "other", *more, "--seed", 1)
    assert other["extractor"]["losses"] != losses[-1]


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
