"""A whole regenerator trained from data: learn Y′, extract it, learn the prior, learn the decoder."""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from .files import atomic_folder, check_output_folder
from .modalities import Modality
from .modeling_regeneration import RegenerationModel
from .outputs import RepresentationSpec
from .pipeline_regeneration import RegenerationPipeline
from .processing_regeneration import RegenerationProcessor
from .representations import RepresentationCache, extract
from .training import Batches, StageArguments, StageResult, TrainingInterrupted, train


def train_regenerator(
    model: RegenerationModel,
    processor: RegenerationProcessor,
    dataset,
    output_folder: str | os.PathLike,
    *,
    source_column: str,
    target_column: str,
    extractor: StageArguments | None = None,
    prior: StageArguments | None = None,
    decoder: StageArguments | None = None,
    unpaired=None,
    samples: Sequence[Any] = (),
    on_bad_example: str = "raise",
) -> list[StageResult]:
    """Trains the stages that have arguments, in their order, and keeps what they give.

    `output_folder` then holds `model/` (what `pipeline("regeneration")` reads), `representations/` (the extracted
    Y′), `samples/` (what was generated at each evaluation) and `training_summary.json`.

    Args:
        model: trained in place.
        dataset: a `datasets.Dataset` of pairs.
        source_column, target_column: where X and Y are in it.
        extractor: learn Y′ from Y alone.
        prior: learn X→Y′.
        decoder: learn Y′→Y from Y alone.
        unpaired: a dataset of further Y, in `target_column`, for the stages that need no X.
        samples: some X to generate for at each evaluation.
        on_bad_example: `"raise"`, or `"skip"` to leave out examples that cannot be read and say how many.

    Raises:
        ValueError: for a column that is missing or an example that cannot be read, before anything is trained.
        OSError: if `output_folder` cannot be written to, before anything is trained.
        TrainingInterrupted: on Ctrl-C, after saving.
    """
    from accelerate import PartialState

    if on_bad_example not in ("raise", "skip"):
        raise ValueError(f"`on_bad_example` must be 'raise' or 'skip', got {on_bad_example!r}.")
    _check_stages(model, extractor, decoder)
    count = len(dataset) + (len(dataset) + len(unpaired or ()) if decoder is not None else 0)
    folder = check_output_folder(output_folder, needed_bytes=_needed_bytes(model, count))
    dataset = _prepared(dataset, {source_column: processor.source, target_column: processor.target})
    reads = {source_column: processor.source.as_source, target_column: processor.target.as_target}
    dataset = readable_examples(dataset, reads, on_bad_example)
    targets = dataset.select_columns([target_column])
    if unpaired is not None:
        unpaired = _prepared(unpaired, {target_column: processor.target})
        unpaired = readable_examples(unpaired, {target_column: processor.target.as_target}, on_bad_example)
        targets = _joined(targets, unpaired)
    _check_target_shape(model, processor, targets[0][target_column])
    model.to(PartialState().device)  # as a whole: `train` moves the part that it trains only
    run = _Run(model, processor, folder, samples, dataset.select_columns([source_column]), targets, len(dataset))
    try:
        if extractor is not None:
            run.train_extractor(extractor)
        if prior is not None:
            run.train_prior(prior)
        if decoder is not None:
            run.train_decoder(decoder)
    except KeyboardInterrupt as interrupt:
        run.save()
        raise TrainingInterrupted(
            f"training was interrupted; the model so far is in {folder / 'model'}."
        ) from interrupt
    run.save()
    return run.results


def _check_stages(model: RegenerationModel, extractor: StageArguments | None, decoder: StageArguments | None) -> None:
    from accelerate import PartialState

    if extractor is not None and not model.extractor.is_trainable:
        raise ValueError(f"`extractor` asks to train {type(model.extractor).__name__}, which is a rule.")
    if decoder is not None and model.decoder_model is None:
        raise ValueError("`decoder` asks to train a decoder, but the model has none.")
    if PartialState().num_processes > 1:
        raise NotImplementedError("train_regenerator runs in one process; this run has several.")


def _needed_bytes(model: RegenerationModel, count: int) -> int:
    """What a run writes: the model, its successor while both are there, and `count` representations."""
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    return 3 * weights + 4 * count * math.prod(model.config.extractor_config.representation_spec.shape)


def _check_target_shape(model: RegenerationModel, processor: RegenerationProcessor, example: Any) -> None:
    shape = tuple(processor.target.as_target([example])["target"].shape[1:])
    spec = model.config.target_spec
    if not spec.fits(RepresentationSpec(shape, spec.num_codes)):
        raise ValueError(
            f"the processor gives targets of shape {shape}, but {type(model.extractor).__name__} reads {spec}."
        )


def _prepared(dataset, columns: dict[str, Modality]):
    check_columns(dataset, columns)
    for column, modality in columns.items():
        dataset = modality.prepare_column(dataset, column)
    return dataset


def _joined(targets, unpaired):
    from datasets import concatenate_datasets

    return concatenate_datasets([targets, unpaired.select_columns(targets.column_names).cast(targets.features)])


def check_columns(dataset, columns: Iterable[str]) -> None:
    """Raises `ValueError` for a column that the dataset does not have, with those that it has."""
    for column in columns:
        if column not in dataset.column_names:
            found = ", ".join(dataset.column_names)
            raise ValueError(f"the dataset has no column {column!r}; its columns are {found}.")


