"""What rules that read the text of Y share: from tokens to text, and from text to codes, of a length of their own."""

import functools

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ...parts.contracts import ExtractorConfig, RuleExtractor
from ...parts.outputs import Representation, RepresentationSpec


@functools.lru_cache(maxsize=4)
def read_tokenizer(described: str) -> Tokenizer:
    """The tokenizer that the JSON describes, without its settings of truncation and padding."""
    backend = Tokenizer.from_str(described)
    backend.no_truncation()
    backend.no_padding()
    return backend


def describe_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    """The JSON of a fast tokenizer, without its settings of truncation and padding.

    Raises:
        TypeError: for a slow tokenizer.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise TypeError(f"`tokenizer` must be a fast transformers tokenizer, got {type(tokenizer).__name__}.")
    return read_tokenizer(tokenizer.backend_tokenizer.to_str()).to_str()


class TextRuleExtractorConfig(ExtractorConfig):
    """
    Args:
        tokenizer: of Y, as the JSON of a `tokenizers.Tokenizer`, so that a checkpoint is whole.
    """

    tokenizer: str | None = None

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec((None,), read_tokenizer(self.tokenizer).get_vocab_size())


class TextRuleExtractor(RuleExtractor):
    """A rule that makes codes of the text that the tokens of Y stand for.

    A subclass says in `_rows` which codes.
    """

    config: TextRuleExtractorConfig

    def __init__(self, config: TextRuleExtractorConfig):
        super().__init__(config)
        if config.tokenizer is None:
            raise ValueError(f"`tokenizer` must be the JSON of a tokenizer, got None: use {self._maker}.")

    @property
    def _maker(self) -> str:
        """What makes such a rule, for messages."""
        return f"{type(self).__name__}.from_texts"

    def _rows(self, texts: list[str]) -> list[list[int]]:
        raise NotImplementedError

    def encode(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> Representation:
        """Token ids `(batch, length)` to codes `(batch, places)`, both `torch.long`, with a mask of its own length.

        Raises:
            ValueError: for anything but token ids, and for a row that the rule makes nothing of.
        """
        vocabulary = self.config.target_spec.num_codes
        if target.dim() != 2:
            raise ValueError(f"`target` must be text (batch, length), got {tuple(target.shape)}.")
        if target.is_floating_point() or ((target < 0) | (target >= vocabulary)).any():
            raise ValueError(f"`target` must be token ids from 0 to {vocabulary - 1}.")
        rows = (
            target if target_mask is None else [row[own] for row, own in zip(target, target_mask.bool(), strict=True)]
        )
        texts = read_tokenizer(self.config.tokenizer).decode_batch([row.tolist() for row in rows])
        codes = [torch.tensor(row, device=target.device) for row in self._rows(texts)]
        lengths = torch.tensor([len(row) for row in codes], device=target.device)
        values = torch.nn.utils.rnn.pad_sequence(codes, batch_first=True)
        return Representation(values, torch.arange(values.shape[1], device=target.device) < lengths[:, None])
