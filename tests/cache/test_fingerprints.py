import hashlib
import json

from datasets import Dataset
from transformers import ParakeetFeatureExtractor

from regen_hf import AudioModality, IdentityExtractor, TextModality
from regen_hf.cache.contents import data_contents
from regen_hf.cache.fingerprints import column_facts, fingerprint, older_config_text


def data(dataset, known=()) -> str:
    model = IdentityExtractor.from_components(target_shape=[None], num_codes=9)
    return fingerprint(model, TextModality.from_words(["x"]), dataset, "a", known)["data"]


def test_what_a_cache_recorded_of_the_same_facts_is_taken_for_its_data():
    dataset = Dataset.from_dict({"a": ["x"]})
    facts = column_facts(dataset, "a")
    known = [{"fingerprint": {"data": "other"}, "facts": "other"}, {"fingerprint": {"data": "read"}, "facts": facts}]
    assert data(dataset, known) == "read" != data(dataset, known[:1])
    assert facts != column_facts(dataset, "b")


def test_what_an_older_version_recorded_is_taken_for_the_same_data():
    dataset, other = Dataset.from_dict({"a": ["x"]}), Dataset.from_dict({"a": ["y"]})
    before = hashlib.sha256(f"{dataset._fingerprint} a".encode()).hexdigest()
    assert data(dataset, [{"fingerprint": {"data": before}}]) == before != data(dataset)
    assert data(other, [{"fingerprint": {"data": before}}]) == data(other) != before


def test_tells_tokenizers_and_feature_extractors_apart():
    data, model = Dataset.from_dict({"a": ["x"]}), IdentityExtractor.from_components(target_shape=[None], num_codes=9)

    def preprocessing(modality) -> str:
        return fingerprint(model, modality, data, "a")["preprocessing"]

    one, same, other = (TextModality.from_words([texts]) for texts in ("red cat", "red cat", "red dog"))
    assert preprocessing(one) == preprocessing(same) != preprocessing(other)
    few, many = (
        AudioModality(16000, feature_extractor=ParakeetFeatureExtractor(feature_size=size)) for size in (40, 80)
    )
    assert preprocessing(few) != preprocessing(many)


def test_a_tokenizer_that_was_saved_and_loaded_is_the_same(tmp_path):
    data, model = Dataset.from_dict({"a": ["x"]}), IdentityExtractor.from_components(target_shape=[None], num_codes=9)
    text = TextModality.from_words(["red cat"])
    text.save(str(tmp_path))
    again = TextModality.load(str(tmp_path), text.to_dict())
    assert fingerprint(model, text, data, "a") == fingerprint(model, again, data, "a")


def test_a_tokenizer_is_the_same_whatever_it_has_read(tmp_path):
    data, model = Dataset.from_dict({"a": ["x"]}), IdentityExtractor.from_components(target_shape=[None], num_codes=9)
    text = TextModality.from_words(["red cat"], max_length=2)
    before = fingerprint(model, text, data, "a")
    for read in (text.as_source, text.as_target):
        for example in ("red", "red cat"):
            read([example])
            assert fingerprint(model, text, data, "a") == before
            text.save(str(tmp_path))
            saved = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
            assert saved["truncation"] is None and saved["padding"] is None


def test_files_of_other_columns_make_no_other_data(tmp_path):
    (tmp_path / "notes.py").write_text("1")
    dataset = Dataset.from_dict({"a": ["x"], "origin": [str(tmp_path / "notes.py")]})
    older = hashlib.sha256(f"contents {data_contents(dataset)} a".encode()).hexdigest()
    now = data(dataset)
    assert data(dataset, [{"fingerprint": {"data": older}}]) == older != now
    (tmp_path / "notes.py").write_text("2")
    assert data(dataset) == now == data(dataset, [{"fingerprint": {"data": older}}])


def test_a_config_is_the_same_after_saving_and_as_an_older_version_had_it(tmp_path):
    dataset, model = (
        Dataset.from_dict({"a": ["x"]}),
        IdentityExtractor.from_components(target_shape=[None], num_codes=9),
    )
    text = TextModality.from_words(["x"])
    before = fingerprint(model, text, dataset, "a")
    model.save_pretrained(tmp_path)
    assert fingerprint(model, text, dataset, "a") == before
    older = hashlib.sha256(older_config_text(model.config).encode()).hexdigest()
    known = [{"fingerprint": {**before, "configuration": older}}]
    assert fingerprint(model, text, dataset, "a", known)["configuration"] == older != before["configuration"]
