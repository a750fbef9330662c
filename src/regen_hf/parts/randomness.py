"""Random numbers of a batch that do not depend on what is in it."""

from collections.abc import Sequence

import torch

Randomness = torch.Generator | Sequence[torch.Generator] | int
"""What leads chance: a generator, one for each row, or a seed."""


def row_generators(generator: Randomness, rows: int) -> list[torch.Generator]:
    """One for each row, seeded by the caller's, so that no row depends on those beside it.

    Raises:
        ValueError: for a list of another length.
        TypeError: for what is no generator, no list of them, and no seed.
    """
    if isinstance(generator, Sequence) and all(isinstance(own, torch.Generator) for own in generator):
        if len(generator) != rows:
            raise ValueError(f"`generator` must have one for each of {rows} rows, got {len(generator)}.")
        return list(generator)
    generator = as_generator(generator)
    seeds = [int(torch.randint(2**62, (), generator=generator, device=generator.device)) for _ in range(rows)]
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def as_generator(generator: torch.Generator | int) -> torch.Generator:
    """A generator as it is, or a new one with this seed."""
    if isinstance(generator, torch.Generator):
        return generator
    if isinstance(generator, bool) or not isinstance(generator, int):
        raise TypeError(f"`generator` must be a torch.Generator, or a whole number as its seed, got {generator!r}.")
    return torch.Generator().manual_seed(generator)
