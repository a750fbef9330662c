import pytest
import tiny
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler

from regen_hf.generators.diffusion.scheduling import build_scheduler, describe_scheduler, initial_noise
from regen_hf.parts.generation import row_generators

SHAPE = (4, 4, 4)


@pytest.mark.parametrize(("scheduler", "message"), [
    (DPMSolverMultistepScheduler(use_flow_sigmas=True), "must have use_flow_sigmas and use_dynamic_shifting off"),
    (FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), "must have use_flow_sigmas"),
    ("EDMEulerScheduler", "is of neither kind that is known"),
])  # fmt: skip
def test_refuses_schedulers_of_another_kind(scheduler, message):
    with pytest.raises(ValueError, match=message):
        tiny.diffusion_prior(SHAPE, scheduler=scheduler)


def test_is_built_again_as_it_was_described():
    described = describe_scheduler(FlowMatchEulerDiscreteScheduler(shift=3.0))
    assert described["shift"] == 3.0 and not any(name.startswith("_") for name in described.keys() - {"_class_name"})
    assert describe_scheduler(build_scheduler(described, "velocity")) == described
    assert describe_scheduler("DDIMScheduler")["_class_name"] == "DDIMScheduler"


def test_noise_of_a_row_does_not_depend_on_those_beside_it():
    scheduler = build_scheduler({"_class_name": "DDIMScheduler"}, "noise")
    noise, options = initial_noise(scheduler, (3, 2, 2), row_generators(0, 3), "cpu")
    alone, _ = initial_noise(scheduler, (1, 2, 2), row_generators(0, 1), "cpu")
    assert torch.equal(noise[:1], alone) and len(options["generator"]) == 3


def test_refuses_a_scheduler_that_no_generator_leads(monkeypatch):
    monkeypatch.setattr(DDIMScheduler, "noise_sampler_seed", None, raising=False)  # as DPMSolverSDEScheduler has it
    with pytest.raises(ValueError, match="`scheduler` DDIMScheduler draws from torch's global random numbers"):
        build_scheduler({"_class_name": "DDIMScheduler"}, "noise")
