"""The processes that run together, as accelerate knows them."""

import os


def processes():
    """accelerate's `PartialState`, made as `Accelerator` makes it: alone it overlooks `ACCELERATE_USE_CPU`.

    Raises:
        RuntimeError: if several processes were started of which each believes that it is alone.
    """
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    started = int(os.environ.get("WORLD_SIZE", 1))
    if started > 1 and state.num_processes == 1:
        raise RuntimeError(
            f"{started} processes were started, but each runs alone and would write over the others: for several "
            "processes on CPU set ACCELERATE_USE_CPU=1."
        )
    return state
