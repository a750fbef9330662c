"""Text as X, read as espeak-ng says that it sounds."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from ..parts.settings import shown
from ..speech.espeak import UNKNOWN, check_inventory, inventory_of, phonemes, spelled
from .base import Modality, truth, whole_number
from .text import MOST_TOKENS, check_texts


class PhonemeModality(Modality):
    """Text by its phonemes, for what is to be spoken.

    Args:
        phonemes: what each code stands for: first `" "`, between words, then `"<unk>"`, for a phoneme that is not
            listed, then phonemes in IPA.
        max_length: every text is padded to this many phonemes; longer ones are refused.
        language: as [`phonemes`] takes it.
        stress: whether a phoneme with a stress mark is another one.
    """

    key = "text"

    def __init__(self, phonemes: Sequence[str], max_length: int, language: str = "en-us", stress: bool = False):
        if not isinstance(phonemes, list | tuple) or not all(isinstance(each, str) for each in phonemes):
            raise ValueError(f"`phonemes` must be a list of texts, got {shown(phonemes)}.")
        check_inventory(phonemes)
        if not isinstance(language, str):
            raise ValueError(f"`language` must be a text, got {shown(language)}.")
        self.phonemes, self.language, self.stress = list(phonemes), language, truth("stress", stress)
        self.max_length = whole_number("max_length", max_length, MOST_TOKENS)
        self._codes = {phoneme: code for code, phoneme in enumerate(self.phonemes)}

    @property
    def input_sizes(self) -> dict[str, tuple[int, int]]:
        return {"input_ids": (len(self.phonemes), self.max_length)}

    @classmethod
    def from_texts(
        cls, texts: Iterable[str], max_length: int | None = None, language: str = "en-us", stress: bool = False
    ) -> "PhonemeModality":
        """With the phonemes of `texts`; `max_length` is that of the longest if not given.

        Example:
            >>> text = PhonemeModality.from_texts(["the cat sat"])
            >>> text.phonemes
            [' ', '<unk>', 'k', 's', 't', 'æ', 'ð', 'ə']
            >>> text.as_source(["the cat"])["input_ids"].tolist()
            [[6, 7, 0, 2, 5, 4, 0, 0, 0, 0]]
        """
        spoken = phonemes(list(texts), language, stress)
        if not any(spoken):
            raise ValueError("`texts` has nothing that can be pronounced.")
        longest = max(len(spelled(words)) for words in spoken)
        return cls(inventory_of(spoken), max_length or longest, language, stress)

    def as_source(self, examples: Sequence[str]) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask`, both `(batch, max_length)`, `torch.long`.

        Raises:
            TypeError: for anything but text.
            ValueError: for text that cannot be pronounced, or is too long.
        """
        check_texts(examples)
        ids = torch.zeros(len(examples), self.max_length, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, words in enumerate(phonemes(list(examples), self.language, self.stress)):
            if not words:
                raise ValueError(f"source {i} must be text that can be pronounced, got {shown(examples[i])}.")
            if len(said := spelled(words)) > self.max_length:
                raise ValueError(
                    f"source {i} has {len(said)} phonemes, more than the {self.max_length} of `max_length`: "
                    f"divide {shown(examples[i])}."
                )
            if unknown := sorted(set(said) - self._codes.keys()):
                warnings.warn(f"{unknown[0]!r} in {shown(examples[i])} is a phoneme that is not known.", stacklevel=3)
            ids[i, : len(said)] = torch.tensor([self._codes.get(each, self._codes[UNKNOWN]) for each in said])
            mask[i, : len(said)] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def to_dict(self) -> dict[str, Any]:
        settings = {"max_length": self.max_length, "language": self.language, "stress": self.stress}
        return {"phonemes": self.phonemes, **settings}
