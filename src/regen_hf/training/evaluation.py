"""What is looked at while a module trains: the loss on validation data, the best weights by it, samples."""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from .arguments import StageArguments
from .batches import Batches, batch_seed, seed_all
from .checkpoints import BEST, save_tensors, weights_of
from .trackers import log_file


@contextlib.contextmanager
def in_use(module: nn.Module) -> Iterator[None]:
    """Without dropout and gradients for a while; each module within has its own mode back afterwards."""
    training = [each for each in module.modules() if each.training]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for each in training:
            each.training = True


class Evaluation:
    """Evaluates a module that is in eval mode and has the weights to look at; every process must call it.

    Args:
        accelerator: of the training, whose processes share the validation data and whose trackers are told.
        name: of the training, for the trackers.
        validation: data whose loss is measured, with the same noise each time.
        evaluate: called on the main process with the step; it may return a file of samples to show.
        folder: where `best.safetensors` goes.
    """

    def __init__(
        self,
        module: nn.Module,
        accelerator,
        arguments: StageArguments,
        name: str,
        validation: Batches | None,
        evaluate: Callable[[int], Path | None] | None,
        folder: Path | None,
    ):
        self.module, self.accelerator, self.arguments, self.name = module, accelerator, arguments, name
        self.validation, self.evaluate, self.folder = validation, evaluate, folder

    def measure(self, step: int, measured: list[tuple[int, float]]) -> None:
        """Adds the validation loss of a step to those `measured` before; the best weights are saved.

        Raises:
            FloatingPointError: if the loss is NaN or infinite.
        """
        if self.validation is None:
            return
        loss = self._validation_loss()
        if not math.isfinite(loss):
            raise FloatingPointError(f"the validation loss of {self.name} is {loss} at step {step}.")
        best = all(loss < other for _, other in measured)
        measured.append((step, loss))
        self.accelerator.log({f"{self.name}/validation_loss": loss}, step=step)
        if self.folder is not None and best and self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_tensors(self.folder / BEST, weights_of(self.module))
        self.accelerator.wait_for_everyone()

    @torch.no_grad()
    def _validation_loss(self) -> float:
        from accelerate.utils import send_to_device

        size, length, accelerator = self.arguments.batch_size, len(self.validation), self.accelerator
        starts = list(range(0, length, size))
        order = [(i, list(range(starts[i], min(starts[i] + size, length)))) for i in range(len(starts))]
        own = order[accelerator.process_index :: accelerator.num_processes]
        total = torch.zeros((), device=accelerator.device)
        for (number, rows), batch in zip(own, self.validation.loader(own), strict=True):
            seed_all(batch_seed(self.arguments.seed, "validation", number))
            with accelerator.autocast():
                total += len(rows) * self.module(**send_to_device(batch, accelerator.device)).loss.float()
        return accelerator.reduce(total, "sum").item() / length

    def sample(self, step: int) -> None:
        """Lets the main process make and show samples, while the others wait."""
        if self.evaluate is not None and self.accelerator.is_main_process:
            shown = self.evaluate(step)
            if shown is not None:
                log_file(self.accelerator.trackers, f"{self.name}/samples", shown, step)
        self.accelerator.wait_for_everyone()
