"""What the library costs over doing the same by hand: each figure is a ratio, both sides measured in one run."""

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from datasets import Dataset, Features, Image, Value
from diffusers import AutoencoderKL
from models import latents
from PIL import Image as PILImage
from transformers import pipeline

from regen_hf import (
    AutoencoderExtractor,
    Batches,
    ImageModality,
    RegenerationModel,
    RegenerationProcessor,
    Representation,
    RepresentationCache,
    RepresentationSpec,
    StageArguments,
    TextModality,
    extract,
    train,
    write_cache,
)
from regen_hf.training.accelerators import computes_bf16
from regen_hf.training.optimizers import make_optimizers, make_schedule

SIZE = 32
WORDS = "red blue green black heart cat dog face with open hand star moon sun of and".split()  # noqa: SIM905


def demo_model() -> tuple[RegenerationModel, RegenerationProcessor]:
    """The model of `make demo`, untrained."""
    text = TextModality.from_words([" ".join(WORDS)] * 2)
    torch.manual_seed(0)
    model = latents(SIZE, text)
    model.extractor.to(memory_format=torch.channels_last)
    return model, RegenerationProcessor(text, ImageModality(SIZE))


def pictures(count: int, folder: Path, size: int = SIZE) -> Dataset:
    """Pictures, each another, as PNG in an Arrow file on disk."""
    generator = torch.Generator().manual_seed(0)

    def rows():
        for i in range(count):
            noise = torch.nn.functional.interpolate(
                torch.rand(1, 3, 4, 4, generator=generator), size=(size, size), mode="bicubic"
            )
            pixels = (noise[0].clamp(0, 1).permute(1, 2, 0) * 255).byte().numpy()
            yield {
                "text": " ".join(WORDS[(i + j * j) % len(WORDS)] for j in range(4)),
                "image": PILImage.fromarray(pixels),
            }

    features = Features({"text": Value("string"), "image": Image()})
    return Dataset.from_generator(rows, features=features, cache_dir=str(folder / "pictures"), keep_in_memory=False)


def side_by_side(one: Callable[[], float], other: Callable[[], float], rounds: int) -> float:
    """The median over rounds of the seconds of `one` by those of `other`, which take turns at being first."""
    found = []
    for number in range(rounds):
        pair = [one, other] if number % 2 == 0 else [other, one]
        seconds = {each: each() for each in pair}
        found.append(seconds[one] / seconds[other])
    return statistics.median(found)


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def prior_training(folder: Path, steps: int = 24, rounds: int = 3, count: int = 2048, batch_size: int = 128) -> float:
    """Examples/s of training the demo's prior by `train`, from a cache of Y′ and texts, by those of a bare loop."""
    model, processor = demo_model()
    dataset = pictures(count, folder)
    cache = extract(model.extractor, processor.target, dataset, "image", folder / "cache")
    texts = dataset.select_columns(["text"])
    arguments = StageArguments(
        max_steps=steps, batch_size=batch_size, optimizer="muon", learning_rate=1e-3, mixed_precision="auto"
    )
    data = Batches(count, lambda rows: {**processor(source=texts[rows]["text"]), "target": cache[rows].values})
    memory = {**processor(source=list(texts["text"])), "target": cache[:].values}

    def by_hand() -> float:
        prior = demo_model()[0].prior.train()
        return timed(lambda: bare_training(prior, memory, arguments))

    def by_library() -> float:
        return train(demo_model()[0].prior, data, arguments).seconds

    return side_by_side(by_hand, by_library, rounds)


def bare_training(module: torch.nn.Module, memory: dict[str, torch.Tensor], arguments: StageArguments) -> None:
    """What one writes for a paper: tensors in memory, autocast, clipping, two optimizers."""
    optimizers = make_optimizers(module, arguments, computes_bf16())
    schedules = [make_schedule(optimizer, arguments) for optimizer in optimizers]
    count = len(memory["target"])
    order = itertools.cycle(torch.randperm(count).split(arguments.batch_size))
    for _ in range(arguments.max_steps):
        rows = next(order)
        with torch.autocast("cpu", torch.bfloat16, enabled=computes_bf16()):
            loss = module(**{name: tensor[rows] for name, tensor in memory.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), arguments.max_grad_norm)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()


