"""Y′ by rule: what a text is about, word by word."""

import re
from collections.abc import Iterable

import torch
from transformers import PreTrainedTokenizerBase

from ...parts.outputs import RepresentationSpec
from .text_rule import TextRuleExtractor, TextRuleExtractorConfig, describe_tokenizer, read_tokenizer

WORD = re.compile(r"\w+(?:['’]\w+)*")


class KeywordExtractorConfig(TextRuleExtractorConfig):
    """
    Args:
        stop_words: words in lower case that are left out.
    """

    model_type = "regen_keywords"

    stop_words: list[str] | tuple[str, ...] = ()

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if upper := next((word for word in self.stop_words if word != word.lower()), None):
            raise ValueError(f"`stop_words` must be in lower case, got {upper!r}.")

    @property
    def representation_spec(self) -> RepresentationSpec:
        return self.target_spec


class KeywordExtractor(TextRuleExtractor):
    """The plan of a text: its words in their order without the stop words and without punctuation, as tokens of Y.

    A text that has nothing else is kept whole. In the manner of plan-and-write (Yao et al., 2019), where a storyline of
    keywords is generated first, and the story from it.

    Example:
        >>> from regen_hf import TextModality
        >>> text = TextModality.from_pieces(["return the size of the file", "it is"])
        >>> rule = KeywordExtractor.from_tokenizer(text.tokenizer, ["the", "of", "it", "is"])
        >>> found = rule.encode(**text.as_target(["return the size of the file", "it is"]))
        >>> rule.decode_keywords(found.values, found.mask)
        ['return size file', 'it is']
    """

    config_class = KeywordExtractorConfig
    config: KeywordExtractorConfig

    def __init__(self, config: KeywordExtractorConfig):
        super().__init__(config)
        self._stop_words = frozenset(config.stop_words)

    @property
    def _maker(self) -> str:
        return "KeywordExtractor.from_tokenizer"

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerBase, stop_words: Iterable[str]) -> "KeywordExtractor":
        """
        Args:
            tokenizer: that Y is made of tokens by; a fast one.
            stop_words: words that are left out, in lower case, such as scikit-learn's `ENGLISH_STOP_WORDS`.

        Raises:
            TypeError: for a slow tokenizer, or a text in the place of words.
        """
        if isinstance(stop_words, str):
            raise TypeError(f"`stop_words` must be words, got the text {stop_words!r}.")
        settings = {"tokenizer": describe_tokenizer(tokenizer), "stop_words": sorted(stop_words)}
        return cls(cls.config_class(**settings))

    def _rows(self, texts: list[str]) -> list[list[int]]:
        plans = []
        for i, text in enumerate(texts):
            words = WORD.findall(text) or text.split()
            if not words:
                raise ValueError(f"`target` must have a word, got {text!r} in row {i}.")
            kept = [word for word in words if word.lower() not in self._stop_words] or words
            plans.append(" ".join(kept))
        found = read_tokenizer(self.config.tokenizer).encode_batch(plans, add_special_tokens=False)
        return [each.ids for each in found]

    def decode_keywords(self, codes: torch.Tensor, mask: torch.Tensor | None = None) -> list[str]:
        """Codes `(batch, places)` to be read: the keywords of each row, with spaces between them."""
        rows = codes if mask is None else [row[own] for row, own in zip(codes, mask.bool(), strict=True)]
        return [read_tokenizer(self.config.tokenizer).decode(row.tolist()) for row in rows]
