"""Training a module whose parameters are sharded over processes (FSDP)."""

import copy

from torch import nn


def sharding_copy(module: nn.Module) -> nn.Module:
    """A copy that may be sharded, with the names of the blocks to shard that accelerate looks for."""
    copied = copy.deepcopy(module)
    there = {type(each).__name__ for each in copied.modules()}
    # accelerate stops at a name that its list has and the module has not
    copied._no_split_modules = [name for name in getattr(module, "_no_split_modules", None) or () if name in there]
    return copied
