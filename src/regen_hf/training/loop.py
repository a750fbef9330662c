"""One accelerate loop for every stage."""

import dataclasses
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import nn
from tqdm.auto import tqdm

from .accelerators import computes_bf16, keep_in_float32, make_accelerator, undisturbed
from .arguments import StageArguments, StageResult
from .batches import Batches, StreamedBatches, batch_seed, seed_all
from .checkpoints import (
    BEST,
    Progress,
    check_same,
    clear,
    gather_state,
    load_checkpoint,
    load_finished,
    restore_state,
    save_checkpoint,
    save_finished,
)
from .evaluation import Evaluation
from .interruption import StopAfterStep, TrainingInterrupted
from .optimizers import averaged, make_average, make_optimizers, make_schedule
from .sharding import copy_weights, is_sharded, sharding_copy
from .trackers import check_trackers, start_trackers


@undisturbed()
def train(
    module: nn.Module,
    data: Batches | StreamedBatches,
    arguments: StageArguments,
    name: str = "training",
    *,
    evaluate: Callable[[int], Path | None] | None = None,
    validation: Batches | None = None,
    folder: Path | None = None,
    resume: bool = False,
    report_to: Sequence[str] = (),
    log_every: int = 20,
) -> StageResult:
    """Trains any module whose `forward` takes a batch and returns an output with a `loss`.

    Every parameter that requires a gradient is trained, and is in float32 from then on. At the end, and while
    `evaluate` is called, the weights are their moving average, where there is one. Batches and noise are functions of
    the seed and the number of the batch, so on the same hardware a resumed run ends with the very weights of one that
    was never interrupted. Ctrl-C and SIGTERM end training after the step, save a checkpoint, leave the weights ready to
    be saved and raise. What belongs to the process is left as it was: its random numbers, its environment, an
    `Accelerator` of the caller's.

    Args:
        evaluate: called on the main process at each evaluation with the step; it may return a file to show.
        validation: data whose loss is measured at each evaluation, with the same noise each time.
        folder: where checkpoints go: the latest, the `best.safetensors` by validation, and what the stage ends with.
        resume: go on from what `folder` holds, if it holds anything.
        report_to: names of accelerate's trackers, such as `"tensorboard"` or `"trackio"`; files go to `folder/logs`.
        log_every: steps between two entries of the loss.

    Raises:
        FloatingPointError: if the loss or weights are NaN or infinite.
        ValueError: if `resume` finds a stage that was begun with other arguments, naming them.
        TrainingInterrupted: on Ctrl-C or SIGTERM, after a whole step; a `KeyboardInterrupt` before the module holds
            what it goes on from.
    """
    if folder is None and (resume or report_to):
        raise ValueError(f"`folder` is missing: `{'resume' if resume else 'report_to'}` needs one.")
    check_trackers(report_to)
    if arguments.keep == "best" and (validation is None or folder is None):
        raise ValueError("`keep` is 'best', which needs validation data and a folder.")
    if arguments.gradient_checkpointing and not getattr(module, "supports_gradient_checkpointing", False):
        raise ValueError(f"`gradient_checkpointing` is not possible with {type(module).__name__}.")
    keep_in_float32(module, name)
    if resume and (result := load_finished(module, folder, arguments)):
        return result
    loop = _Loop(module, data, arguments, name, evaluate, validation, folder, report_to, log_every)
    try:
        loop.prepare()
        if folder is not None:
            loop.resume() if resume else loop.clear()
    except BaseException:
        loop.release()
        raise
    try:
        return loop.run()
    except KeyboardInterrupt as interrupt:
        raise TrainingInterrupted(f"{name} was interrupted at step {loop.progress.step}.") from interrupt