def readable_examples(dataset, reads: dict[str, Callable[[list[Any]], Any]], on_bad_example: str = "raise"):
    """The dataset without the examples that cannot be read.

    Args:
        reads: for each column what will read it: a function of a list of examples that raises `ValueError` or
            `TypeError` for a bad one.
        on_bad_example: `"raise"` a `ValueError` that names the first bad example, or `"skip"` and count them.
    """
    check_columns(dataset, reads)
    good, problems = [], []
    for i in tqdm(range(len(dataset)), desc="check examples", unit="example", leave=False):
        example = dataset[i]
        try:
            for column, read in reads.items():
                read([example[column]])
        except (TypeError, ValueError) as error:
            problems.append(f"example {i}, column {column!r}: {error}")
            if on_bad_example == "raise":
                raise ValueError(problems[0]) from error
        else:
            good.append(i)
    if not good:
        raise ValueError(f"the dataset has no example that can be read; {'; '.join(problems[:1]) or 'it is empty'}")
    if problems:
        print(f"left out {len(problems)} of {len(dataset)} examples that cannot be read; the first is {problems[0]}")
    return dataset.select(good) if problems else dataset


@dataclasses.dataclass
class _Run:
    """What the stages of one run share; `sources` belong to the first `pairs` of `targets`."""

    model: RegenerationModel
    processor: RegenerationProcessor
    folder: Path
    samples: Sequence[Any]
    sources: Any
    targets: Any
    pairs: int
    results: list[StageResult] = dataclasses.field(default_factory=list)

    def train_extractor(self, arguments: StageArguments) -> None:
        """Y′ from Y alone, paired or not."""
        self._train("extractor", self.model.extractor, len(self.targets), self._read_targets, arguments)

    def train_prior(self, arguments: StageArguments) -> None:
        """X→Y′ from pairs, on Y′ that is extracted once."""
        representations = self._extract(self.pairs)
        self.model.prior.fit_statistics(_Repeatable(representations.batches))
        (column,) = self.sources.column_names

        def read(rows: list[int]) -> dict[str, torch.Tensor]:
            return {**self.processor(source=self.sources[rows][column]), "target": representations[rows]}

        self._train("prior", self.model.prior, self.pairs, read, arguments)

    def train_decoder(self, arguments: StageArguments) -> None:
        """Y′→Y from Y alone, paired or not."""
        representations = self._extract(len(self.targets))
        decoder = self.model.decoder_model
        decoder.fit_statistics(_Repeatable(self._target_batches), _Repeatable(representations.batches))

        def read(rows: list[int]) -> dict[str, torch.Tensor]:
            return {**self._read_targets(rows), "source": representations[rows]}

        self._train("decoder", decoder, len(self.targets), read, arguments)

    def _extract(self, count: int) -> RepresentationCache:
        dataset = self.targets.select(range(count))
        (column,) = dataset.column_names
        return extract(self.model.extractor, self.processor.target, dataset, column, self.folder / "representations")

    def _read_targets(self, rows: list[int]) -> dict[str, torch.Tensor]:
        (column,) = self.targets.column_names
        return self.processor(target=self.targets[rows][column])

    def _target_batches(self, batch_size: int = 256) -> Iterator[torch.Tensor]:
        for start in range(0, len(self.targets), batch_size):
            yield self._read_targets(list(range(start, min(start + batch_size, len(self.targets)))))["target"]

    def _train(self, name: str, module, count: int, read: Callable, arguments: StageArguments) -> None:
        def evaluate(step: int) -> None:
            path = self.folder / "samples" / f"{name}-{step:06d}"
            if name == "extractor":
                self._save_reconstructions(path)
            else:
                self._save_samples(path)
            self.save()

        self.results.append(train(module, Batches(count, read), arguments, name, evaluate))

    def _save_reconstructions(self, path: Path) -> None:
        if not self.samples or not self.model.config.extractor_config.can_decode:
            return
        rows = list(range(min(len(self.samples), self.pairs)))
        target = self._read_targets(rows)["target"].to(self.model.device)
        back = self.model.extractor.decode(self.model.encode(target)).values.detach().cpu()
        found = self.processor.target.from_target(back)
        self.processor.target.save_samples(found, [f"reconstruction {i}" for i in rows], path)

    def _save_samples(self, path: Path) -> None:
        if not self.samples:
            return
        pipeline = RegenerationPipeline(model=self.model, processor=self.processor, device=self.model.device)
        generator = torch.Generator().manual_seed(0)
        found = pipeline(list(self.samples), batch_size=len(self.samples), generator=generator)
        self.processor.target.save_samples(found, list(map(str, self.samples)), path)

    def save(self) -> None:
        with atomic_folder(self.folder / "model") as new:
            self.model.save_pretrained(new)
            self.processor.save_pretrained(new)
        summary = [dataclasses.asdict(result) for result in self.results]
        path = self.folder / "training_summary.json"
        scratch = path.with_suffix(".tmp")
        scratch.write_text(json.dumps(summary, indent=2), encoding="utf-8")
        os.replace(scratch, path)


class _Repeatable:
    """What `make` iterates over, as often as it is asked for."""

    def __init__(self, make: Callable[[], Iterator[torch.Tensor]]):
        self.make = make

    def __iter__(self) -> Iterator[torch.Tensor]:
        return self.make()


def plot_losses(results: Sequence[StageResult], path: str | os.PathLike) -> None:
    """Draws the losses of each stage, as a PNG; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(results), 3.5), layout="constrained")
    for axes, result in zip(figure.subplots(1, len(results), squeeze=False)[0], results, strict=True):
        axes.plot(*zip(*result.losses, strict=True), linewidth=1)
        axes.set(title=f"{result.name}, {result.seconds:.0f} s", xlabel="step", ylabel="loss", yscale="log")
        axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=120)
