"""What a run gives: the model with its card, a summary, samples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..modeling_regeneration import RegenerationModel
from ..pipeline_regeneration import RegenerationPipeline
from ..processing_regeneration import RegenerationProcessor
from ..runtime.files import atomic_folder, files_below
from ..runtime.processes import processes
from ..sharing.model_card import write_model_card
from ..sharing.summary import summarize
from ..training.arguments import StageResult
from ..training.checkpoints import save_json
from ..training.run_folder import SUMMARY, RunFolder
from .data import RunData

LONGEST_CAPTION = 300


class RunOutput:
    """Keeps in the folder of a run what it has come to.

    Args:
        samples: some X to generate for.
        license: of the weights, for the card.
    """

    def __init__(
        self,
        model: RegenerationModel,
        processor: RegenerationProcessor,
        data: RunData,
        folder: RunFolder,
        samples: Sequence[Any],
        license: str | None = None,
    ):
        self.model, self.processor, self.data, self.folder = model, processor, data, folder
        self.samples, self.license = samples, license

    def save(self, results: Sequence[StageResult], finished: bool = False) -> None:
        """The model so far, its summary and its card; on the main process."""
        if not processes().is_main_process or (finished and self.folder.finished and self.folder.model.is_dir()):
            return  # what has been finished before stays as it is
        summary = summarize(self.model, results, self.data.sizes)
        with atomic_folder(self.folder.model, self.folder.model_files) as new:
            self.model.save_pretrained(new)
            self.processor.save_pretrained(new)
            write_model_card(new, summary, example=self._example(), license=self.license)
            self.folder.note_model(files_below(new))
        self.model.home = str(self.folder.model)  # where its card is, for the Hub
        save_json(self.folder.path / SUMMARY, summary)
        if finished:
            self.folder.finish()

    def save_samples(self, stage: str, step: int) -> Path | None:
        """What the model makes of the samples at a step of a stage: the file, if there is one."""
        if not self.samples:
            return None
        path = self.folder.path / "samples" / f"{stage}-{step:06d}"
        return self._save_reconstructions(path) if stage == "extractor" else self._save_generated(path)

    def _save_reconstructions(self, path: Path) -> Path | None:
        if not self.model.config.extractor_config.can_decode:
            return None
        column = self.data.target_column
        examples = [each[column] for each, _ in zip(self.data.pairs, self.samples, strict=False)]
        target = self.processor(target=examples)
        target = {name: value.to(self.model.device) for name, value in target.items()}
        back = self.model.extractor.decode(self.model.encode(**target))
        mask = None if back.mask is None else back.mask.cpu()
        found = self.processor.target.from_target(back.values.detach().cpu(), mask)
        captions = [f"reconstruction {i}" for i in range(len(found))]
        return self.processor.target.save_samples(found, captions, path)

    def _save_generated(self, path: Path) -> Path:
        pipeline = RegenerationPipeline(model=self.model, processor=self.processor, device=self.model.device)
        generator = torch.Generator().manual_seed(0)
        found = pipeline(list(self.samples), batch_size=len(self.samples), generator=generator)
        captions = [_shown(sample, f"sample {i}") for i, sample in enumerate(self.samples)]
        return self.processor.target.save_samples(found, captions, path)

    def _example(self) -> Any:
        example = self.samples[0] if self.samples else next(iter(self.data.pairs))[self.data.source_column]
        return example if _shown(example, "") else "path/to/a/file"


def _shown(example: Any, otherwise: str) -> str:
    """An example of X as text, if it can be read, which a sound cannot."""
    return text if len(text := str(example)) <= LONGEST_CAPTION else otherwise
