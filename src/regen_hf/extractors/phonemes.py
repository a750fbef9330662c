"""Y′ by rule: the phonemes of a text."""

import functools
from collections.abc import Iterable

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..contracts import ExtractorConfig, RuleExtractor
from ..espeak import SPACE, UNKNOWN, check_inventory, inventory_of, phonemes, spelled
from ..outputs import Representation, RepresentationSpec


@functools.lru_cache(maxsize=4)
def _tokenizer(described: str) -> Tokenizer:
    return Tokenizer.from_str(described)


class PhonemeExtractorConfig(ExtractorConfig):
    """
    Args:
        language: as [`phonemes`] takes it.
        stress: whether a phoneme with a stress mark is another one.
        phonemes: what each code stands for: first `" "`, between words, then `"<unk>"`, for a phoneme that is not
            listed, then phonemes in IPA.
        tokenizer: of Y, as the JSON of a `tokenizers.Tokenizer`, so that a checkpoint is whole.
    """

    model_type = "regen_phonemes"

    language: str = "en-us"
    stress: bool = False
    phonemes: list[str] | tuple[str, ...] = (SPACE, UNKNOWN)
    tokenizer: str | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        check_inventory(self.phonemes)

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec((None,), _tokenizer(self.tokenizer).get_vocab_size())

    @property
    def representation_spec(self) -> RepresentationSpec:
        return RepresentationSpec((None,), len(self.phonemes))


class PhonemeExtractor(RuleExtractor):
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
        if config.tokenizer is None:
            raise ValueError("`tokenizer` must be the JSON of a tokenizer, got None: use PhonemeExtractor.from_texts.")
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
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise TypeError(f"`tokenizer` must be a fast transformers tokenizer, got {type(tokenizer).__name__}.")
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        backend.no_truncation()
        backend.no_padding()
        ids = [backend.encode(text, add_special_tokens=False).ids for text in texts]
        said = _said([backend.decode(row) for row in ids], "texts", language, stress)
        settings = {"language": language, "stress": stress, "tokenizer": backend.to_str()}
        return cls(PhonemeExtractorConfig(phonemes=inventory_of(said), **settings))

    def encode(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> Representation:
        """Token ids `(batch, length)` to codes `(batch, places)`, both `torch.long`, with a mask of its own length.

        Raises:
            ValueError: for anything but token ids, and for a row with nothing to pronounce.
        """
        vocabulary = self.config.target_spec.num_codes
        if target.dim() != 2:
            raise ValueError(f"`target` must be text (batch, length), got {tuple(target.shape)}.")
        if target.is_floating_point() or ((target < 0) | (target >= vocabulary)).any():
            raise ValueError(f"`target` must be token ids from 0 to {vocabulary - 1}.")
        rows = (
            target if target_mask is None else [row[own] for row, own in zip(target, target_mask.bool(), strict=True)]
        )
        texts = [_tokenizer(self.config.tokenizer).decode(row.tolist()) for row in rows]
        said = _said(texts, "target", self.config.language, self.config.stress)
        codes = [torch.tensor(self._codes(words), device=target.device) for words in said]
        lengths = torch.tensor([len(row) for row in codes], device=target.device)
        values = torch.nn.utils.rnn.pad_sequence(codes, batch_first=True)
        return Representation(values, torch.arange(values.shape[1], device=target.device) < lengths[:, None])

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
