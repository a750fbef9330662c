"""How tokens are drawn: by generators of the rows, and never from what is no probability."""

from collections.abc import Sequence

import torch
from torch.overrides import TorchFunctionMode
from transformers import LogitsProcessor

from ...parts.generation import check_finite, row_generators


class Drawing(LogitsProcessor):
    """Leaves of the tokens that other processors left one for each row, drawn by the generator of its target, so that
    nothing global is drawn from and no row depends on those beside it.

    Args:
        generators: one for each target; its rows follow each other.
    """

    def __init__(self, generators: Sequence[torch.Generator]):
        # each is drawn from once, however long its target becomes, for what is made of it later
        self.generators = [row_generators(own, 1)[0] for own in generators]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        drawn = self.drawn(scores.softmax(-1))
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn, 0.0)

    def drawn(self, chances: torch.Tensor) -> torch.Tensor:
        """`(rows, 1)`: of each row `(tokens,)` the one in whose part of the sums a random number falls."""
        owners = owners_of(self.generators, len(chances))
        uniform = torch.cat([torch.rand(1, dtype=torch.float64, generator=own) for own in owners])
        sums = chances.double().cumsum(-1)
        wanted = (uniform.to(chances.device) * sums[:, -1])[:, None]
        return torch.searchsorted(sums, wanted, right=True).clamp(max=chances.shape[-1] - 1)


class DrawingBeams(TorchFunctionMode):
    """Within it, what transformers draws of the continuations of all beams is drawn by the targets' generators; such
    modes are of one thread alone.

    Args:
        generators: one for each target.
    """

    def __init__(self, generators: Sequence[torch.Generator]):
        super().__init__()
        self.generators = [row_generators(own, 1)[0] for own in generators]

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is not torch.multinomial:
            return function(*args, **(kwargs or {}))
        return self._drawn(*args, **kwargs)

    def _drawn(self, input: torch.Tensor, num_samples: int) -> torch.Tensor:
        pairs = zip(input.cpu(), owners_of(self.generators, len(input)), strict=True)
        return torch.stack([torch.multinomial(row, num_samples, generator=own) for row, own in pairs]).to(input.device)


def owners_of(generators: Sequence[torch.Generator], rows: int) -> list[torch.Generator]:
    """The generator of each row, of several rows of each target or several targets of each row."""
    return [generators[row * len(generators) // rows] for row in range(rows)]


class AllFinite(LogitsProcessor):
    """Raises `ValueError` for NaN, which would be written as some code or other, and where nothing may come any more.

    Args:
        name: of the generator.
    """

    def __init__(self, name: str):
        self.name = name

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        best = scores.amax(-1)
        if (best == -torch.inf).any():
            raise ValueError(f"{self.name} has no code left that may come next: lower `no_repeat_ngram_size`.")
        check_finite(best, f"{self.name} made logits with")
        return scores
