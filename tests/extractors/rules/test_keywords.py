import pytest
import torch
from extractors.conformance import ExtractorConformance
from tokenizers import Tokenizer
from transformers import AutoModel

from regen_hf import KeywordExtractor, KeywordExtractorConfig, RepresentationSpec, TextModality

TEXTS = ["Return the size of the file", "it is a list", "the user's row"]
STOP = ["the", "of", "a", "it", "is"]


@pytest.fixture(scope="module")
def text():
    return TextModality.from_pieces(TEXTS)


@pytest.fixture(scope="module")
def rule(text):
    return KeywordExtractor.from_tokenizer(text.tokenizer, STOP)


class TestKeywordExtractor(ExtractorConformance):
    """Of texts of one keyword, which is as long in each."""

    texts = ["a cat", "the dog", "of hat", "is god"]

    def text(self):
        return TextModality.from_pieces(self.texts, max_length=9)

    def make(self):
        return KeywordExtractor.from_tokenizer(self.text().tokenizer, STOP)

    def target(self):
        return self.text().as_target(["a cat the", "the dog a", "hat is of", "it is god"])["target"]

    def test_gives_what_its_config_says(self, extractor):
        config, found = extractor.config, extractor.encode(self.target())
        assert config.target_spec == config.representation_spec == RepresentationSpec((None,), num_codes=14)
        assert extractor.decode_keywords(found.values) == ["cat", "dog", "hat", "god"]
        assert found.mask.all() and found.values.dtype == torch.long

    def test_runs_in_bfloat16(self, extractor):
        assert extractor.to(torch.bfloat16).encode(self.target()).values.shape == (4, 3)


def test_the_plan_of_a_text(text, rule):
    found = rule.encode(**text.as_target(["return the size of the file", "it is", "the user's 'row'"]))
    assert rule.decode_keywords(found.values, found.mask) == ["return size file", "it is", "user's row"]
    assert found.mask.sum(1).tolist() == [16, 5, 10]


def test_the_checkpoint_is_whole(text, rule, tmp_path):
    rule.save_pretrained(tmp_path)
    found = AutoModel.from_pretrained(tmp_path)
    assert type(found) is KeywordExtractor and found.config.stop_words == sorted(STOP)
    codes = found.encode(**text.as_target(["the size"]))
    assert found.decode_keywords(codes.values) == ["size"]


def test_refuses_what_it_cannot_take(text, rule):
    assert rule.decode_keywords(rule.encode(**text.as_target(["''"])).values) == ["''"]
    with pytest.raises(ValueError, match=r"`target` must have a word, got '' in row 1"):
        rule.encode(torch.tensor([text.as_target(["row"])["target"][0].tolist(), [1, 1, 1]]))
    with pytest.raises(TypeError, match="`stop_words` must be words, got the text 'the'"):
        KeywordExtractor.from_tokenizer(text.tokenizer, "the")
    with pytest.raises(ValueError, match="`stop_words` must be in lower case, got 'The'"):
        KeywordExtractorConfig(stop_words=["The"])
    with pytest.raises(ValueError, match="got None: use KeywordExtractor.from_tokenizer"):
        KeywordExtractor.from_components()


def test_a_tokenizer_that_pads_or_cuts_makes_the_same_codes(text, rule):
    backend = Tokenizer.from_str(rule.config.tokenizer)
    backend.enable_padding()
    backend.enable_truncation(2)
    same = KeywordExtractor(KeywordExtractorConfig(tokenizer=backend.to_str(), stop_words=STOP))
    found, other = (each.encode(**text.as_target(TEXTS)) for each in (rule, same))
    assert torch.equal(found.values, other.values) and torch.equal(found.mask, other.mask)
