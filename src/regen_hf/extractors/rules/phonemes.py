"""Y′ by rule: the phonemes of a text."""

from collections.abc import Iterable

import torch
from transformers import PreTrainedTokenizerBase

from ...parts.outputs import RepresentationSpec
from ...speech.espeak import SPACE, UNKNOWN, check_inventory, inventory_of, phonemes, spelled
from .text_rule import TextRuleExtractor, TextRuleExtractorConfig, describe_tokenizer, read_tokenizer


class PhonemeExtractorConfig(TextRuleExtractorConfig):
    """
    Args:
        language: as [`phonemes`] takes it.
        stress: whether a phoneme with a stress mark is another one.
        phonemes: what each code stands for: first `" "`, between words, then `"<unk>"`, for a phoneme that is not
            listed, then phonemes in IPA.
    """

    model_type = "regen_phonemes"

    language: str = "en-us"
    stress: bool = False
    phonemes: list[str] | tuple[str, ...] = (SPACE, UNKNOWN)

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        check_inventory(self.phonemes)

    @property
    def representation_spec(self) -> RepresentationSpec:
        return RepresentationSpec((None,), len(self.phonemes))


class PhonemeExtractor(TextRuleExtractor):
    """What espeak-ng says a text sounds like: a code a phoneme, and one between words.

    Example:
        >>> from regen_hf import TextModality
        >>> text = TextModality.from_pieces(["the cat", "a hat"])
        >>> rule = PhonemeExtractor.from_texts(["the cat", "a hat"], text.tokenizer)
        >>> rule.config.phonemes
        [' ', '<unk>', 'h', 'k', 't', 'æ', 'ð', 'ɐ', 'ə']
        >>> found = rule.encode(**text.as_target(["a cat", "the hat"]))
        >>> found.values.tolist()
        [[7, 0, 3, 5, 4, 0], [6, 8, 0, 2, 5, 4]]
        >>> rule.decode_phonemes(found.values, found.mask)
        ['ɐ kæt', 'ðə hæt']
    """

    config_class = PhonemeExtractorConfig

    def __init__(self, config: PhonemeExtractorConfig):
        super().__init__(config)
        self.codes = {phoneme: code for code, phoneme in enumerate(config.phonemes)}

    @classmethod
    def from_texts(
        cls, texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, language: str = "en-us", stress: bool = False
    ) -> "PhonemeExtractor":
        """The rule with the phonemes of `texts`, sorted.

        Args:
            texts: as Y has them; they are read as the tokenizer gives them back, perhaps in lower case.
            tokenizer: that Y is made of tokens by; a fast one.

        Raises:
            TypeError: for a slow tokenizer.
            ValueError: for a language that espeak-ng does not know, and a text with nothing to pronounce.
        """
        described = describe_tokenizer(tokenizer)
        backend = read_tokenizer(described)
        ids = [backend.encode(text, add_special_tokens=False).ids for text in texts]
        said = _said([backend.decode(row) for row in ids], "texts", language, stress)
        settings = {"language": language, "stress": stress, "tokenizer": described}
        return cls(cls.config_class(phonemes=inventory_of(said), **settings))

    def _rows(self, texts: list[str]) -> list[list[int]]:
        return [self._codes(words) for words in _said(texts, "target", self.config.language, self.config.stress)]

    def _codes(self, words: list[list[str]]) -> list[int]:
        return [self.codes.get(each, self.codes[UNKNOWN]) for each in spelled(words)]

    def decode_phonemes(self, codes: torch.Tensor, mask: torch.Tensor | None = None) -> list[str]:
        """Codes `(batch, places)` to be read: the phonemes of each row in IPA, with spaces between words."""
        rows = codes if mask is None else [row[own] for row, own in zip(codes, mask.bool(), strict=True)]
        return ["".join(self.config.phonemes[code] for code in row.tolist()) for row in rows]


def _said(texts: list[str], argument: str, language: str, stress: bool) -> list[list[list[str]]]:
    """The phonemes of each word of each text; espeak-ng is asked once, and once for equal texts."""
    distinct = list(dict.fromkeys(texts))
    said = dict(zip(distinct, phonemes(distinct, language, stress), strict=True))
    for i, text in enumerate(texts):
        if not said[text]:
            raise ValueError(f"`{argument}` must have something to pronounce, got {text!r} in row {i}.")
    return [said[text] for text in texts]
