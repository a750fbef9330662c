"""What a CUDA device does with models of real size; the same code runs on a CPU at tiny size, for the tests."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import torch
from datasets import Dataset
from diffusers import AutoencoderKL, DiTTransformer2DModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config

from regen_hf import (
    AutoencoderExtractor,
    AutoregressiveGenerator,
    Batches,
    DiffusionGenerator,
    RegenerationModel,
    StageArguments,
    train,
    write_cache,
)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large all of it is; the defaults are those of the rows."""

    width: int = 1024
    layers: int = 24  # 12 · 24 · 1024² = 302 M parameters
    heads: int = 16
    tokens: int = 1024
    codes: int = 1024
    batch_size: int = 16
    steps: int = 30
    warmup: int = 10
    pixels: int = 256
    codec_widths: tuple[int, ...] = (128, 256, 512, 512)
    images: int = 2048
    generated: int = 64
    inference_steps: int = 50
    matrix: int = 8192


TINY = Sizes(
    width=16, layers=1, heads=2, tokens=8, codes=12, batch_size=2, steps=4, warmup=2, pixels=16, codec_widths=(8, 8),
    images=8, generated=2, inference_steps=2, matrix=64,
)  # fmt: skip


def measure(device: torch.device, sizes: Sizes, folder: Path) -> dict[str, float]:
    """All figures of a device, by name."""
    found = prior_training(device, sizes)
    found["generation_tokens_per_second"] = token_generation(device, sizes)
    found["generation_images_per_second"], found["extraction_images_per_second"] = image_figures(device, sizes, folder)
    return found


def code_prior(sizes: Sizes) -> AutoregressiveGenerator:
    """A transformer over codes with a class as its source."""
    decoder = GPT2Config(
        vocab_size=sizes.codes + 1, n_positions=sizes.tokens, n_embd=sizes.width, n_layer=sizes.layers,
        n_head=sizes.heads, add_cross_attention=True, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return AutoregressiveGenerator.from_components(decoder, (sizes.tokens,), sizes.codes, num_classes=10)


def prior_training(device: torch.device, sizes: Sizes) -> dict[str, float]:
    """Tokens/s of training in bf16, and the share of the device's measured bf16 matrix rate that it uses."""
    prior = code_prior(sizes).to(device)
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, sizes.codes, (256, sizes.tokens), generator=generator)
    labels = torch.randint(0, 10, (256, 1), generator=generator)
    data = Batches(256, lambda rows: {"target": codes[rows], "class_labels": labels[rows]})
    flops = step_flops(prior, {"target": codes[:1].to(device), "class_labels": labels[:1].to(device)})
    compiled = device.type == "cuda"
    seconds = {}
    for steps in (
        sizes.warmup,
        sizes.warmup,
        sizes.warmup + sizes.steps,
    ):  # the first compiles; the difference of the others counts
        arguments = StageArguments(
            max_steps=steps, batch_size=sizes.batch_size, learning_rate=1e-4, mixed_precision="bf16", compile=compiled
        )
        seconds[steps] = _timed(lambda arguments=arguments: train(prior, data, arguments), device)
    step = (seconds[sizes.warmup + sizes.steps] - seconds[sizes.warmup]) / sizes.steps
    rate = matrix_rate(device, sizes.matrix)
    return {
        "prior_parameters": sum(p.numel() for p in prior.parameters()),
        "prior_training_tokens_per_second": sizes.batch_size * sizes.tokens / step,
        "bf16_matrix_rate_tflops": rate / 1e12,
        "prior_training_share_of_matrix_rate": sizes.batch_size * flops / step / rate,
    }


def step_flops(module: torch.nn.Module, batch: dict[str, torch.Tensor]) -> float:
    """Multiplications and additions of one forward and backward pass of this batch, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        module(**batch).loss.backward()
    module.zero_grad()
    return float(counter.get_total_flops())


def matrix_rate(device: torch.device, size: int) -> float:
    """Operations/s of a bf16 matrix product."""
    one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    _timed(lambda: [one @ other for _ in range(5)], device)
    return 20 * 2 * size**3 / _timed(lambda: [one @ other for _ in range(20)], device)


@torch.no_grad()
def token_generation(device: torch.device, sizes: Sizes) -> float:
    prior = code_prior(sizes).to(device, torch.bfloat16).eval()
    labels = torch.zeros(sizes.generated, 1, dtype=torch.long, device=device)
    prior.generate(class_labels=labels[:1])
    return sizes.generated * sizes.tokens / _timed(lambda: prior.generate(class_labels=labels), device)


@torch.no_grad()
def image_figures(device: torch.device, sizes: Sizes, folder: Path) -> tuple[float, float]:
    """Images/s of generation by a diffusion prior and `AutoencoderKL`, and of extraction by the latter."""
    blocks = len(sizes.codec_widths)
    autoencoder = AutoencoderKL(
        block_out_channels=sizes.codec_widths, layers_per_block=2 if blocks > 2 else 1, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * blocks, up_block_types=("UpDecoderBlock2D",) * blocks,
        norm_num_groups=min(32, sizes.codec_widths[0] // 2),
    )  # fmt: skip
    extractor = AutoencoderExtractor.from_components(autoencoder, (3, sizes.pixels, sizes.pixels))
    shape = tuple(extractor.config.representation_shape)
    backbone = DiTTransformer2DModel(
        sizes.heads, sizes.width // sizes.heads, in_channels=4, num_layers=sizes.layers, sample_size=shape[-1],
        patch_size=2, num_embeds_ada_norm=10,
    )  # fmt: skip
    prior = DiffusionGenerator.from_components(backbone, shape, num_classes=10)
    model = RegenerationModel.from_components(extractor, prior).to(device, torch.bfloat16).eval()
    labels = torch.zeros(sizes.generated, 1, dtype=torch.long, device=device)
    asked = {"num_inference_steps": sizes.inference_steps, "guidance": 2.0}
    model.generate(class_labels=labels[:1], num_inference_steps=1)
    generated = sizes.generated / _timed(lambda: model.generate(class_labels=labels, **asked), device)
    pixels = torch.rand(64, 3, sizes.pixels, sizes.pixels)

    def encode(batch: dict[str, list]):
        rows = torch.tensor(batch["i"]) % len(pixels)
        return extractor.encode(pixels[rows].to(device))

    spec, dataset = extractor.config.representation_spec, Dataset.from_dict({"i": range(sizes.images)})
    encode({"i": [0] * sizes.batch_size})
    seconds = _timed(
        lambda: write_cache(folder / "latents", dataset, encode, spec, {"data": "random"}, batch_size=sizes.batch_size),
        device,
    )
    return generated, sizes.images / seconds


def _timed(work: Callable[[], object], device: torch.device) -> float:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started
