"""A whole regenerator trained from data: learn Y′, extract it, learn the prior, learn the decoder, tune all."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..cache.extraction import extract
from ..cache.fingerprints import cache_name, fingerprint
from ..cache.representations import RepresentationCache
from ..losses import ExtractorWithLosses
from ..modeling_regeneration import RegenerationModel
from ..parts.outputs import Repeatable, Representation
from ..pipeline_regeneration import RegenerationPipeline
from ..processing_regeneration import RegenerationProcessor
from ..runtime.data_checks import check_columns, is_stream, readable_examples
from ..runtime.files import atomic_folder
from ..runtime.processes import processes
from ..sharing.model_card import write_model_card
from ..sharing.summary import summarize
from ..training.arguments import StageArguments, StageResult
from ..training.batches import Batches, StreamedBatches
from ..training.checkpoints import load_finished, save_json
from ..training.interruption import TrainingInterrupted
from ..training.loop import train
from ..training.run_folder import RunFolder
from ..training.trackers import check_trackers
from .checks import check_stages, check_target_shape, identity, needed_bytes
from .joint import JointModel
from .predictions import MixedBatches, predict

LONGEST_CAPTION = 300


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
    joint: StageArguments | None = None,
    unpaired=None,
    validation=None,
    representations: RepresentationCache | None = None,
    extractor_losses: Sequence[nn.Module] = (),
    samples: Sequence[Any] = (),
    on_bad_example: str = "raise",
    resume: bool = False,
    report_to: Sequence[str] = (),
) -> list[StageResult]:
    """Trains the stages that have arguments, in their order, and keeps what they give.

    `output_folder` then holds `model/` (what `pipeline("regeneration")` reads, with a card), `representations/` (the
    extracted Y′), `samples/` (what was generated at each evaluation), `stages/` (what each stage needs to be resumed,
    its logs and its best weights) and `training_summary.json`. Under `accelerate launch` or `torchrun` all processes
    call it alike.

    Args:
        model: trained in place; parameters that need no gradient stay as they are.
        dataset: a `datasets.Dataset` of pairs, or a `datasets.IterableDataset` that is read as a stream.
        source_column, target_column: where X and Y are in it.
        extractor: learn Y′ from Y alone.
        prior: learn X→Y′.
        decoder: learn Y′→Y from Y alone, and from what the prior predicts if `predicted` is above 0.
        joint: then train all parts at once, the prior and the decoder on what the extractor gives at that moment.
        unpaired: a dataset of further Y, in `target_column`, for the stages that need no X.
        validation: a `datasets.Dataset` of pairs to measure the loss on at each evaluation.
        representations: the Y′ of `dataset`, extracted elsewhere; refused if it does not match.
        extractor_losses: further losses for the extractor, such as [`PerceptualLoss`] and [`AdversarialLoss`].
        samples: some X to generate for at each evaluation.
        on_bad_example: `"raise"`, or `"skip"` to leave out examples that cannot be read and say how many.
        resume: go on where the run in `output_folder` was interrupted; begin where there is none.
        report_to: names of accelerate's trackers, such as `"tensorboard"` or `"trackio"`.

    Raises:
        ValueError: for a column that is missing, an example that cannot be read, an argument that would have no
            effect or a run that was begun otherwise, before anything is trained.
        OSError: if `output_folder` cannot be written to or is in use, before anything is trained.
        TrainingInterrupted: on Ctrl-C or SIGTERM, after saving.
    """
    asked = {"extractor": extractor, "prior": prior, "decoder": decoder, "joint": joint}
    asked = {name: arguments for name, arguments in asked.items() if arguments is not None}
    check_stages(model, asked, dataset, unpaired, extractor_losses, validation, representations)
    check_trackers(report_to)
    if samples:
        processor(source=list(samples))
    folder = RunFolder(output_folder, resume)
    with folder.claimed(0 if resume else needed_bytes(model, dataset, unpaired)):
        columns = {source_column: processor.source, target_column: processor.target}
        reads = {source_column: processor.source.as_source, target_column: processor.target.as_target}
        parts = {"dataset": dataset, "validation": validation, "unpaired": unpaired}
        for name, part in parts.items():
            if part is not None:
                own = [target_column] if name == "unpaired" else list(columns)
                check_columns(part, own)
                for column in own:
                    part = columns[column].prepare_column(part, column)
                parts[name] = readable_examples(part, {column: reads[column] for column in own}, on_bad_example)
        check_target_shape(model, processor, next(iter(parts["dataset"]))[target_column])
        if representations is not None and "extractor" not in asked:
            parts_of = fingerprint(model.extractor, processor.target, parts["dataset"], target_column)
            representations.check(parts_of)
        same = identity(model, processor, asked, columns, parts, extractor_losses)
        folder.begin(same, nn.ModuleDict({"model": model, "losses": nn.ModuleList(extractor_losses)}))
        model.to(processes().device)  # as a whole: `train` moves the part that it trains only
        data = _Data(**parts, source_column=source_column, target_column=target_column)
        run = _Run(model, processor, folder, data, samples, report_to, representations, extractor_losses)
        try:
            for name, arguments in asked.items():
                getattr(run, f"train_{name}")(arguments)
        except KeyboardInterrupt as interrupt:
            run.save()
            raise TrainingInterrupted(
                f"training was interrupted; the model so far is in {folder.path / 'model'}, and `resume=True` "
                "(`--resume`) goes on from here."
            ) from interrupt
        run.save(finished=True)
    return run.results


@dataclasses.dataclass
class _Data:
    """Pairs, further targets without a source, and pairs to validate on."""

    dataset: Any
    unpaired: Any
    validation: Any
    source_column: str
    target_column: str

    def targets(self):
        """Every Y, paired or not."""
        from datasets import concatenate_datasets, interleave_datasets

        parts = [self.dataset.select_columns([self.target_column])]
        if self.unpaired is None:
            return parts[0]
        parts.append(self.unpaired.select_columns([self.target_column]))
        if any(map(is_stream, parts)):
            parts = [part if is_stream(part) else part.to_iterable_dataset() for part in parts]
            return interleave_datasets(parts, stopping_strategy="all_exhausted")
        return concatenate_datasets([parts[0], parts[1].cast(parts[0].features)])


class _Run:
    """What the stages of one run share."""

    def __init__(self, model, processor, folder, data, samples, report_to, representations, losses):
        self.model, self.processor, self.folder, self.data = model, processor, folder, data
        self.samples, self.report_to, self.representations, self.losses = samples, report_to, representations, losses
        self.results: list[StageResult] = []

    def train_extractor(self, arguments: StageArguments) -> None:
        """Y′ from Y alone, paired or not."""
        module = ExtractorWithLosses(self.model.extractor, self.losses) if self.losses else self.model.extractor
        module.to(self.model.device)
        targets, validation = self.data.targets(), self.data.validation
        self._train("extractor", module, arguments, lambda: (
            _batches(targets, self._read_target), validation and _batches(validation, self._read_target)
        ))  # fmt: skip

    def train_prior(self, arguments: StageArguments) -> None:
        """X→Y′ from pairs, on Y′ that is extracted once."""
        self._train("prior", self.model.prior, arguments, self._prior_batches)

    def train_decoder(self, arguments: StageArguments) -> None:
        """Y′→Y from Y alone, paired or not, and from predictions of pairs."""
        untouched = [p for part in self.model.decoder_model.without_gradient for p in part.parameters()]
        untouched = [p for p in untouched if p.requires_grad]
        for parameter in untouched:
            parameter.requires_grad_(False)
        try:
            self._train("decoder", self.model.decoder_model, arguments, lambda: self._decoder_batches(arguments))
        finally:
            for parameter in untouched:
                parameter.requires_grad_(True)

    def train_joint(self, arguments: StageArguments) -> None:
        """All parts at once, on pairs."""
        dataset, validation = self.data.dataset, self.data.validation
        self._train("joint", JointModel(self.model), arguments, lambda: (
            _batches(dataset, self._read_pair), validation and _batches(validation, self._read_pair)
        ))  # fmt: skip

    def _prior_batches(self) -> tuple[Batches, Batches | None]:
        cache, dataset = self._pairs()
        if not self._has_adapters():  # which are saved without the statistics
            self.model.prior.fit_statistics(Repeatable(cache.batches))

        def made_of(cache: RepresentationCache, dataset) -> Batches:
            sources = dataset.select_columns([self.data.source_column])

            def read(rows: list[int]) -> dict[str, torch.Tensor]:
                return {**self._read_source(sources[rows]), **_named("target", cache[rows])}

            return Batches(len(cache), read, cache.lengths)

        validation = self.data.validation
        return made_of(cache, dataset), validation and made_of(self._extract(validation), validation)

    def _decoder_batches(self, arguments: StageArguments) -> tuple[Batches, Batches | None]:
        parts = [self._pairs()]
        if self.data.unpaired is not None:
            parts.append(self._extracted(self.data.unpaired, [self.data.target_column]))
        caches = [cache for cache, _ in parts]
        if not self._has_adapters():
            self.model.decoder_model.fit_statistics(
                Repeatable(lambda: (batch for _, part in parts for batch in self._target_batches(part))),
                Repeatable(lambda: (batch for cache in caches for batch in cache.batches(256))),
            )
        read = self._reader([dataset for _, dataset in parts])
        at_once = processes().num_processes
        total, group = arguments.max_steps * arguments.batches_per_step(at_once), arguments.group(at_once)
        training = MixedBatches(caches, read, arguments.predicted, total, arguments.seed)
        if arguments.predicted and (rows := training.rows_to_predict(arguments.batch_size, group)):
            training.replace(rows, self._predict(parts[0][1].select(rows)))
        if (validation := self.data.validation) is None:
            return training, None
        return training, MixedBatches([self._extract(validation)], self._reader([validation]))

    def _reader(self, datasets: Sequence) -> Callable[[list[int]], dict[str, torch.Tensor]]:
        """Reads the targets of rows that count through several datasets."""
        column = self.data.target_column
        datasets = [dataset.select_columns([column]) for dataset in datasets]

        def read(rows: list[int]) -> dict[str, torch.Tensor]:
            examples = [None] * len(rows)
            start = 0
            for dataset in datasets:
                own = [(place, row - start) for place, row in enumerate(rows) if 0 <= row - start < len(dataset)]
                found = dataset[[row for _, row in own]][column] if own else []
                for (place, _), example in zip(own, found, strict=True):
                    examples[place] = example
                start += len(dataset)
            return self.processor(target=examples)

        return read

    def _pairs(self) -> tuple[RepresentationCache, Any]:
        """The Y′ of the pairs, and the pairs by row."""
        if self.representations is None:
            return self._extracted(self.data.dataset, [self.data.source_column, self.data.target_column])
        self.representations.check(self._fingerprint(self.data.dataset))
        return self.representations, self.data.dataset

    def _extracted(self, dataset, columns: list[str]) -> tuple[RepresentationCache, Any]:
        """Y′ of a dataset, and the same dataset by row: of a stream, what was read is kept beside its Y′."""
        if not is_stream(dataset):
            return self._extract(dataset), dataset
        cache = self._extract(dataset, columns)
        return cache, cache.dataset

    def _extract(self, dataset, columns: Sequence[str] = ()) -> RepresentationCache:
        folder = self.folder.path / "representations" / cache_name(self._fingerprint(dataset))
        return extract(
            self.model.extractor, self.processor.target, dataset, self.data.target_column, folder, columns=columns
        )

    def _fingerprint(self, dataset) -> dict[str, str]:
        return fingerprint(self.model.extractor, self.processor.target, dataset, self.data.target_column)

    def _predict(self, dataset) -> RepresentationCache:
        spec, folder = self.model.config.extractor_config.representation_spec, self.folder.path / "representations"
        defaults = self.model.config.generation or {}
        return predict(self.model.prior, self.processor, dataset, self.data.source_column, folder, spec, **defaults)

    def _has_adapters(self) -> bool:
        return bool(getattr(self.model, "_hf_peft_config_loaded", False))

    def _read_source(self, examples: dict[str, list]) -> dict[str, torch.Tensor]:
        return self.processor(source=examples[self.data.source_column])

    def _read_target(self, examples: dict[str, list]) -> dict[str, torch.Tensor]:
        return self.processor(target=examples[self.data.target_column])

    def _read_pair(self, examples: dict[str, list]) -> dict[str, torch.Tensor]:
        return {**self._read_source(examples), **self._read_target(examples)}

    def _target_batches(self, dataset, batch_size: int = 64) -> Iterator[Representation]:
        dataset = dataset.select_columns([self.data.target_column])
        for start in range(0, len(dataset), batch_size):
            read = self._read_target(dataset[start : start + batch_size])
            yield Representation(read["target"], read.get("target_mask"))

    def _train(self, name: str, module, arguments: StageArguments, make: Callable) -> None:
        folder = self.folder.stages / name

        def evaluate(step: int) -> Path | None:
            path = self.folder.path / "samples" / f"{name}-{step:06d}"
            shown = self._save_reconstructions(path) if name == "extractor" else self._save_samples(path)
            self.save()
            return shown

        result = load_finished(module, folder, arguments) if self.folder.resume else None
        if result is None:
            data, validation = make()
            result = train(
                module, data, arguments, name, evaluate=evaluate, validation=validation, folder=folder,
                resume=self.folder.resume, report_to=self.report_to,
            )  # fmt: skip
        self.results.append(result)

    def _save_reconstructions(self, path: Path) -> Path | None:
        if not self.samples or not self.model.config.extractor_config.can_decode:
            return None
        column = self.data.target_column
        examples = [each[column] for each, _ in zip(self.data.dataset, self.samples, strict=False)]
        target = self.processor(target=examples)
        target = {name: value.to(self.model.device) for name, value in target.items()}
        back = self.model.extractor.decode(self.model.encode(**target))
        mask = None if back.mask is None else back.mask.cpu()
        found = self.processor.target.from_target(back.values.detach().cpu(), mask)
        captions = [f"reconstruction {i}" for i in range(len(found))]
        return self.processor.target.save_samples(found, captions, path)

    def _save_samples(self, path: Path) -> Path | None:
        if not self.samples:
            return None
        pipeline = RegenerationPipeline(model=self.model, processor=self.processor, device=self.model.device)
        generator = torch.Generator().manual_seed(0)
        found = pipeline(list(self.samples), batch_size=len(self.samples), generator=generator)
        captions = [_shown(sample, f"sample {i}") for i, sample in enumerate(self.samples)]
        return self.processor.target.save_samples(found, captions, path)

    def save(self, finished: bool = False) -> None:
        """The model so far, its summary and its card; on the main process."""
        if not processes().is_main_process:
            return
        summary = summarize(self.model, self.results, self._sizes())
        with atomic_folder(self.folder.path / "model") as new:
            self.model.save_pretrained(new)
            self.processor.save_pretrained(new)
            write_model_card(new, summary, example=self._example())
        save_json(self.folder.path / "training_summary.json", summary)
        if finished:
            self.folder.finish()

    def _sizes(self) -> dict[str, int | None]:
        parts = {"pairs": self.data.dataset, "unpaired": self.data.unpaired, "validation": self.data.validation}
        return {k: None if is_stream(part) else len(part) for k, part in parts.items() if part is not None}

    def _example(self) -> Any:
        example = self.samples[0] if self.samples else next(iter(self.data.dataset))[self.data.source_column]
        return example if _shown(example, "") else "path/to/a/file"


def _shown(example: Any, otherwise: str) -> str:
    """An example of X as text, if it can be read, which a sound cannot."""
    return text if len(text := str(example)) <= LONGEST_CAPTION else otherwise


def _batches(dataset, read: Callable[[dict[str, list]], dict[str, torch.Tensor]]) -> Batches | StreamedBatches:
    """Batches of a dataset or of a stream; `read` takes columns."""
    return (
        StreamedBatches(dataset, read)
        if is_stream(dataset)
        else Batches(len(dataset), lambda rows: read(dataset[rows]))
    )


def _named(name: str, representation: Representation) -> dict[str, torch.Tensor]:
    masked = {} if representation.mask is None else {f"{name}_mask": representation.mask}
    return {name: representation.values, **masked}
