import pytest
import tiny
import torch

from regen_hf.generators.diffusion.noising import Diffusion, FlowMatching, draw_levels

SHAPE = (4, 4, 4)
SCHEDULERS = ("DDPMScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler")


@pytest.mark.parametrize("prediction", ["velocity", "noise", "sample"])
@pytest.mark.parametrize("scheduler", ["FlowMatchEulerDiscreteScheduler", *SCHEDULERS])
def test_a_perfect_backbone_is_led_back_to_the_sample(scheduler, prediction, monkeypatch):
    """With the true answer in the place of the backbone, every scheduler must arrive at the sample."""
    generator = tiny.diffusion_prior(SHAPE, scheduler=scheduler, prediction=prediction).eval()
    sample = torch.randn(1, *SHAPE)

    def truth(noisy, timestep, *_):
        process, t = made["process"], timestep[0]
        if isinstance(process, FlowMatching):
            level = (t / process.num_timesteps).clamp(min=1e-4)
            noise = (noisy - (1 - level) * sample) / level
            return {"velocity": noise - sample, "noise": noise, "sample": sample}[prediction]
        a = process.forward_process.alphas_cumprod[t.long()]
        noise = (noisy - a.sqrt() * sample) / (1 - a).sqrt()
        velocity = a.sqrt() * noise - (1 - a).sqrt() * sample
        return {"velocity": velocity, "noise": noise, "sample": sample}[prediction]

    made = {}
    kind = FlowMatching if scheduler.startswith("Flow") else Diffusion

    def remember(scheduler, prediction):
        made["process"] = kind(scheduler, prediction)
        return made["process"]

    monkeypatch.setattr("regen_hf.generators.diffusion.diffusion.noising_process", remember)
    monkeypatch.setattr(generator, "_denoise", truth)
    source = dict(tiny.processor()(source=["red heart"]))
    found = generator.generate(**source, num_inference_steps=50, generator=torch.Generator().manual_seed(0)).values
    torch.testing.assert_close(found, sample, atol=0.08, rtol=0)


@pytest.mark.parametrize("prediction", ["velocity", "noise", "sample"])
def test_the_loss_of_a_perfect_prediction_is_zero(prediction):
    for scheduler in ("FlowMatchEulerDiscreteScheduler", "DDPMScheduler"):
        generator = tiny.diffusion_prior(SHAPE, scheduler=scheduler, prediction=prediction)
        kind = FlowMatching if scheduler.startswith("Flow") else Diffusion
        process = kind(generator.make_scheduler(), prediction)
        sample, noise, level = torch.randn(2, *SHAPE), torch.randn(2, *SHAPE), torch.tensor([0.3, 0.8])
        noisy, timestep = process.add_noise(sample, noise, level)
        if scheduler == "DDPMScheduler" and prediction == "velocity":
            perfect = process.forward_process.get_velocity(sample, noise, timestep)
        else:
            perfect = {"velocity": noise - sample, "noise": noise, "sample": sample}[prediction]
        predicted, wanted = process.compare(perfect, sample, noise, noisy, timestep)
        torch.testing.assert_close(predicted, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("sampling", "deviation"), [("uniform", 0.289), ("logit_normal", 0.208), ("mode", 0.216)])
def test_timestep_sampling_decides_how_noisy_training_is(sampling, deviation):
    levels = draw_levels(sampling, 20000, torch.device("cpu"))
    assert levels.std().item() == pytest.approx(deviation, abs=0.01)