class _Loop:
    def __init__(self, module, data, arguments, name, evaluate, validation, folder, report_to, log_every):
        self.module, self.data, self.arguments, self.name = module, data, arguments, name
        self.folder, self.log_every = folder, log_every
        self.accelerator = make_accelerator(arguments, report_to, folder)
        self.progress, self.prepared, self.average, self.report_to = Progress(), module, None, report_to
        self.evaluation = Evaluation(module, self.accelerator, arguments, name, validation, evaluate, folder)

    def prepare(self) -> None:
        """Makes the module ready to be trained, until it is released."""
        trained, self.sharded = self.module, is_sharded(self.accelerator)
        if self.sharded:  # the module gets the weights of the copy when they are needed
            trained = sharding_copy(self.module)
            self.module.to(self.accelerator.device)
        if self.arguments.gradient_checkpointing:
            trained.activation_checkpointing_enable()
        optimizers = make_optimizers(trained, self.arguments, computes_bf16())
        self.schedules = [make_schedule(optimizer, self.arguments) for optimizer in optimizers]
        self.prepared, *self.optimizers = self.accelerator.prepare(trained, *optimizers)
        self.parameters = [p for p in self.prepared.parameters() if p.requires_grad]
        self.average = make_average(self.parameters, self.arguments)
        if self.average is not None:
            self.average.to(self.accelerator.device)
        if self.arguments.compile:
            self.prepared.compile()
        if self.report_to:
            start_trackers(self.accelerator, self.report_to, self.arguments, self.folder)

    def resume(self) -> None:
        """Goes on from the latest checkpoint, if there is one."""
        found = load_checkpoint(self.folder)
        if found is None:
            return
        state, facts = found
        kept = ("batches_per_step", "processes", "precision")
        before, now = ({**each["arguments"], **{name: each[name] for name in kept}} for each in (facts, self._facts()))
        check_same(self.folder, before, now)
        restore_state(state, self.prepared, [each.optimizer for each in self.optimizers], self.average)
        self.progress = Progress(**facts["progress"])
        for schedule in self.schedules:
            schedule.last_epoch = self.progress.step - 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that a schedule moves before its optimizer
                schedule.step()
        if self.average is not None:
            self.average.optimization_step = facts["average_step"]
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(facts["scaler"])

    def clear(self) -> None:
        """Removes what another run left."""
        if self.accelerator.is_main_process and self.folder.is_dir():
            clear(self.folder)
        self.accelerator.wait_for_everyone()

    def run(self) -> StageResult:
        arguments, progress = self.arguments, self.progress
        batches = self._batches()
        bar = tqdm(
            total=arguments.max_steps, initial=progress.step, desc=self.name, unit="step",
            disable=not self.accelerator.is_main_process,
        )  # fmt: skip
        stop, stopping = StopAfterStep(), False
        self.prepared.train()
        self.clock = time.perf_counter()
        try:
            while progress.step < arguments.max_steps:
                self._step(batches)
                bar.update()
                logged = progress.step % self.log_every == 0 or progress.step == arguments.max_steps
                # several processes agree when to stop where they exchange their losses anyway
                stopping = stop.pressed
                if logged:
                    stopping = self._log(stop.pressed)
                    bar.set_postfix(loss=f"{progress.losses[-1][1]:.4f}")
                if progress.step < arguments.max_steps:
                    self._between(stopping and (logged or self.accelerator.num_processes == 1))
            self._pause()
            self._check_weights()
            self._restore_module()
        except KeyboardInterrupt:
            self._restore_module()
            raise
        except BaseException:
            self._restore_module(together=False)
            raise
        finally:
            stop.close()
            bar.close()
            if progress.step < arguments.max_steps:
                self._finish_trackers()
        result = self._finish()
        if stopping:  # asked for in the last step
            raise KeyboardInterrupt
        return result

    def _batches(self) -> Iterator[dict[str, torch.Tensor]]:
        arguments, processes = self.arguments, self.accelerator.num_processes
        return self.data.endless(
            arguments.batch_size,
            arguments.seed,
            start=self.progress.step * arguments.gradient_accumulation_steps,
            process_index=self.accelerator.process_index,
            num_processes=processes,
            group=arguments.group(processes),
            num_workers=arguments.num_workers,
        )

    def _step(self, batches: Iterator[dict[str, torch.Tensor]]) -> None:
        """One step of the optimizers."""
        from accelerate.utils import send_to_device

        accelerator, arguments = self.accelerator, self.arguments
        for i in range(arguments.gradient_accumulation_steps):
            own = self.progress.step * arguments.gradient_accumulation_steps + i
            number = own * accelerator.num_processes + accelerator.process_index
            batch = send_to_device(next(batches), accelerator.device)
            seed_all(batch_seed(arguments.seed, "noise", number))
            with accelerator.accumulate(self.prepared):
                output = self.prepared(**batch)
                accelerator.backward(output.loss)
                if accelerator.sync_gradients:
                    self.gradient_norm = accelerator.clip_grad_norm_(self.parameters, arguments.max_grad_norm)
                for optimizer in self.optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
            self.progress.recent.append(output.loss.detach())
        self.terms = output.terms if self.accelerator.trackers and "terms" in output else None
        for schedule in self.schedules:
            schedule.step()
        if self.average is not None:
            self.average.step(self.parameters)
        self.progress.step += 1

    def _log(self, pressed: bool) -> bool:
        loss, stopping = self._mean(pressed)
        progress = self.progress
        progress.losses.append((progress.step, loss))
        progress.recent = []
        if self.accelerator.trackers:
            rows = self.arguments.batch_size * self.arguments.batches_per_step(self.accelerator.num_processes)
            seconds = progress.seconds + time.perf_counter() - self.clock
            values = {
                "loss": loss,
                "learning_rate": self.schedules[0].get_last_lr()[0],
                "gradient_norm": float(self.gradient_norm),
                "examples_per_second": progress.step * rows / seconds,
                **{name: float(term) for name, term in (self.terms or {}).items()},
            }
            self.accelerator.log({f"{self.name}/{key}": value for key, value in values.items()}, step=progress.step)
        return stopping

    def _mean(self, pressed: bool = False) -> tuple[float, bool]:
        """The mean of the losses since the last entry, over all processes, and whether any wants to stop."""
        recent = self._recent()
        if not recent:
            return math.nan, pressed
        loss = statistics.fmean(recent)
        if self.accelerator.num_processes > 1:
            own = torch.tensor([loss, float(pressed)], device=self.accelerator.device)
            loss, pressed = self.accelerator.reduce(own, "mean").tolist()
        if not math.isfinite(loss):
            raise self._diverged(f"the loss of {self.name} is {loss}")
        return loss, pressed > 0

    def _check_weights(self) -> None:
        """Raises `FloatingPointError` for weights that are NaN or infinite, which the loss says a step later only."""
        own = (p.to_local() if hasattr(p, "to_local") else p for p in self.parameters)
        if not all(each.detach().isfinite().all() for each in own):
            raise self._diverged(f"weights of {self.name} are NaN or infinite")

    def _diverged(self, what: str) -> FloatingPointError:
        rate = self.schedules[0].get_last_lr()[0]
        return FloatingPointError(
            f"{what} at step {self.progress.step}, learning rate {rate:.2e}. Nothing of it is saved: begin again with "
            "a lower `learning_rate` or `max_grad_norm`, a longer warm-up (`warmup_steps`), or, in 16 bits, without "
            "`mixed_precision`."
        )

    def _recent(self) -> list[float]:
        """The losses since the last entry, read from the device in one go."""
        on_device = [loss for loss in self.progress.recent if torch.is_tensor(loss)]
        known = [loss for loss in self.progress.recent if not torch.is_tensor(loss)]
        self.progress.recent = known + (torch.stack(on_device).float().tolist() if on_device else [])
        return self.progress.recent

    def _between(self, stopping: bool) -> None:
        """What is due between two steps."""
        step, arguments = self.progress.step, self.arguments
        if arguments.eval_every and step % arguments.eval_every == 0:
            self._pause()
            self._mean()  # nothing is saved after a loss of NaN
            self._check_weights()
            with averaged(self.average, self.parameters):
                self._copy_sharded()
                self.module.eval()
                self.evaluation.measure(step, self.progress.validation)
                self.evaluation.sample(step)
            self.prepared.train()
            self.clock = time.perf_counter()
        if self.folder is not None and (stopping or (arguments.save_every and step % arguments.save_every == 0)):
            self._save()
        if stopping:
            raise KeyboardInterrupt

    def _save(self) -> None:
        self._pause()
        self._check_weights()
        if self.progress.recent:
            loss, _ = self._mean()
            if self.accelerator.num_processes > 1:  # one of them writes, for all
                self.progress.recent = [loss] * len(self.progress.recent)
        state = gather_state(self.prepared, [each.optimizer for each in self.optimizers], self.average)
        if self.accelerator.is_main_process:
            facts = {"progress": dataclasses.asdict(self.progress), **self._facts()}
            save_checkpoint(self.folder, self.progress.step, state, facts)
        self.accelerator.wait_for_everyone()

    def _facts(self) -> dict:
        return {
            "arguments": dataclasses.asdict(self.arguments),
            # processes may change if they make up for it with accumulation
            "batches_per_step": self.arguments.batches_per_step(self.accelerator.num_processes),
            # a stream is dealt out to processes as it comes
            "processes": self.accelerator.num_processes if isinstance(self.data, StreamedBatches) else None,
            "precision": self.accelerator.mixed_precision,
            "scaler": None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),
            "average_step": None if self.average is None else self.average.optimization_step,
        }

    def _pause(self) -> None:
        """Stops the clock of training."""
        now = time.perf_counter()
        self.progress.seconds, self.clock = self.progress.seconds + now - self.clock, now

    def _copy_sharded(self) -> None:
        if self.sharded:
            copy_weights(self.prepared, self.module)

    def _restore_module(self, together: bool = True) -> None:
        """Leaves the module as it came, with the weights that are kept; not `together` where one process failed."""
        if self.average is not None:
            self.average.copy_to(self.parameters)
        if together:
            self._copy_sharded()
        self.release()
        self.module.eval()

    def release(self) -> None:
        """Takes back what [`_Loop.prepare`] did to the module, as far as it came."""
        if self.arguments.compile:
            self.prepared._compiled_call_impl = None
        self.accelerator.unwrap_model(self.prepared, keep_fp32_wrapper=False, keep_torch_compile=False)
        vars(self.module).pop("forward", None)  # accelerate leaves its own on the instance
        if self.arguments.gradient_checkpointing:
            self.module.activation_checkpointing_disable()

    def _finish(self) -> StageResult:
        progress, main = self.progress, self.accelerator.is_main_process
        self.evaluation.measure(progress.step, progress.validation)
        if self.arguments.keep == "best":
            from safetensors.torch import load_file

            self.module.load_state_dict(load_file(str(self.folder / BEST)))
        result = StageResult(
            name=self.name,
            losses=[tuple(pair) for pair in progress.losses],
            validation=[tuple(pair) for pair in progress.validation],
            steps=progress.step,
            seconds=progress.seconds,
            parameters=sum(p.numel() for p in self.module.parameters() if p.requires_grad),
            arguments=dataclasses.asdict(self.arguments),
            processes=self.accelerator.num_processes,
        )
        if self.folder is not None and main:
            save_finished(self.folder, self.module, result)
        self.evaluation.sample(progress.step)  # after the stage is safe
        self._finish_trackers()
        return result

    def _finish_trackers(self) -> None:
        for tracker in self.accelerator.trackers:
            tracker.finish()
