"""Trains a tiny regenerator in four stages; started, killed and started again by tests and benchmarks.

python tests/resume_worker.py FOLDER [--resume]; under torchrun for several processes.
"""

import argparse
from pathlib import Path

import numpy as np
import tiny
import torch
from datasets import Dataset, Features, Image, Value
from diffusers import UNet2DConditionModel
from PIL import Image as PILImage

from regen_hf import (
    AutoencoderExtractor,
    DiffusionGenerator,
    RegenerationModel,
    StageArguments,
    train_regenerator,
)
from regen_hf.runtime.processes import processes
from regen_hf.training.run_folder import RUN


def pairs() -> Dataset:
    generator = np.random.default_rng(0)
    texts = [name for name in tiny.NAMES for _ in range(4)]
    pictures = [PILImage.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for _ in texts]
    features = Features({"text": Value("string"), "image": Image()})
    return Dataset.from_dict({"text": texts, "image": pictures}, features=features)


def model() -> RegenerationModel:
    extractor = AutoencoderExtractor.from_components(tiny.kl(), tiny.IMAGE)  # samples its latents while it learns
    shape = tuple(extractor.config.representation_shape)
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=3 + shape[0], out_channels=3, block_out_channels=(8, 8), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), cross_attention_dim=16, attention_head_dim=4,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), norm_num_groups=4,
    )  # fmt: skip
    decoder = DiffusionGenerator.from_components(unet, tiny.IMAGE, source_shape=list(shape), condition_dropout=0.1)
    prior = tiny.diffusion_prior(shape, generation={"num_inference_steps": 2})
    return RegenerationModel.from_components(extractor, prior, decoder)


def arguments(steps: int, **settings) -> StageArguments:
    return StageArguments(**{
        "max_steps": steps, "batch_size": 4, "ema_decay": 0.9, "save_every": 3, "eval_every": 7, **settings,
    })  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--steps", type=int, default=20, help="of each stage")
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help="how many there must be")
    options = parser.parse_args()
    assert processes().num_processes == options.processes, processes()
    # a resumed run must not depend on how its model is made; one that was killed before it had begun has nothing else
    begun = (options.folder / "stages" / RUN).is_file()
    torch.manual_seed(1 if options.resume and begun else 0)
    asked = {"gradient_accumulation_steps": options.accumulation}
    if processes().is_main_process:  # two lines at once may come out as one
        print("training", flush=True)
    train_regenerator(
        model(), tiny.processor(), pairs(), options.folder, source_column="text", target_column="image",
        extractor=arguments(options.steps, **asked),
        prior=arguments(options.steps, optimizer="muon", **asked),
        decoder=arguments(options.steps, predicted=0.5, **asked),
        joint=arguments(options.steps, **asked),
        validation=pairs().select(range(6)), samples=tiny.NAMES[:2], resume=options.resume,
    )  # fmt: skip


if __name__ == "__main__":
    main()
