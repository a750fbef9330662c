"""`regen-hf generate`."""

import dataclasses
from pathlib import Path

from ..parts.settings import shown
from ..runtime.data_checks import check_columns
from ..runtime.processes import processes
from .loading import load_data, load_model
from .options import DataArguments, ModelArguments, mapping, refuse_unused


@dataclasses.dataclass
class SourceArguments(DataArguments):
    """The sources.

    Args:
        sources: the X themselves; or give a dataset of them.
        source_column: the column of X.
    """

    dataset: str | None = None
    sources: list[str] = dataclasses.field(default_factory=list)
    source_column: str = "source"

    def __post_init__(self):
        refuse_unused(self, "dataset", "dataset_config", "split", "source_column")
        if bool(self.sources) == bool(self.dataset):
            raise ValueError("give either `sources` or a `dataset` with its `source_column`.")


@dataclasses.dataclass
class GenerationArguments:
    """The result.

    Args:
        output: the file to write; the kind of data decides its suffix.
        num_return_sequences: how many Y for each X.
        batch_size: how many X are generated for at once.
        seed: of the noise; the same command generates the same.
        generation: what else the model's `generate` takes, such as `{"guidance": 2.0, "num_inference_steps": 20}`.
    """

    output: str
    num_return_sequences: int = 1
    batch_size: int = 8
    seed: int = 0
    generation: dict | str | None = None

    def __post_init__(self):
        self.generation = mapping("generation", self.generation) or {}
        for name in ("batch_size", "num_return_sequences", "generator", "return_representation"):
            if name in self.generation:
                raise ValueError(f"`generation` must not hold {name!r}, which the command sets itself.")


def generate(asked: ModelArguments, data: SourceArguments, result: GenerationArguments) -> None:
    """Generates Y for some X.

    examples:
      regen-hf generate --model outputs/run/model --sources "red heart" "green cat" --output outputs/sheet
      regen-hf generate --model user/emoji --dataset outputs/pairs --split "train[:16]" --source_column text \\
        --output outputs/sheet --num_return_sequences 4 --generation '{"guidance": 2.0}'
    """
    import torch
    from transformers import pipeline

    if processes().num_processes > 1:
        raise ValueError(f"generate runs in one process, got {processes().num_processes}.")
    sources = data.sources
    if data.dataset:
        dataset = load_data(data.dataset, data.split, data.dataset_config)
        check_columns(dataset, [data.source_column])
    model, processor = load_model(asked)
    if data.dataset:
        sources = list(processor.source.prepare_column(dataset, data.source_column)[data.source_column])
    found = pipeline("regeneration", model=model, processor=processor)(
        sources,
        batch_size=result.batch_size,
        num_return_sequences=result.num_return_sequences,
        generator=torch.Generator().manual_seed(result.seed),
        **result.generation,
    )
    samples = [each for several in found for each in several]
    named = [source if isinstance(source, str) else shown(source) for source in sources]
    captions = [name for name in named for _ in range(result.num_return_sequences)]
    print(f"{len(samples):,} generated, see {processor.target.save_samples(samples, captions, Path(result.output))}")
