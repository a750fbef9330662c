"""A whole regenerator trained from data: learn Y′, extract it, learn the prior, learn the decoder, tune all."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from ..cache.representations import RepresentationCache
from ..losses import ExtractorWithLosses
from ..modeling_regeneration import RegenerationModel
from ..processing_regeneration import RegenerationProcessor
from ..runtime.processes import processes
from ..training.accelerators import keep_in_float32, undisturbed
from ..training.arguments import StageArguments, StageResult
from ..training.batches import seed_all
from ..training.checkpoints import load_finished
from ..training.interruption import TrainingInterrupted
from ..training.loop import train
from ..training.run_folder import RunFolder
from ..training.trackers import check_trackers
from .checks import check_keepable, check_stages, identity, needed_bytes
from .data import RunData
from .fitting import StatisticsFitting
from .inputs import StageInputs
from .joint import JointModel
from .lora import has_adapters
from .matching import check_source, check_target_lengths
from .output import RunOutput


@undisturbed()
def train_regenerator(
    model: RegenerationModel, processor: RegenerationProcessor, dataset, output_folder: str | os.PathLike, *,
    source_column: str, target_column: str,
    extractor: StageArguments | None = None, prior: StageArguments | None = None,
    decoder: StageArguments | None = None, joint: StageArguments | None = None,
    unpaired=None, validation=None, representations: RepresentationCache | None = None,
    extractor_losses: Sequence[nn.Module] = (), samples: Sequence[Any] = (),
    on_bad_example: str = "raise", measure_statistics: bool = False, resume: bool = False, overwrite: bool = False,
    report_to: Sequence[str] = (), license: str | None = None,
) -> list[StageResult]:  # fmt: skip
    """Trains the stages that have arguments, in their order, and keeps what they give.

    `output_folder` then holds `model/` (what `pipeline("regeneration")` reads, with a card), `representations/` (the
    extracted Y′), `samples/` (what was generated at each evaluation), `stages/` (what each stage needs to be resumed,
    its logs and its best weights) and `training_summary.json`. Under `accelerate launch` or `torchrun` all processes
    call it alike. What belongs to the process is left as it was, as [`train`] leaves it.

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
        measure_statistics: measure mean and deviation of Y′ and of Y again for the parts that are trained. Those that
            a part has belong to its weights, or to the autoencoder whose config says them, and are kept otherwise.
        resume: go on where the run in `output_folder` was interrupted; begin where there is none.
        overwrite: begin anew where there is a run in `output_folder`. It replaces what that run made, and nothing else.
        report_to: names of accelerate's trackers, such as `"tensorboard"` or `"trackio"`.
        license: of the weights, for the card, by its name on the Hub; it must allow for those of the parts and data.

    Raises:
        ValueError: for a column that is missing, an example that cannot be read, an argument that would have no
            effect, a run that was begun otherwise, or an `output_folder` that holds a run where neither `resume` nor
            `overwrite` is given, or something that no run made; before anything is trained.
        OSError: if `output_folder` cannot be written to or is in use, before anything is trained; or if its disk is
            full later, after which `resume` goes on.
        TrainingInterrupted: on Ctrl-C or SIGTERM, after saving what was trained.
    """
    asked = {"extractor": extractor, "prior": prior, "decoder": decoder, "joint": joint}
    asked = {name: arguments for name, arguments in asked.items() if arguments is not None}
    data = RunData(dataset, source_column, target_column, unpaired, validation, representations)
    check_stages(model, asked, data, extractor_losses, measure_statistics)
    check_keepable(model, processor)
    check_trackers(report_to)
    if samples:
        processor(source=list(samples))
    folder = RunFolder(output_folder, resume, overwrite)
    with folder.claimed(0 if resume else needed_bytes(model, data)):
        data = data.checked(model, processor, on_bad_example)
        if asked.keys() & {"decoder", "joint"}:
            check_target_lengths(model, processor, data.pairs, target_column)
        if samples or asked.keys() & {"prior", "joint"} or any(each.predicted for each in asked.values()):
            check_source(model, processor, next(iter(data.pairs))[source_column])
        stale = model.extractor.config.normalization if "extractor" in asked else None
        fitting = StatisticsFitting(measure_statistics, has_adapters(model), stale)
        run = _Run(model, processor, data, folder, samples, extractor_losses, report_to, license, fitting)
        found = folder.found or {}
        contents, facts = data.contents(found)
        begun = found.get("identity")
        common = identity(model, processor, asked, data, extractor_losses, measure_statistics, begun) | contents
        folder.begin(common, run.learners, facts)
        return run.train(asked)


class _Run:
    """The stages of one run, in their order."""

    def __init__(self, model, processor, data, folder, samples, losses, report_to, license, fitting):
        self.model, self.folder, self.losses, self.report_to = model, folder, losses, report_to
        self.inputs = StageInputs(model, processor, data, folder.path / "representations", fitting)
        self.output = RunOutput(model, processor, data, folder, samples, license)
        self.results: list[StageResult] = []
        self.trained = False  # by this run; stages that were finished before are loaded

    @property
    def learners(self) -> nn.Module:
        """Everything that may learn, whose start a resumed run goes back to."""
        return nn.ModuleDict({"model": self.model, "losses": nn.ModuleList(self.losses)})

    def train(self, asked: Mapping[str, StageArguments]) -> list[StageResult]:
        """Trains the stages that are asked for, and keeps what they give."""
        self.model.to(processes().device)  # as a whole: `train` moves the part that it trains only
        stages = {
            "extractor": self._train_extractor,
            "prior": self._train_prior,
            "decoder": self._train_decoder,
            "joint": self._train_joint,
        }
        try:
            for name, arguments in asked.items():
                stages[name](arguments)
        except KeyboardInterrupt as interrupt:
            if self.trained or isinstance(interrupt, TrainingInterrupted):  # else the model is behind what is saved
                self.output.save(self.results)
                state = f"the model so far is in {self.folder.model}"
            else:
                state = "nothing was trained yet, so that what is saved stays as it was"
            raise TrainingInterrupted(
                f"training was interrupted; {state}, and `resume=True` (`--resume`) goes on from here."
            ) from interrupt
        self.output.save(self.results, finished=True)
        return self.results

    def _train_extractor(self, arguments: StageArguments) -> None:
        """Y′ from Y alone, paired or not."""
        module = ExtractorWithLosses(self.model.extractor, self.losses) if self.losses else self.model.extractor
        module.to(self.model.device)
        self._train("extractor", module, arguments, self.inputs.extractor)

    def _train_prior(self, arguments: StageArguments) -> None:
        """X→Y′ from pairs, on Y′ that is extracted once."""
        self._train("prior", self.model.prior, arguments, self.inputs.prior)

    def _train_decoder(self, arguments: StageArguments) -> None:
        """Y′→Y from Y alone, paired or not, and from predictions of pairs."""
        with _frozen(self.model.decoder_model.without_gradient):
            self._train("decoder", self.model.decoder_model, arguments, lambda: self.inputs.decoder(arguments))

    def _train_joint(self, arguments: StageArguments) -> None:
        """All parts at once, on pairs."""
        self._train("joint", JointModel(self.model), arguments, self.inputs.joint)

    def _train(self, name: str, module: nn.Module, arguments: StageArguments, read: Callable[[], tuple]) -> None:
        folder = self.folder.stages / name
        for part in (
            (self.model.extractor, self.model.prior, self.model.decoder_model) if name == "joint" else (module,)
        ):
            if part is not None:  # in joint training the parts that are frozen keep their dtype
                keep_in_float32(part, name)

        def evaluate(step: int) -> Path | None:
            shown = self.output.save_samples(name, step)
            self.output.save(self.results)
            return shown

        result = load_finished(module, folder, arguments) if self.folder.resume else None
        if result is not None:
            self.inputs.fitting.loaded(module)
        else:
            seed_all(arguments.seed)  # of what a dataset's own transform draws
            data, validation = read()
            result = train(
                module, data, arguments, name, evaluate=evaluate, validation=validation, folder=folder,
                resume=self.folder.resume, report_to=self.report_to,
            )  # fmt: skip
            self.trained = True
        self.results.append(result)


@contextmanager
def _frozen(parts: Sequence[nn.Module]) -> Iterator[None]:
    """Freezes parts for a while; what was frozen before stays so."""
    trained = [p for part in parts for p in part.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
