import pytest
import tiny
import torch
from datasets import Dataset

from regen_hf import Representation, RepresentationSpec
from regen_hf.cache.extraction import write_cache
from regen_hf.modalities.base import padded
from regen_hf.stages.predictions import MixedBatches, predict

SPEC = RepresentationSpec((1, 1, 1))


def cache(folder, values):
    """One number for each row as its Y′."""

    def encode(batch):
        return Representation(torch.tensor(batch["value"], dtype=torch.float32).view(-1, 1, 1, 1))

    return write_cache(folder, Dataset.from_dict({"value": values}), encode, SPEC, {"data": str(values)})


def batches(tmp_path, share, total=100):
    true = [cache(tmp_path / "pairs", [0, 1, 2, 3]), cache(tmp_path / "unpaired", [4, 5, 6, 7])]
    mixed = MixedBatches(true, lambda rows: {"target": torch.tensor(rows)}, share, total)
    mixed.replace([0, 1, 2, 3], cache(tmp_path / "predicted", [100, 101, 102, 103]))
    return mixed


def values(mixed, number, rows):
    batch = mixed.__getitems__((number, rows))
    assert batch["target"].tolist() == rows
    return batch["source"].flatten().tolist()


def test_the_true_ones_at_first(tmp_path):
    assert values(batches(tmp_path, share=1.0), 0, [6, 1, 4, 3, 0]) == [6, 1, 4, 3, 0]
    assert values(batches(tmp_path, share=0.0), 100, [6, 1, 4, 3, 0]) == [6, 1, 4, 3, 0]


def test_predictions_of_pairs_in_the_end(tmp_path):
    assert values(batches(tmp_path, share=1.0), 100, [6, 1, 4, 3, 0]) == [6, 101, 4, 103, 100]


def test_the_share_grows_and_the_choice_can_be_repeated(tmp_path):
    mixed, rows = batches(tmp_path, share=0.5), [0, 1, 2, 3] * 50
    shares = [sum(value >= 100 for value in values(mixed, number, rows)) / 200 for number in (0, 50, 100)]
    assert shares[0] == 0 and abs(shares[1] - 0.25) < 0.08 and abs(shares[2] - 0.5) < 0.08
    assert values(mixed, 50, rows) == values(batches(tmp_path, share=0.5), 50, rows)
    assert values(mixed, 50, rows) != values(mixed, 51, rows)


def test_only_what_training_reads_is_predicted(tmp_path):
    mixed = batches(tmp_path, share=0.5, total=12)
    rows = mixed.rows_to_predict(batch_size=2)
    assert rows == [2, 3]
    mixed.replace(rows, cache(tmp_path / "two", [102, 103]))
    read = [batch["source"].flatten().tolist() for _, batch in zip(range(12), mixed.endless(2, seed=0), strict=False)]
    assert {value for batch in read for value in batch} == {0, 1, 2, 3, 4, 5, 6, 7, 102, 103}
    assert batches(tmp_path, share=1.0, total=1000).rows_to_predict(2) == [0, 1, 2, 3]
    assert batches(tmp_path, share=1.0, total=1).rows_to_predict(2) == []  # the first batch has none


def test_predictions_are_the_priors_and_can_be_repeated(tmp_path):
    torch.manual_seed(0)
    prior, processor = tiny.diffusion_prior((4, 4, 4)), tiny.processor()
    dataset, spec = Dataset.from_dict({"text": tiny.NAMES}), RepresentationSpec((4, 4, 4))
    asked = {"num_inference_steps": 2}
    one = predict(prior, processor, dataset, "text", tmp_path / "a", spec, **asked)
    torch.manual_seed(7)
    two = predict(prior, processor, dataset, "text", tmp_path / "b", spec, **asked)
    assert torch.equal(one[:].values, two[:].values)
    assert len(one) == len(tiny.NAMES) and one[:].values.std() > 0.1
    predict(prior, processor, dataset, "text", tmp_path / "a", spec, num_inference_steps=3)
    assert len(list((tmp_path / "a").iterdir())) == 2  # other predictions have a place of their own


def rows_of(folder, *rows):
    """Codes of different lengths."""
    dataset = Dataset.from_dict({"row": list(range(len(rows)))})

    def encode(batch):
        values, mask = padded([torch.tensor(rows[row], dtype=torch.long) for row in batch["row"]])
        return Representation(values, mask)

    return write_cache(
        folder, dataset, encode, RepresentationSpec((None,), 9), {"made": str(rows)},
        read=lambda batch: batch, inputs=["row"], desc="made",
    )  # fmt: skip


def test_an_empty_row_is_left_out_and_an_empty_prediction_is_not_taken(tmp_path):
    true = [rows_of(tmp_path / "pairs", [1, 2], [], [3]), rows_of(tmp_path / "unpaired", [], [4, 4, 4])]
    with pytest.warns(UserWarning, match="the decoder does not see 2 of 5 examples, whose Y′ is empty"):
        mixed = MixedBatches(true, lambda rows: {"target": torch.tensor(rows)}, share=1.0, total=10)
    assert len(mixed) == 3 and list(mixed.lengths) == [2, 1, 3]
    rows = mixed.rows_to_predict(batch_size=3)
    assert rows == [0, 2]
    mixed.replace(rows, rows_of(tmp_path / "predicted", [7, 7], []))
    for number in (0, 10):
        batch = mixed.__getitems__((number, [0, 1, 2]))
        assert batch["target"].tolist() == [0, 2, 4]
        first = [7, 7, 0] if number else [1, 2, 0]
        assert batch["source"].tolist() == [first, [3, 0, 0], [4, 4, 4]]
        assert batch["source_mask"].sum(1).tolist() == [2, 1, 3]
    with pytest.raises(ValueError, match="there is nothing to decode: the Y′ of each of 2 examples is empty"):
        MixedBatches([rows_of(tmp_path / "none", [], [])], lambda rows: {})
