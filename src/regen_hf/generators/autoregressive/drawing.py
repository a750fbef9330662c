"""How tokens are drawn: by generators of the rows, and never from what is no probability."""

from collections.abc import Sequence

import torch
from torch.overrides import TorchFunctionMode
from transformers import LogitsProcessor

from ...parts.generation import check_finite, row_generators


class Drawing(TorchFunctionMode):
    """Within it, what transformers draws of probabilities `(rows, tokens)` is led by the generators of the targets.

    Nothing global is drawn from or written to, since such modes are of one thread alone; and no row depends on those
    beside it.

    Args:
        generators: one for each target; its rows follow each other.
    """

    def __init__(self, generators: Sequence[torch.Generator]):
        super().__init__()
        # each is drawn from once, however long its target becomes, for what is made of it later
        self.generators = [row_generators(own, 1)[0] for own in generators]

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is not torch.multinomial:
            return function(*args, **(kwargs or {}))
        return self._drawn(*args, **kwargs)

    def _drawn(self, input: torch.Tensor, num_samples: int) -> torch.Tensor:
        rows, targets = len(input), len(self.generators)
        owners = [self.generators[row * targets // rows] for row in range(rows)]
        if num_samples == 1:  # where a random number falls in the sums: a fraction of the time, of many tokens
            uniform = torch.cat([torch.rand(1, dtype=torch.float64, generator=own) for own in owners])
            sums = input.double().cumsum(-1)
            wanted = (uniform.to(input.device) * sums[:, -1])[:, None]
            return torch.searchsorted(sums, wanted, right=True).clamp(max=input.shape[-1] - 1)
        drawn = [
            torch.multinomial(row, num_samples, generator=own) for row, own in zip(input.cpu(), owners, strict=True)
        ]
        return torch.stack(drawn).to(input.device)


class AllFinite(LogitsProcessor):
    """Raises `ValueError` for NaN, which would be written as some code or other; minus infinity says what cannot come.

    Args:
        name: of the generator.
    """

    def __init__(self, name: str):
        self.name = name

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        check_finite(scores.amax(), f"{self.name} made logits with")
        return scores
