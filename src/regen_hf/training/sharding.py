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


def is_sharded(accelerator) -> bool:
    """Whether `prepare` shards parameters, which replaces them: what is sharded must be a copy."""
    from accelerate.utils import DistributedType

    return accelerator.distributed_type == DistributedType.FSDP


def copy_weights(sharded: nn.Module, module: nn.Module) -> None:
    """Gives `module` the whole weights of its sharded copy; every process must call it."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    whole = get_model_state_dict(sharded, options=StateDictOptions(full_state_dict=True))
    module.load_state_dict(whole)
