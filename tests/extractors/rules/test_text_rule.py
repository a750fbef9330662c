import pytest
import torch

from regen_hf import TextModality
from regen_hf.extractors.rules.text_rule import TextRuleExtractor, TextRuleExtractorConfig, describe_tokenizer

TEXT = TextModality.from_pieces(["abc def"])


class LettersConfig(TextRuleExtractorConfig):
    model_type = "test_letters"


class Letters(TextRuleExtractor):
    """How many letters each word has."""

    config_class = LettersConfig

    def _rows(self, texts):
        return [[len(word) for word in text.split()] for text in texts]


def test_codes_are_padded_to_the_longest_row():
    rule = Letters(LettersConfig(tokenizer=describe_tokenizer(TEXT.tokenizer)))
    found = rule.encode(**TEXT.as_target(["a bc", "def"]))
    assert found.values.tolist() == [[1, 2], [3, 0]] and found.mask.tolist() == [[True, True], [True, False]]
    whole = TEXT.as_target(["abc"])["target"]
    assert rule.encode(whole, torch.tensor([[True, True, False]])).values.tolist() == [[2]]


def test_the_state_of_a_tokenizer_is_not_kept():
    described = describe_tokenizer(TEXT.tokenizer)
    TEXT.tokenizer("a", truncation=True, max_length=1)
    assert describe_tokenizer(TEXT.tokenizer) == described


def test_refuses_to_be_made_without_a_tokenizer():
    with pytest.raises(
        ValueError, match="`tokenizer` must be the JSON of a tokenizer, got None: use Letters.from_texts"
    ):
        Letters(LettersConfig())
