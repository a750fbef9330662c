import pytest
import torch
from extractors.conformance import ExtractorConformance
from transformers import AutoModel, PreTrainedTokenizer

from regen_hf import PhonemeExtractor, PhonemeExtractorConfig, RepresentationSpec, TextModality
from regen_hf.speech import espeak

TEXTS = ["the cat's hat", "a dog"]


@pytest.fixture(scope="module")
def text():
    return TextModality.from_pieces(TEXTS)


@pytest.fixture(scope="module")
def rule(text):
    return PhonemeExtractor.from_texts(TEXTS, text.tokenizer)


CODES = [[4, 6, 5], [2, 7, 8], [3, 6, 5], [8, 7, 2]]


class TestPhonemeExtractor(ExtractorConformance):
    """Of words with as many phonemes as characters, so that each row is as long as the others."""

    words = ["cat", "dog", "hat", "god"]

    def make(self):
        return PhonemeExtractor.from_texts(self.words, TextModality.from_pieces(self.words).tokenizer)

    def target(self):
        return TextModality.from_pieces(self.words).as_target(self.words)["target"]

    def test_gives_what_its_config_says(self, extractor):
        config, found = extractor.config, extractor.encode(self.target())
        assert config.target_spec == RepresentationSpec((None,), num_codes=9)
        assert config.representation_spec == RepresentationSpec((None,), num_codes=9)
        assert config.phonemes == [" ", "<unk>", "d", "h", "k", "t", "æ", "ɑː", "ɡ"]
        assert found.values.tolist() == CODES and found.values.dtype == torch.long
        assert found.mask.all() and found.mask.dtype == torch.bool

    def test_runs_in_bfloat16(self, extractor):
        assert extractor.to(torch.bfloat16).encode(self.target()).values.tolist() == CODES


def test_the_codes_of_a_text(text, rule):
    assert rule.config.phonemes == [" ", "<unk>", "d", "h", "k", "s", "t", "æ", "ð", "ɐ", "ɑː", "ə", "ɡ"]
    found = rule.encode(**text.as_target(["the cat", "a hat"]))
    assert found.values.tolist() == [[8, 11, 0, 4, 7, 6], [9, 0, 3, 7, 6, 0]]
    assert found.mask.tolist() == [[True] * 6, [True] * 5 + [False]]
    assert rule.decode_phonemes(found.values, found.mask) == ["ðə kæt", "ɐ hæt"]
    assert rule.decode_phonemes(found.values[:1]) == ["ðə kæt"]
    whole = text.as_target(["cat a"])["target"]
    assert rule.encode(whole, torch.tensor([[True] * 3 + [False] * 2])).values.tolist() == [[4, 7, 6]]


def test_a_phoneme_that_is_not_listed_is_unknown():
    text = TextModality.from_pieces(["sad cat hid"])
    rule = PhonemeExtractor.from_texts(["sad cat"], text.tokenizer)
    found = rule.encode(**text.as_target(["cat hid"]))
    assert found.values.tolist() == [[3, 6, 5, 0, 1, 1, 2]]
    assert rule.decode_phonemes(found.values) == ["kæt <unk><unk>d"]


def test_language_and_stress_are_heeded(text):
    german = PhonemeExtractor.from_texts(["a dog"], text.tokenizer, language="de")
    assert german.config.phonemes[2:] == ["d", "k", "oː", "ɑː"]
    assert german.decode_phonemes(german.encode(**text.as_target(["a dog"])).values) == ["ɑː doːk"]
    stressed = PhonemeExtractor.from_texts(["a dog"], text.tokenizer, stress=True)
    assert stressed.decode_phonemes(stressed.encode(**text.as_target(["a dog"])).values) == ["ɐ dˈɑːɡ"]


def test_texts_are_read_as_the_tokenizer_gives_them_back():
    text = TextModality.from_pieces(["us"])
    assert PhonemeExtractor.from_texts(["US"], text.tokenizer).config.phonemes[2:] == ["s", "ʌ"]


def test_equal_texts_are_pronounced_once(text, rule, monkeypatch):
    asked = []
    ask = espeak._espeak.ask
    monkeypatch.setattr(espeak._espeak, "ask", lambda request: asked.append(request) or ask(request))
    rows = rule.encode(**text.as_target(["a dog", "a cat", "a dog"])).values
    assert asked == [{"voice": "en-us", "texts": ["a dog", "a cat"]}]
    assert torch.equal(rows[0], rows[2])


def test_the_checkpoint_is_whole(text, rule, tmp_path):
    text.tokenizer("a", truncation=True, max_length=1)  # the state that this leaves belongs to no checkpoint
    PhonemeExtractor.from_texts(TEXTS, text.tokenizer).save_pretrained(tmp_path)
    found = AutoModel.from_pretrained(tmp_path)
    assert found.config.tokenizer == rule.config.tokenizer
    assert found.encode(**text.as_target(["a cat"])).values.tolist() == [[9, 0, 4, 7, 6]]


class Slow(PreTrainedTokenizer):
    vocab_size = 0

    def get_vocab(self):
        return {}


def test_refuses_what_it_cannot_take(text, rule, tmp_path):
    with pytest.raises(ValueError, match=r"`target` must have something to pronounce, got \"'\" in row 1"):
        rule.encode(**text.as_target(["a", "'"]))
    with pytest.raises(ValueError, match="`texts` must have something to pronounce, got ' ' in row 1"):
        PhonemeExtractor.from_texts(["a", " "], text.tokenizer)
    with pytest.raises(ValueError, match="`target` must be token ids from 0 to 12"):
        rule.encode(torch.tensor([[13]]))
    with pytest.raises(ValueError, match="`target` must be token ids from 0 to 12"):
        rule.encode(torch.tensor([[1.0]]))
    with pytest.raises(ValueError, match=r"`target` must be text \(batch, length\), got \(2,\)"):
        rule.encode(torch.tensor([2, 3]))
    with pytest.raises(ValueError, match="`language` must be one that espeak-ng knows, .* got 'klingonx'"):
        PhonemeExtractor.from_texts(TEXTS, text.tokenizer, language="klingonx")
    with pytest.raises(TypeError, match="`tokenizer` must be a fast transformers tokenizer, got Slow"):
        PhonemeExtractor.from_texts(TEXTS, Slow())
    with pytest.raises(ValueError, match="`tokenizer` must be the JSON of a tokenizer, got None"):
        PhonemeExtractor.from_components(language="de")
    with pytest.raises(ValueError, match=r"`phonemes` must begin with ' ' and '<unk>', got \['a', 'b'\]"):
        PhonemeExtractorConfig(phonemes=["a", "b"])
    with pytest.raises(ValueError, match=r"`phonemes` must differ, got \['a'\] more than once"):
        PhonemeExtractorConfig(phonemes=[" ", "<unk>", "a", "b", "a"])
