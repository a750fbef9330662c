"""Writing again what was read."""

import math

import torch
from torch import nn
from transformers import initialization as init

from ..sources.condition import Condition

SURE = 2.0  # at first a token that is pointed at has so many logits more than all others together
EPS = 1e-4  # a row of zeros has no direction, and must not get a large gradient


class CopyAttention(nn.Module):
    """Points at a place of the source and adds what stands there to the state, so that a head which is the embeddings
    writes that token again (pointer networks, Vinyals et al., 2015; mixed with words of its own as See et al., 2017,
    do it, but in the logits).

    It begins as what Olsson et al. (2022) call an induction head, which models of this size take long to find: it
    points at what follows, in the source, the token that was written last.

    Args:
        width: of states and embeddings.
        num_codes: how many tokens may be written.
    """

    def __init__(self, width: int, num_codes: int):
        super().__init__()
        self.query = nn.Linear(width, width)
        self.written = nn.Parameter(torch.empty(width, width))
        self.key = nn.Conv1d(width, width, 3, padding=1)  # a place is known by its token and those beside it
        self.strength = nn.Linear(width, 1)
        self.at_first = math.log(num_codes) + SURE

    @torch.no_grad()
    def init_weights(self) -> None:
        for module in (self.query, self.strength):
            init.normal_(module.weight, std=0.1 * module.in_features**-0.5)
        for module in (self.query, self.key, self.strength):
            init.zeros_(module.bias)
        init.orthogonal_(self.written)
        key = torch.zeros_like(self.key.weight)
        key[:, :, 0] = self.written
        init.copy_(self.key.weight, key)

    def forward(
        self, states: torch.Tensor, written: torch.Tensor, condition: Condition, size: torch.Tensor
    ) -> torch.Tensor:
        """
        Args:
            states: `(batch, length, width)`.
            written: of the same shape, the embedding of the token that each state has read last.
            condition: embeddings of the source.
            size: the product of such an embedding with its own row of the head, on average.
        """
        if not condition.hidden.shape[1]:
            return states
        hidden = condition.hidden.to(states.dtype)
        source = _directions(hidden) * condition.mask[..., None]
        keys = self.key(source.transpose(1, 2)).transpose(1, 2)
        queries = self.query(states) + nn.functional.linear(_directions(written.to(states.dtype)), self.written)
        there = (condition.mask != 0)[:, None].expand(-1, states.shape[1], -1)
        found = nn.functional.scaled_dot_product_attention(queries, keys, hidden / size, attn_mask=there)
        return states + (self.strength(states) + self.at_first) * found


def _directions(embeddings: torch.Tensor) -> torch.Tensor:
    """As long as a state is, however large embeddings are."""
    return embeddings.shape[-1] ** 0.5 * nn.functional.normalize(embeddings, dim=-1, eps=EPS)
