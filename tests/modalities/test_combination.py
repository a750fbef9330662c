import json

import pytest

from regen_hf import AudioModality, CombinedModality, LabelModality, RegenerationProcessor, TextModality


def combined() -> CombinedModality:
    text = TextModality.from_words(["red cat", "blue dog"])
    return CombinedModality(text=text, voice=LabelModality(["low", "high"]))


def test_gives_what_its_parts_give():
    batch = combined().as_source([{"text": "red dog", "voice": "high"}, {"text": "cat", "voice": 0, "more": 1}])
    assert {name: value.tolist() for name, value in batch.items()} == {
        "input_ids": [[5, 4], [3, 0]], "attention_mask": [[1, 1], [1, 0]], "class_labels": [[1], [0]],
    }  # fmt: skip


def test_names_what_is_wrong():
    with pytest.raises(TypeError, match="source 1 must be a dictionary with 'text' and 'voice', got str"):
        combined().as_source([{"text": "cat", "voice": "low"}, "cat"])
    with pytest.raises(ValueError, match="source 0 has no 'voice'"):
        combined().as_source([{"text": "cat"}])
    with pytest.raises(ValueError, match="must be a class name"):
        combined().as_source([{"text": "cat", "voice": "middle"}])


def test_refuses_parts_that_cannot_be_told_apart():
    with pytest.raises(ValueError, match="`parts` must have at least one"):
        CombinedModality()
    with pytest.raises(TypeError, match="`text` must be a Modality"):
        CombinedModality(text="text")
    labels = LabelModality(["a"])
    with pytest.raises(ValueError, match="`other` gives 'class_labels', and so does another of 'one' and 'other'"):
        CombinedModality(one=labels, other=labels).as_source([{"one": 0, "other": 0}])


def test_is_saved_with_what_its_parts_hold(tmp_path):
    RegenerationProcessor(combined(), AudioModality(8000)).save_pretrained(tmp_path)
    example = [{"text": "blue cat", "voice": "high"}]
    reloaded = RegenerationProcessor.from_pretrained(tmp_path)
    found, wanted = reloaded(source=example), combined().as_source(example)
    assert {name: value.tolist() for name, value in found.items()} == {k: v.tolist() for k, v in wanted.items()}


def test_parts_stay_in_the_folder(tmp_path):
    for name in ("../other", "/other", "a b", ""):
        with pytest.raises(ValueError, match="the name of a part must be one as Python has them"):
            CombinedModality(**{name: LabelModality(["a"])})
    words = TextModality.from_words(["red cat"]), TextModality.from_words(["blue dog runs"])
    processor = RegenerationProcessor(CombinedModality(target=words[0]), words[1])
    processor.save_pretrained(tmp_path)
    reloaded = RegenerationProcessor.from_pretrained(tmp_path)
    assert len(reloaded.source.parts["target"].tokenizer) == 4 and len(reloaded.target.tokenizer) == 5


@pytest.mark.parametrize("name", ["../voice", "/voice", "a/b", "", "."])
def test_names_of_parts_lead_nowhere(name, tmp_path):
    RegenerationProcessor(combined(), LabelModality(["a", "b"])).save_pretrained(tmp_path / "processor")
    TextModality.from_words(["elsewhere"]).save(str(tmp_path / "processor" / "voice"))
    path = tmp_path / "processor" / "processor_config.json"
    described = json.loads(path.read_text())
    described["source"]["parts"] = {name: described["source"]["parts"]["text"]}
    path.write_text(json.dumps(described))
    with pytest.raises(ValueError, match=f"the name of a part must be one as Python has them, got '{name}'"):
        RegenerationProcessor.from_pretrained(tmp_path / "processor")


def test_files_of_parts_are_in_their_folder(tmp_path):
    RegenerationProcessor(combined(), LabelModality(["a", "b"])).save_pretrained(tmp_path / "processor")
    file = tmp_path / "processor" / "parts" / "text" / "tokenizer.json"
    file.rename(tmp_path / "tokenizer.json")
    file.symlink_to(tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match=r"tokenizer.json is a link that leads out of its folder"):
        RegenerationProcessor.from_pretrained(tmp_path / "processor")