def extraction(folder: Path) -> float:
    """As `_extraction`, with the autoencoder of Stable Diffusion at 64 pixels."""
    widths = (128, 256, 512, 512)
    autoencoder = AutoencoderKL(
        block_out_channels=widths, layers_per_block=2, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    codec = AutoencoderExtractor.from_components(autoencoder, (3, 64, 64))
    return _extraction(codec, ImageModality(64), pictures(64, folder, size=64), folder, batch_size=16)


def extraction_demo(folder: Path) -> float:
    """As `_extraction`, with the small autoencoder of the demo at 32 pixels."""
    model, processor = demo_model()
    return _extraction(model.extractor, processor.target, pictures(3072, folder), folder, batch_size=64)


def _extraction(codec, modality: ImageModality, dataset, folder: Path, batch_size: int, rounds: int = 3) -> float:
    """Pictures/s of `extract`, from PNG in Arrow to Y′ on disk, by those of the codec's encoder over tensors."""
    memory = modality.as_target(list(dataset["image"]))["target"]
    codec, numbers = codec.eval(), itertools.count()

    @torch.no_grad()
    def by_hand() -> None:
        for batch in memory.split(batch_size):
            codec.encode(batch)

    def by_library() -> None:
        extract(codec, modality, dataset, "image", folder / f"cache-{next(numbers)}", batch_size=batch_size)

    by_hand()
    return side_by_side(lambda: timed(by_hand), lambda: timed(by_library), rounds)


def generation(folder: Path, count: int = 64, batch_size: int = 32, rounds: int = 5, steps: int = 20) -> float:
    """Seconds of `pipeline("regeneration")`, from texts to pictures, by those of a bare sampler loop to tensors."""
    model, processor = demo_model()
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    pipe = pipeline("regeneration", model=str(folder / "model"))
    prior, codec = pipe.model.prior.eval(), pipe.model.extractor.eval()
    texts = [f"{WORDS[i % 16]} {WORDS[i // 16]}" for i in range(count)]
    embedded = [bare_condition(prior, processor(source=part)) for part in _parts(texts, batch_size)]

    def by_hand() -> None:
        for condition in embedded:
            codec.autoencoder.net.decode(bare_sampling(prior, condition, steps))

    def by_library() -> None:
        pipe(texts, batch_size=batch_size, num_inference_steps=steps, guidance=2.0)

    with torch.no_grad():
        by_hand()
        return side_by_side(lambda: timed(by_library), lambda: timed(by_hand), rounds)


def bare_condition(prior, source: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The rows with their text, and as many with none."""
    with torch.no_grad():
        condition = prior.source_encoder(**source)
        hidden = torch.arange(2 * len(condition.hidden)) >= len(condition.hidden)
        both = prior.source_encoder.hide(condition.map(lambda tensor: torch.cat([tensor, tensor])), hidden)
    return {"encoder_hidden_states": both.hidden, "pooled_projections": prior.pooled_projection(both.pooled)}


def bare_sampling(prior, condition: dict[str, torch.Tensor], steps: int) -> torch.Tensor:
    """The loop of a diffusers pipeline over the same backbone."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(steps)
    rows = len(condition["pooled_projections"]) // 2
    sample = torch.randn(rows, *prior.config.target_shape)
    for timestep in scheduler.timesteps:
        both = torch.cat([sample, sample])
        output = prior.denoiser.net(both, timestep=timestep.expand(2 * rows), **condition, return_dict=False)[0]
        towards, away = output.chunk(2)
        sample = scheduler.step(away + 2.0 * (towards - away), timestep, sample, return_dict=False)[0]
    return prior.statistics.denormalize(sample)


def cached_codes(folder: Path, count: int = 200_000, batch_size: int = 64, batches: int = 3000) -> float:
    """Examples/s of reading codes of 8 × 64 in random batches, in one thread."""
    spec = RepresentationSpec((8, 64), 1024)

    def encode(batch: dict[str, list]) -> Representation:
        generator = torch.Generator().manual_seed(batch["i"][0])
        return Representation(torch.randint(0, 1024, (len(batch["i"]), 8, 64), generator=generator))

    dataset = Dataset.from_dict({"i": range(count)})
    write_cache(folder / "codes", dataset, encode, spec, {"data": "random"}, batch_size=4096)
    cache, threads = RepresentationCache(folder / "codes"), torch.get_num_threads()
    order = torch.randint(0, count, (batches, batch_size), generator=torch.Generator().manual_seed(0)).tolist()
    torch.set_num_threads(1)
    seconds = timed(lambda: [cache[rows].values for rows in order])
    torch.set_num_threads(threads)
    return batches * batch_size / seconds


def extraction_memory(folder: Path, count: int = 1000) -> float:
    """Peak memory of extracting from ten times the data, by that of extracting from one time."""
    return _peak(10 * count, folder / "ten") / _peak(count, folder / "one")


def _peak(count: int, folder: Path) -> float:
    """Of a process of its own, in MiB."""
    code = (
        "import resource, ratios\nfrom pathlib import Path\n"
        f"folder = Path({str(folder)!r})\nmodel, processor = ratios.demo_model()\n"
        f"dataset = ratios.pictures({count}, folder)\n"
        "ratios.extract(model.extractor, processor.target, dataset, 'image', folder / 'cache')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    return float(_output(code).split()[-1])


def import_time(rounds: int = 9) -> float:
    """Seconds of `import regen_hf` by those of `from transformers import pipeline`, each in a new process."""

    def seconds(statement: str) -> float:
        return float(_output(f"import time\na = time.perf_counter()\n{statement}\nprint(time.perf_counter() - a)"))

    ours, theirs = "import regen_hf", "from transformers import pipeline"
    seconds(ours)
    return side_by_side(lambda: seconds(ours), lambda: seconds(theirs), rounds)


def _output(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return run.stdout


def cached_training(folder: Path, steps: int = 12, rounds: int = 3, count: int = 1024, batch_size: int = 128) -> float:
    """Steps/s of training the demo's prior on cached Y′, by those of encoding every picture in every step."""
    model, processor = demo_model()
    dataset = pictures(count, folder)
    cache = extract(model.extractor, processor.target, dataset, "image", folder / "cache")
    texts = dataset.select_columns(["text"])
    arguments = StageArguments(max_steps=steps, batch_size=batch_size, learning_rate=1e-3, mixed_precision="auto")

    def encoded(rows: list[int]) -> dict[str, torch.Tensor]:
        examples = dataset[rows]
        target = model.encode(**processor(target=examples["image"])).values
        return {**processor(source=examples["text"]), "target": target}

    def cached(rows: list[int]) -> dict[str, torch.Tensor]:
        return {**processor(source=texts[rows]["text"]), "target": cache[rows].values}

    def seconds(read: Callable) -> float:
        return train(demo_model()[0].prior, Batches(count, read), arguments).seconds

    return side_by_side(lambda: seconds(encoded), lambda: seconds(cached), rounds)


def _parts(values: list, size: int) -> list[list]:
    return [values[i : i + size] for i in range(0, len(values), size)]


def in_scratch(measure: Callable[[Path], float]) -> float:
    """A measure with a folder of its own, which is removed."""
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder))
