"""Text as X and as Y, through any transformers tokenizer."""

import copy
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..parts.foreign_files import check_tokenizer
from ..parts.pretrained import commit_of
from ..parts.settings import shown
from .base import Modality, padded, whole_number, with_ending

MOST_TOKENS = 2**20
"""As many as the longest contexts of language models have."""


def check_texts(examples: Sequence[Any], name: str = "source") -> None:
    """Raises `TypeError` for anything but text, and `ValueError` for text with nothing in it."""
    for i, text in enumerate(examples):
        if not isinstance(text, str):
            raise TypeError(f"{name} {i} must be text, got {type(text).__name__}: {shown(text)}.")
        if not text.strip():
            raise ValueError(f"{name} {i} must be text with at least one word, got {shown(text)}.")
        if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
            raise ValueError(f"{name} {i} has a lone surrogate, which is half a character: {shown(text)}.")


class TextModality(Modality):
    """
    Args:
        tokenizer: any transformers tokenizer; a copy is kept, so that neither changes the other.
        max_length: every text is padded to this many tokens, so that what is generated for a text does not depend on
            the texts beside it. Longer texts are cut, with a warning.
    """

    key = "text"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int):
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise TypeError(f"`tokenizer` must be a transformers tokenizer, got {type(tokenizer).__name__}.")
        self.max_length = whole_number("max_length", max_length, MOST_TOKENS)
        self.tokenizer = copy.deepcopy(tokenizer)
        if isinstance(self.tokenizer, PreTrainedTokenizerFast):  # what it was last asked for, or was saved with
            self.tokenizer.backend_tokenizer.no_truncation()
            self.tokenizer.backend_tokenizer.no_padding()

    @property
    def num_codes(self) -> int:
        """How many ids the tokenizer has, whether all of them are used or not."""
        return max(self.tokenizer.get_vocab().values()) + 1

    @property
    def input_sizes(self) -> dict[str, tuple[int, int]]:
        return {"input_ids": (self.num_codes, self.max_length)}

    @classmethod
    def from_words(cls, texts: Iterable[str], max_length: int | None = None) -> "TextModality":
        """A tokenizer of whole words and punctuation marks, made from the words of `texts`, in lower case.

        Args:
            max_length: the longest of `texts` if not given.

        Example:
            >>> text = TextModality.from_words(["red heart", "blue heart"])
            >>> text.as_source(["blue heart"])["input_ids"].tolist()
            [[2, 3]]
        """
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

        normalizer, splitter = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]), pre_tokenizers
        words_of = [
            [word for word, _ in splitter.Whitespace().pre_tokenize_str(normalizer.normalize_str(text))]
            for text in texts
        ]
        if not any(words_of):
            raise ValueError("`texts` has no words to make a vocabulary from.")
        vocabulary = ["<pad>", "<unk>", *sorted({word for words in words_of for word in words})]
        backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
        backend.normalizer, backend.pre_tokenizer = normalizer, splitter.Whitespace()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")
        return cls(tokenizer, max_length or max(map(len, words_of)))

    @classmethod
    def from_pieces(
        cls, texts: Iterable[str], num_pieces: int | None = None, max_length: int | None = None
    ) -> "TextModality":
        """A tokenizer of subword tokens, made of `texts` in lower case by byte-pair encoding (Sennrich et al., 2016).

        Every character of `texts` is a token, spaces as well, so that the tokens of a text lead back to all of it.

        Args:
            num_pieces: the most pieces, with `<pad>` and `<unk>`; single characters only if not given.
            max_length: the longest of `texts` if not given.

        Example:
            >>> text = TextModality.from_pieces(["the cat's hat"], num_pieces=12)
            >>> text.tokenizer.convert_ids_to_tokens(text.as_target(["The hat"])["target"][0])
            ['t', 'h', 'e', '▁', 'h', 'at']
            >>> text.from_target(text.as_target(["the cat's hat"])["target"])
            [{'text': "the cat's hat"}]
        """
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

        texts = list(texts)
        if not any(text.strip() for text in texts):
            raise ValueError("`texts` has no characters to make a vocabulary from.")
        backend = Tokenizer(models.BPE(unk_token="<unk>"))
        backend.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
        # a space before the first word would be one that the text has not
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
        backend.decoder = decoders.Metaspace(prepend_scheme="never")
        trainer = trainers.BpeTrainer(
            vocab_size=num_pieces or 0, special_tokens=["<pad>", "<unk>"], show_progress=False
        )
        backend.train_from_iterator(texts, trainer)
        if num_pieces is not None and num_pieces < backend.get_vocab_size():
            raise ValueError(
                f"`num_pieces` must be at least {backend.get_vocab_size()}, for each character and `<pad>` and "
                f"`<unk>`, got {num_pieces}."
            )
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")
        return cls(tokenizer, max_length or max(len(backend.encode(text).ids) for text in texts))

    def as_source(self, examples: Sequence[str]) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask`, both `(batch, max_length)`, `torch.long`.

        Raises:
            TypeError: for anything but text.
            ValueError: for text with nothing in it, or if the tokenizer has no padding token.
        """
        check_texts(examples)
        if self.tokenizer.pad_token_id is None:
            raise ValueError("`tokenizer` has no padding token: set its `pad_token`.")
        rows, whole = self._tokens(examples, special=True)
        ids = torch.full((len(rows), self.max_length), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            start = 0 if self.tokenizer.padding_side == "right" else self.max_length - len(row)
            own = slice(start, start + len(row))
            ids[i, own], mask[i, own] = torch.tensor(row, dtype=torch.long), 1
        self._warn_of_losses(examples, whole, ids, mask.bool())
        return {"input_ids": ids, "attention_mask": mask}

    def as_target(self, examples: Sequence[str]) -> dict[str, torch.Tensor]:
        """`target`, `(batch, length)`, `torch.long`, without the tokenizer's own beginning and end, and `target_mask`,
        `(batch, length)`, bool.

        Raises:
            TypeError: for anything but text.
            ValueError: for text with nothing in it.
        """
        check_texts(examples, "target")
        rows, whole = self._tokens(examples, special=False)
        ids, mask = padded([torch.tensor(row, dtype=torch.long) for row in rows])
        self._warn_of_losses(examples, whole, ids, mask)
        return {"target": ids, "target_mask": mask}

    def from_target(self, values: torch.Tensor, mask: torch.Tensor | None = None) -> list[dict[str, Any]]:
        """`{"text": str}` each."""
        rows = values if mask is None else [row[own] for row, own in zip(values, mask.bool(), strict=True)]
        return [{"text": self.tokenizer.decode(row, skip_special_tokens=True)} for row in rows]

    def join(self, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The texts, joined by spaces."""
        return {"text": " ".join(filter(None, (each["text"] for each in results)))}

    def save_samples(self, samples: Sequence[dict[str, Any]], captions: Sequence[str], path: Path) -> Path:
        """A line for each sample, its caption before it, as `path` + `.txt`."""
        path = with_ending(path, ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (f"{caption}\t{sample['text']}\n" for sample, caption in zip(samples, captions, strict=True))
        path.write_text("".join(lines), encoding="utf-8")
        return path

    def _tokens(self, examples: Sequence[str], special: bool) -> tuple[list[list[int]], list[int]]:
        """The tokens of each text, at most `max_length`, and how many there are without that limit.

        The tokenizer does not cut or pad: it would remember how, and several threads change that for each other.
        """
        found = self.tokenizer(
            list(examples), add_special_tokens=special, return_special_tokens_mask=special, verbose=False
        )
        rows = found["input_ids"]
        masks = found["special_tokens_mask"] if special else [[0]] * len(rows)
        return [self._cut(*each) for each in zip(rows, masks, strict=True)], [len(row) for row in rows]

    def _cut(self, row: list[int], is_special: list[int]) -> list[int]:
        """Without what is too much between the tokenizer's own beginning and end."""
        if (surplus := len(row) - self.max_length) <= 0:
            return row
        begin = is_special.index(0) if 0 in is_special else 0
        end = len(row) - (is_special[::-1].index(0) if 0 in is_special else 0)
        if self.tokenizer.truncation_side == "right":
            return (row[: max(end - surplus, begin)] + row[end:])[: self.max_length]
        return (row[:begin] + row[min(begin + surplus, end) :])[: self.max_length]

    def _warn_of_losses(self, examples: Sequence[str], whole: list[int], ids: torch.Tensor, mask: torch.Tensor) -> None:
        no_words = (torch.isin(ids, torch.tensor(self.tokenizer.all_special_ids)) | ~mask).all(1).tolist()
        for i, text in enumerate(examples):
            if whole[i] > self.max_length:
                kept = self.tokenizer.decode(ids[i], skip_special_tokens=True)
                warnings.warn(
                    f"text cut after {self.max_length} tokens: {shown(text)} is read as {shown(kept)}.", stacklevel=4
                )
            if no_words[i]:
                warnings.warn(f"no word of {shown(text)} is known to the tokenizer.", stacklevel=4)

    def to_dict(self) -> dict[str, Any]:
        return {"max_length": self.max_length}

    def save(self, folder: str) -> None:
        self.tokenizer.save_pretrained(folder)

    @classmethod
    def load(cls, name_or_path: str, settings: dict[str, Any], subfolder: str = "", **kwargs) -> "TextModality":
        if not os.path.isdir(name_or_path):  # what is looked at and what is loaded are of one commit
            kwargs["revision"] = commit_of(name_or_path, kwargs)
        check_tokenizer(name_or_path, subfolder=subfolder, **kwargs)
        found = AutoTokenizer.from_pretrained(name_or_path, subfolder=subfolder, trust_remote_code=False, **kwargs)
        return cls._made(settings, tokenizer=found)
