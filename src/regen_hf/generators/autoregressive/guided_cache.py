"""What a language model keeps of what it wrote, where `generate` knows of half the rows only: those that are guided."""

import torch
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel

from ..sources.condition import Condition


class PairedCache(EncoderDecoderCache):
    """A cache with two rows for each sequence that `generate` knows of."""

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        super().reorder_cache(torch.stack([2 * beam_idx, 2 * beam_idx + 1], dim=1).flatten())


def cache_of(language_model: PreTrainedModel, attends: bool, guidance: float) -> EncoderDecoderCache:
    """What transformers would make, too, but with nothing for attention to a source where there is none: it would be
    like the cache of the language model, and of one with convolutions that cannot be.

    Args:
        attends: whether the language model attends to a source.
    """
    own = DynamicCache() if attends else DynamicCache(config=language_model.config)
    return (EncoderDecoderCache if guidance == 1 else PairedCache)(own, DynamicCache())


def paired(towards: Condition, away: Condition) -> Condition:
    """Row `i` of the two as the rows `2i` and `2i + 1`."""

    def both(name: str) -> torch.Tensor:
        return torch.stack([getattr(towards, name), getattr(away, name)], dim=1).flatten(0, 1)

    return Condition(both("hidden"), both("mask"), both("pooled"))
