"""The schedulers of diffusers that a generator can follow: described, built again, and the noise they start from."""

import inspect
from typing import Any

import torch

from ...parts.diffusers_module import diffusers_class
from .noising import PREDICTIONS


def describe_scheduler(scheduler: Any) -> dict[str, Any]:
    """A diffusers scheduler, or the name of its class for one with default settings, as its config and `_class_name`.

    What diffusers keeps for itself is left out: it is in another order in every process.
    """
    if isinstance(scheduler, str):
        scheduler = diffusers_class(scheduler, "SchedulerMixin")()
    public = {name: value for name, value in scheduler.config.items() if not name.startswith("_")}
    return {**public, "_class_name": type(scheduler).__name__}


def build_scheduler(described: dict[str, Any], prediction: str):
    """A new scheduler that [`describe_scheduler`] described, for values of unit variance.

    Args:
        prediction: what the backbone's output means, one of `PREDICTIONS`.

    Raises:
        ValueError: if it is of neither kind that is known, or shifts noise levels as only its own pipeline can.
    """
    settings = dict(described)
    scheduler_class = diffusers_class(name := settings.pop("_class_name", ""), "SchedulerMixin")
    settings["prediction_type"] = PREDICTIONS[prediction]
    settings["clip_sample"] = False  # diffusers clips to [-1, 1] by default, which fits pixels only
    known = inspect.signature(scheduler_class.__init__).parameters
    scheduler = scheduler_class.from_config({k: v for k, v in settings.items() if k in known})
    if scheduler.config.get("use_flow_sigmas") or scheduler.config.get("use_dynamic_shifting"):
        raise ValueError(f"`scheduler` {name} must have use_flow_sigmas and use_dynamic_shifting off.")
    if hasattr(scheduler, "noise_sampler_seed"):
        raise ValueError(f"`scheduler` {name} draws from torch's global random numbers, which no `generator` leads.")
    if not hasattr(scheduler, "scale_noise") and not hasattr(scheduler, "alphas_cumprod"):
        raise ValueError(f"`scheduler` {name} is of neither kind that is known: flow matching or diffusion.")
    return scheduler


def initial_noise(scheduler, shape: tuple[int, ...], generators: list[torch.Generator] | None, device):
    """Noise to start from, and what `scheduler.step` takes to draw more of it.

    Each row is drawn with a generator of its own, so that no row depends on those beside it.
    """
    from diffusers.utils.torch_utils import randn_tensor

    noise = randn_tensor(shape, generator=generators, device=torch.device(device), dtype=torch.float32)
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    return noise * getattr(scheduler, "init_noise_sigma", 1.0), {"generator": generators} if takes_generator else {}
