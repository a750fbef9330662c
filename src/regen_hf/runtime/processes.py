"""The processes that run together, as accelerate knows them."""

import os
from datetime import timedelta

WAIT = timedelta(hours=4)  # for the main process, which samples and saves alone


def processes():
    """accelerate's `PartialState`, made as `Accelerator` makes it: alone it overlooks `ACCELERATE_USE_CPU`.

    Raises:
        OSError: if several processes were started of which each believes that it is alone.
    """
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=WAIT)
    started = int(os.environ.get("WORLD_SIZE", 1))
    if started > 1 and state.num_processes == 1:
        raise OSError(
            f"{started} processes were started, but each runs alone and would write over the others: for several "
            "processes on CPU set ACCELERATE_USE_CPU=1."
        )
    return state
