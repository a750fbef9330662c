"""Y′ by rule on token ids: what several of these systems call a template, a skeleton, a plan or phonemes."""

import torch
from transformers import AutoConfig, AutoModel

from regen_hf import ExtractorConfig, Representation, RepresentationSpec, RuleExtractor


class TokenRuleExtractorConfig(ExtractorConfig):
    """
    Args:
        num_codes: the number of different tokens.
        length: of every sequence, or `None` where it varies.
        keep_from: tokens with smaller ids are left out; those of byte-pair vocabularies are the most frequent.
        every: of what is kept, each how many-th.
        table: what each token becomes; itself if `None`.
    """

    model_type = "example_token_rule"

    num_codes: int = 128
    length: int | None = None
    keep_from: int = 0
    every: int = 1
    table: list[int] | None = None

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec((self.length,), self.num_codes)

    @property
    def representation_spec(self) -> RepresentationSpec:
        length = None if self.length is None or self.keep_from else -(-self.length // self.every)
        return RepresentationSpec((length,), self.num_codes if self.table is None else max(self.table) + 1)


class TokenRuleExtractor(RuleExtractor):
    """Leaves tokens out and puts others in the place of those that stay; the first stays if no other would."""

    config_class = TokenRuleExtractorConfig

    def encode(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> Representation:
        """Token ids `(batch, length)` to fewer of them."""
        kept = target >= self.config.keep_from
        if target_mask is not None:
            kept &= target_mask
        kept[:, 0] |= ~kept.any(1)
        kept &= (kept.cumsum(1) - 1) % self.config.every == 0
        order = kept.int().argsort(dim=1, descending=True, stable=True)[:, : int(kept.sum(1).max())]
        values = target if self.config.table is None else target.new_tensor(self.config.table)[target]
        values, mask = values.gather(1, order), kept.gather(1, order)
        return Representation(values * mask, None if self.config.representation_spec.shape[0] else mask)


AutoConfig.register(TokenRuleExtractorConfig.model_type, TokenRuleExtractorConfig, exist_ok=True)
AutoModel.register(TokenRuleExtractorConfig, TokenRuleExtractor, exist_ok=True)
