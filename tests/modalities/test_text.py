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
