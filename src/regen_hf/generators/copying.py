"""Writing again what was read."""

import math

import torch
from torch import nn
from transformers import initialization as init

from .conditioning import Condition

SURE = 2.0  # at first a token that is pointed at has so many logits more than all others together


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

    def forward(self, states: torch.Tensor, written: torch.Tensor, condition: Condition) -> torch.Tensor:
        """
        Args:
            states: `(batch, length, width)`.
            written: of the same shape, the embedding of the token that each state has read last.
            condition: embeddings of the source.
        """
        scale = states.shape[-1] ** 0.5  # how large embeddings are does not matter
        source = scale * nn.functional.normalize(condition.hidden.to(states.dtype), dim=-1) * condition.mask[..., None]
        written = scale * nn.functional.normalize(written.to(states.dtype), dim=-1)
        keys = self.key(source.transpose(1, 2)).transpose(1, 2)
        values = condition.hidden / condition.hidden.square().sum(-1, keepdim=True).clamp(min=1e-6)
        there = (condition.mask != 0)[:, None].expand(-1, states.shape[1], -1)
        queries = self.query(states) + nn.functional.linear(written, self.written)
        found = nn.functional.scaled_dot_product_attention(queries, keys, values.to(states.dtype), attn_mask=there)
        return states + (self.strength(states) + self.at_first) * found
