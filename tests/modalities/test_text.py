import threading

import pytest
import torch
from tokenizers import processors

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
    with pytest.raises(ValueError, match="`max_length` must be a whole number of at least 1, got 0"):
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


PHRASE = "the cat's hat"


def test_single_characters_are_pieces():
    text = TextModality.from_pieces(["ab c", "a"])
    assert text.tokenizer.get_vocab() == {"<pad>": 0, "<unk>": 1, "a": 2, "b": 3, "c": 4, "▁": 5}
    assert text.max_length == 4
    batch = text.as_target(["c B", "A"])
    assert batch["target"].tolist() == [[4, 5, 3], [2, 0, 0]]
    assert text.from_target(batch["target"], batch["target_mask"]) == [{"text": "c b"}, {"text": "a"}]


def test_frequent_pieces_are_one_token():
    text = TextModality.from_pieces(["hat hat hat"] * 3, num_pieces=8)
    assert text.tokenizer.get_vocab() == {"<pad>": 0, "<unk>": 1, "a": 2, "h": 3, "t": 4, "▁": 5, "at": 6, "hat": 7}
    assert text.as_target(["hat at"])["target"].tolist() == [[7, 5, 6]]
    assert text.max_length == 5


@pytest.mark.parametrize("num_pieces", [None, 17, 30])
def test_pieces_lead_back_to_the_whole_text(num_pieces, tmp_path):
    made = TextModality.from_pieces([PHRASE, "naïve, I say ."], num_pieces, max_length=40)
    made.save(tmp_path)
    for text in (made, TextModality.load(str(tmp_path), made.to_dict())):
        for said in (PHRASE, " a  cat 's hat , ", "naïve, i say .", "nai\u0308ve", "t"):
            batch = text.as_target([said, PHRASE])
            found = text.from_target(batch["target"], batch["target_mask"])
            assert found == [{"text": said.replace("i\u0308", "ï")}, {"text": PHRASE}]


def test_a_character_that_is_no_piece_is_lost():
    text = TextModality.from_pieces(["abc"])
    batch = text.as_target(["axb"])
    assert batch["target"].tolist() == [[2, 1, 3]]
    assert text.from_target(batch["target"]) == [{"text": "ab"}]


def test_pieces_that_cannot_be_made():
    with pytest.raises(ValueError, match="no characters"):
        TextModality.from_pieces(["", " "])
    for few in (4, 0):
        match = f"`num_pieces` must be at least 5, for each character and `<pad>` and `<unk>`, got {few}"
        with pytest.raises(ValueError, match=match):
            TextModality.from_pieces(["abc"], num_pieces=few)


WORDS = [f"w{i}" for i in range(40)]


def with_ends(**settings):
    """A tokenizer that puts <s> before a text and </s> after it."""
    tokenizer = TextModality.from_words(["<s> </s>", *WORDS]).tokenizer
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
    ends = [(each, tokenizer.convert_tokens_to_ids(each)) for each in ("<s>", "</s>")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=ends)
    for name, value in settings.items():
        setattr(tokenizer, name, value)
    return tokenizer


@pytest.mark.parametrize("padding_side", ["left", "right"])
@pytest.mark.parametrize("truncation_side", ["left", "right"])
@pytest.mark.parametrize("max_length", [1, 2, 3, 5, 40])
@pytest.mark.filterwarnings("ignore:text cut", "ignore:no word")
def test_cuts_and_pads_as_the_tokenizer_would(padding_side, truncation_side, max_length):
    sides = {"padding_side": padding_side, "truncation_side": truncation_side}
    texts = ["w1", "w1 w2 w3", "w1 w2 w3 w4 w5 w6 w7"]
    found = TextModality(with_ends(**sides), max_length).as_source(texts)
    limits = {"truncation": True, "max_length": max_length}
    if max_length >= 2:  # else there is no room for both ends
        expected = with_ends(**sides)(texts, padding="max_length", return_tensors="pt", **limits)
        assert torch.equal(found["input_ids"], expected["input_ids"])
        assert torch.equal(found["attention_mask"], expected["attention_mask"])
    rows = with_ends(**sides)(texts, add_special_tokens=False, **limits)["input_ids"]
    target = TextModality(with_ends(**sides), max_length).as_target(texts)
    real = [row[own].tolist() for row, own in zip(target["target"], target["target_mask"], strict=True)]
    assert real == rows


@pytest.mark.filterwarnings("ignore:text cut")
def test_several_threads_read_what_one_reads():
    text = TextModality(with_ends(), 8)
    texts = [" ".join(WORDS[i : i + i % 12 + 1]) for i in range(30)]
    alone, found = (text.as_source(texts), text.as_target(texts)), []

    def read(as_source: bool):
        try:
            for _ in range(20):
                made = text.as_source(texts) if as_source else text.as_target(texts)
                found.append(all(torch.equal(made[name], alone[not as_source][name]) for name in made))
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=read, args=(i % 2 == 0,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 80


def test_the_callers_tokenizer_stays_as_it_is():
    tokenizer = with_ends()
    tokenizer("w1", padding="max_length", truncation=True, max_length=3)
    before = tokenizer.backend_tokenizer.to_str()
    text = TextModality(tokenizer, 5)
    text.as_source(["w1 w2"]), text.as_target(["w1"])
    assert tokenizer.backend_tokenizer.to_str() == before
    tokenizer("w1", padding="max_length", truncation=True, max_length=2)
    assert text.as_source(["w1 w2 w3"])["attention_mask"].tolist() == [[1, 1, 1, 1, 1]]
    assert text.tokenizer.backend_tokenizer.padding is None and text.tokenizer.backend_tokenizer.truncation is None


@pytest.mark.parametrize("max_length", [10**12, True, "5", 1.5, float("nan"), None, -1])
def test_settings_are_bounded(text, max_length):
    with pytest.raises(ValueError, match="`max_length` must be "):
        TextModality(text.tokenizer, max_length)


def test_what_is_no_text_is_shown_in_short(text):
    deep: list = []
    for _ in range(10**5):
        deep = [deep]
    for example, kind in (
        (deep, TypeError),
        (float("nan"), TypeError),
        (" " * 10**6, ValueError),
        ("a\ud800", ValueError),
    ):
        with pytest.raises(kind, match="source 1 (must be text|has a lone surrogate)") as raised:
            text.as_source(["red", example])
        assert len(str(raised.value)) < 400


def test_a_tokenizer_that_cannot_pad_is_named():
    tokenizer = with_ends()
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match="`tokenizer` has no padding token"):
        TextModality(tokenizer, 5).as_source(["w1"])
