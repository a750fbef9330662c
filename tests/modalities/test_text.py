import pytest

from regen_hf import TextModality


@pytest.fixture
def text():
    return TextModality.from_words(["red heart", "medium-dark skin tone"], max_length=4)


def test_words_and_marks_are_tokens(text):
    batch = text.as_source(["red skin", "Medium-dark"])
    vocabulary = text.tokenizer.get_vocab()
    expected = [[vocabulary[w] for w in words] for words in (["red", "skin"], ["medium", "-", "dark"])]
    assert batch["input_ids"].tolist() == [expected[0] + [0, 0], expected[1] + [0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 0]]


def test_warns_of_what_is_lost(text):
    with pytest.warns(UserWarning, match=r"text cut after 4 tokens: .* is read as 'red heart red heart'"):
        text.as_source(["red heart red heart red"])
    with pytest.warns(UserWarning, match="no word of 'xyzzy' is known"):
        text.as_source(["xyzzy"])


def test_refuses_bad_settings():
    with pytest.raises(ValueError, match="no words"):
        TextModality.from_words(["", " "])
    with pytest.raises(TypeError, match="`tokenizer` must be a transformers tokenizer, got str"):
        TextModality("bert-base", max_length=4)
    with pytest.raises(ValueError, match="`max_length` must be at least 1, got 0"):
        TextModality(TextModality.from_words(["a"]).tokenizer, max_length=0)


def test_text_as_a_target_and_back(tmp_path):
    text = TextModality.from_words(["red heart", "a blue heart"])
    batch = text.as_target(["red heart", "a blue heart"])
    assert batch["target"].tolist() == [[5, 4, 0], [2, 3, 4]]
    assert batch["target_mask"].tolist() == [[True, True, False], [True, True, True]]
    found = text.from_target(batch["target"], batch["target_mask"])
    assert found == [{"text": "red heart"}, {"text": "a blue heart"}]
    assert text.save_samples(found, ["x", "y"], tmp_path / "s").read_text() == "x\tred heart\ny\ta blue heart\n"
    with pytest.raises(ValueError, match="must be text with at least one word"):
        text.as_target([" "])
