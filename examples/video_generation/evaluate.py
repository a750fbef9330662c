"""How near generated clips are to the true ones, on held-out sentences only."""

import torch

from regen_hf import RegenerationPipeline, Representation


def measure(pipe: RegenerationPipeline, held, text_column: str, video_column: str) -> tuple[dict, list, list]:
    """What is generated, and what the way over Y′ costs.

    Args:
        held: the held-out rows.

    Returns:
        `heldout_retrieval_top1`, how often the true clip that is nearest to a generated one, by squared distance of
        pixels among all of `held`, is its own or as its own; `trajectory_error`, how far apart the middles of what is
        seen are, in pixels, the mean over frames and clips; `trajectory_error_true`, the same of decode(true Y′);
        `reconstruction_psnr`, of decode(true Y′), and `disturbed_psnr`, of the same after noise of 0.3 standard
        deviations, in dB. And the true and the generated clips, as the pipeline gives them.
    """
    model, target = pipe.model, pipe.processor.target
    truth = target.as_target(held[video_column])["target"]
    made = pipe(list(held[text_column]), batch_size=32, generator=torch.Generator().manual_seed(0))
    clips = target.as_target([row[target.key] for row in made])["target"]
    distances = torch.cdist(clips.flatten(1), truth.flatten(1))
    right = distances.diagonal() <= distances.min(1).values + 1e-4
    encoded = [model.encode(batch.to(model.device)).values.cpu() for batch in truth.split(32)]
    generator = torch.Generator().manual_seed(0)
    noisy = [each + 0.3 * each.std() * torch.randn(each.shape, generator=generator) for each in encoded]
    back, perturbed = (
        torch.cat([model.decode(Representation(each.to(model.device))).values.float().cpu() for each in batches])
        for batches in (encoded, noisy)
    )
    back, perturbed = back.clamp(-1, 1), perturbed.clamp(-1, 1)
    metrics = {
        "heldout_retrieval_top1": round(right.float().mean().item(), 4),
        "trajectory_error": _distance(clips, truth),
        "trajectory_error_true": _distance(back, truth),
        "reconstruction_psnr": _psnr(back, truth),
        "disturbed_psnr": _psnr(perturbed, truth),
        "heldout_count": len(held),
        "parameters": model.num_parameters(),
    }
    return metrics, target.from_target(truth), made


def middles(clips: torch.Tensor) -> torch.Tensor:
    """Where what is not white is on average, `(batch, frames, 2)` in pixels, of clips in [-1, 1]."""
    seen = (1 - clips).mean(1).clamp(min=0)
    total = seen.sum((-2, -1)).clamp(min=1e-6)
    places = [torch.arange(size, dtype=seen.dtype) for size in seen.shape[-2:]]
    down = (seen.sum(-1) * places[0]).sum(-1) / total
    right = (seen.sum(-2) * places[1]).sum(-1) / total
    return torch.stack([right, down], dim=-1)


def _distance(found: torch.Tensor, truth: torch.Tensor) -> float:
    return round((middles(found) - middles(truth)).norm(dim=-1).mean().item(), 3)


def _psnr(found: torch.Tensor, truth: torch.Tensor) -> float:
    error = ((found - truth) / 2).square().mean().clamp(min=1e-10)
    return round(-10 * error.log10().item(), 2)
