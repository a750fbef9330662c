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
