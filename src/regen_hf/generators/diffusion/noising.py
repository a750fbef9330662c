"""The two ways to noise a sample and to compare a prediction with the truth: flow matching and diffusion.

Both are written in terms of diffusers schedulers, which hold the noise levels and take the steps of sampling.
"""

import torch

PREDICTIONS = {"velocity": "v_prediction", "noise": "epsilon", "sample": "sample"}
TIMESTEP_SAMPLINGS = {"uniform": "none", "logit_normal": "logit_normal", "mode": "mode"}
SMALLEST_LEVEL = 0.05  # velocity is (x_t - sample) / t: without a floor the loss explodes near t = 0 (JiT, 2025)


def draw_levels(sampling: str, batch_size: int, device: torch.device) -> torch.Tensor:
    """Noise levels in (0, 1) for a batch, 1 being all noise (Esser et al., 2024, section 3.1)."""
    from diffusers.training_utils import compute_density_for_timestep_sampling

    levels = compute_density_for_timestep_sampling(
        TIMESTEP_SAMPLINGS[sampling], batch_size, logit_mean=0.0, logit_std=1.0, mode_scale=1.29
    )
    return levels.to(device)


def noising_process(scheduler, prediction: str) -> "FlowMatching | Diffusion":
    """The process that belongs to a scheduler: those of flow matching interpolate, the others add noise."""
    return (FlowMatching if hasattr(scheduler, "scale_noise") else Diffusion)(scheduler, prediction)


class FlowMatching:
    """`x_t = (1 - t) sample + t noise`; the velocity along it is `noise - sample` (Lipman et al., 2023)."""

    def __init__(self, scheduler, prediction: str):
        self.scheduler, self.prediction = scheduler, prediction
        self.num_timesteps = scheduler.config.num_train_timesteps

    def add_noise(self, sample: torch.Tensor, noise: torch.Tensor, level: torch.Tensor):
        """The noisy sample, and the timestep that the backbone is told."""
        shift = self.scheduler.shift
        level = shift * level / (1 + (shift - 1) * level)
        t = _like(level, sample)
        return (1 - t) * sample + t * noise, level * self.num_timesteps

    def compare(self, output, sample, noise, noisy, timestep):
        """Predicted and true velocity, whatever the backbone predicts."""
        return self.scheduler_output(output, noisy, timestep), noise - sample

    def scale_input(self, sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return sample

    def scheduler_output(self, output: torch.Tensor, noisy: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """The backbone's output as the velocity that `scheduler.step` takes."""
        if self.prediction == "velocity":
            return output
        t = _like(timestep / self.num_timesteps, noisy)
        if self.prediction == "sample":
            return (noisy - output) / t.clamp(min=SMALLEST_LEVEL)
        return (output - noisy) / (1 - t).clamp(min=SMALLEST_LEVEL)


class Diffusion:
    """`x_t = sqrt(a_t) sample + sqrt(1 - a_t) noise` (Ho et al., 2020)."""

    def __init__(self, scheduler, prediction: str):
        from diffusers import DDPMScheduler

        self.scheduler, self.prediction = scheduler, prediction
        self.forward_process = DDPMScheduler.from_config(scheduler.config)
        self.num_timesteps = scheduler.config.num_train_timesteps

    def add_noise(self, sample: torch.Tensor, noise: torch.Tensor, level: torch.Tensor):
        """The noisy sample, and the timestep that the backbone is told."""
        timestep = (level * self.num_timesteps).long().clamp(max=self.num_timesteps - 1)
        return self.forward_process.add_noise(sample, noise, timestep), timestep

    def compare(self, output, sample, noise, noisy, timestep):
        """What the backbone predicts, and what it should."""
        if self.prediction == "velocity":
            return output, self.forward_process.get_velocity(sample, noise, timestep)
        return output, noise if self.prediction == "noise" else sample

    def scale_input(self, sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return self.scheduler.scale_model_input(sample, timestep)

    def scheduler_output(self, output: torch.Tensor, noisy: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return output  # the scheduler knows `prediction_type`


def _like(values: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    """One value for each row, or one for all, shaped to multiply `sample`."""
    return values.view(-1, *[1] * (sample.ndim - 1)).to(sample.dtype)
