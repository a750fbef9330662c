"""How good the pictures are, on held-out names only."""

from pathlib import Path

import torch

from regen_hf import RegenerationPipeline, Representation, save_sheet


def measure(pipe: RegenerationPipeline, held, asked: list[int], text_column: str, image_column: str) -> dict:
    """Retrieval of generated pictures, and what the way over Y′ costs.

    Args:
        held: the held-out rows.
        asked: those of them to generate for; the others are candidates of the retrieval only.

    Returns:
        `heldout_retrieval_top1`: how often the true picture that is nearest to the generated one, by squared pixel
        distance among all of `held`, is its own or identical to its own. `reconstruction_psnr`: of decode(true Y′),
        from the mean squared error over all pixels of all held-out pictures, in dB. `disturbed_psnr`: the same after
        Y′ was perturbed (latents: noise of 0.3 standard deviations; codes: one in ten replaced).
        `generated_psnr`: of decode(predicted Y′).
    """
    model, target = pipe.model, pipe.processor.target
    truth = target.as_target(held[image_column])["target"]
    texts = [held[text_column][k] for k in asked]
    generated = pipe(texts, batch_size=64, generator=torch.Generator().manual_seed(0))
    pictures = target.as_target([row[target.key] for row in generated])["target"]
    distances = torch.cdist(pictures.flatten(1).double(), truth.flatten(1).double())
    own = distances[torch.arange(len(asked)), torch.tensor(asked)]
    right = own <= distances.min(1).values + 1e-9
    representation = [model.encode(batch.to(model.device)).values.cpu() for batch in truth.split(64)]
    perturbed = [_perturbed(values, model.config.extractor_config.representation_spec) for values in representation]
    return {
        "heldout_retrieval_top1": round(right.double().mean().item(), 4),
        "heldout_count": len(asked),
        "heldout_candidates": len(held),
        "reconstruction_psnr": psnr(_decoded(model, representation), truth),
        "disturbed_psnr": psnr(_decoded(model, perturbed), truth),
        "generated_psnr": psnr(pictures, truth[asked]),
        "parameters": model.num_parameters(),
    }


def _decoded(model, batches: list[torch.Tensor]) -> torch.Tensor:
    decoded = [model.decode(Representation(values.to(model.device))).values.cpu() for values in batches]
    return torch.cat(decoded).float().clamp(-1, 1)


def _perturbed(values: torch.Tensor, spec) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if spec.num_codes is not None:
        other = torch.randint(spec.num_codes, values.shape, generator=generator)
        return torch.where(torch.rand(values.shape, generator=generator) < 0.1, other, values)
    deviation = values.std(dim=[d for d in range(values.ndim) if d != 1], keepdim=True)
    return values + 0.3 * deviation * torch.randn(values.shape, generator=generator)


def psnr(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Peak signal-to-noise ratio in dB of values in [-1, 1], at most 100."""
    error = ((found - truth) / 2).double().square().mean().clamp(min=1e-10)
    return round(-10 * error.log10().item(), 2)


def sample_sheet(
    pipe, held, asked: list[int], text_column: str, image_column: str, path: Path, count: int = 48
) -> None:
    """True and generated pictures side by side with their names, evenly picked from the held-out names."""
    chosen = asked[:: max(1, len(asked) // count)][:count]
    texts = [held[text_column][k] for k in chosen]
    generated = pipe(texts, batch_size=64, generator=torch.Generator().manual_seed(0))
    true = pipe.processor.target.from_target(
        pipe.processor.target.as_target(held.select(chosen)[image_column])["target"]
    )
    save_sheet([[t["image"], g["image"]] for t, g in zip(true, generated, strict=True)], texts, path)
