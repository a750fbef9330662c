"""Random numbers of a batch that do not depend on what is in it."""

import torch


def row_generators(generator: torch.Generator, rows: int) -> list[torch.Generator]:
    """One for each row, seeded by the caller's, so that no row depends on those beside it."""
    seeds = [int(torch.randint(2**62, (), generator=generator, device=generator.device)) for _ in range(rows)]
    return [torch.Generator().manual_seed(seed) for seed in seeds]
