"""Statistics of what parts make and read: measured for those that have none, and kept by those that were trained."""

import itertools
import warnings
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from ..generators.sources.statistics import ChannelStatistics
from ..parts.contracts import PreTrainedGenerator
from ..parts.outputs import Repeatable, Representation

GROSS, STALE = 10.0, 1.25
"""How many times statistics may be those of the data before it is said, and before those of an extractor that has
learned since are measured instead."""
FEW = 4  # batches that are looked at where nothing is to be measured


class StatisticsFitting:
    """Gives generators the statistics that they lack. Weights were trained with those that are there.

    Args:
        again: measure all of them, once for each part.
        fixed: measure none, since adapters are saved without them.
        stale: what the config of an extractor said of its Y′ before it was trained in this run.
    """

    def __init__(
        self, again: bool = False, fixed: bool = False, stale: tuple[Sequence[float], Sequence[float]] | None = None
    ):
        self.again, self.fixed, self.stale = again, fixed, stale
        self.measured: set[ChannelStatistics] = set()

    def fit(
        self,
        part: PreTrainedGenerator,
        targets: Iterable[torch.Tensor | Representation],
        sources: Iterable[torch.Tensor | Representation] | None = None,
    ) -> None:
        """Measures what `part` does not know; warns where the data is grossly unlike what is kept.

        Args:
            targets, sources: as [`PreTrainedGenerator.fit_statistics`] takes them.
        """
        found = [module for module in part.modules() if isinstance(module, ChannelStatistics)]
        if self.fixed and not found:
            return
        kept = {each: (each.mean.clone(), each.std.clone()) for each in found if self._keeps(each)}
        stale = {each for each in kept if self._is_stale(each)}
        if found and len(kept) == len(found) and not stale:
            targets, sources = _first(targets), _first(sources)
        try:
            part.fit_statistics(targets, sources)
            for each, (mean, std) in list(kept.items()):
                if each in stale and _differ(each, mean, std, STALE) is not None:
                    del kept[each]
                elif (channel := _differ(each, mean, std, GROSS)) is not None:
                    _warn(part, each, mean, std, channel)
        finally:
            for each, (mean, std) in kept.items():
                each.mean.copy_(mean)
                each.std.copy_(std)
        self.measured |= set(found) - kept.keys()

    def loaded(self, part: nn.Module) -> None:
        """Takes the statistics of a part whose stage was finished before for those that it has measured."""
        if self.again:
            self.measured |= {module for module in part.modules() if isinstance(module, ChannelStatistics)}

    def _keeps(self, statistics: ChannelStatistics) -> bool:
        return self.fixed or (statistics.known and (not self.again or statistics in self.measured))

    def _is_stale(self, statistics: ChannelStatistics) -> bool:
        if self.stale is None or self.fixed or statistics in self.measured:
            return False
        known = (torch.as_tensor(each).to(statistics.mean).expand(len(statistics.mean)) for each in self.stale)
        return all(map(torch.equal, (statistics.mean, statistics.std), known))


def has_statistics(part: nn.Module) -> bool:
    """Whether there is something to measure for a part."""
    return any(isinstance(module, ChannelStatistics) for module in part.modules())


def _first(batches: Iterable | None) -> Iterable | None:
    return None if batches is None else Repeatable(lambda: itertools.islice(batches, FEW))


def _differ(found: ChannelStatistics, mean: torch.Tensor, std: torch.Tensor, times: float) -> int | None:
    """The first channel whose deviation is so many times another, or whose mean is as far away beside it."""
    far = (found.mean - mean).abs() > (times - 1) * torch.maximum(found.std, std)
    ratio = found.std / std
    channels = (far | (ratio > times) | (ratio < 1 / times)).nonzero()
    return int(channels[0]) if len(channels) else None


def _warn(part, found: ChannelStatistics, mean: torch.Tensor, std: torch.Tensor, channel: int) -> None:
    warnings.warn(
        f"{type(part).__name__} keeps its statistics (channel {channel}: mean {mean[channel]:.3g}, deviation "
        f"{std[channel]:.3g}), though this data is unlike them (mean {found.mean[channel]:.3g}, deviation "
        f"{found.std[channel]:.3g}): to measure them again, set `measure_statistics`.",
        stacklevel=2,
    )
