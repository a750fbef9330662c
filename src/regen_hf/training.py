"""One accelerate loop for every stage."""

import dataclasses
import math
import signal
import time
from collections.abc import Callable
from threading import current_thread, main_thread

import torch
from torch import nn
from tqdm.auto import tqdm

OPTIMIZERS = ("adamw", "muon")
PRECISIONS = (None, "no", "bf16", "fp16")


@dataclasses.dataclass
class StageArguments:
    """How one stage is trained.

    Args:
        max_steps: optimizer steps.
        batch_size: examples a step takes on each process, before accumulation.
        learning_rate: the highest one.
        optimizer: `"adamw"`, or `"muon"` (Jordan et al., 2024) for the matrices of repeated blocks beside AdamW for
            the rest; both take the same `learning_rate`.
        beta2, weight_decay: of the optimizer.
        lr_scheduler: a schedule of `transformers.get_scheduler`, such as `"linear"` or `"cosine"`.
        warmup_steps: steps until the learning rate is at its highest; a tenth of all, at most 100, if not given.
        max_grad_norm: gradients are clipped to this norm.
        gradient_accumulation_steps: batches whose gradients are added up to one step.
        ema_decay: of the moving average of the weights, which is what is kept; 0 keeps the last weights.
        mixed_precision: `"no"`, `"bf16"` or `"fp16"`; `None` leaves it to `accelerate launch`.
        seed: of the order of the data, of noise and of dropout.
        eval_every: steps between two evaluations; 0 evaluates at the end only.
    """

    max_steps: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    optimizer: str = "adamw"
    beta2: float = 0.95
    weight_decay: float = 0.01
    lr_scheduler: str = "linear"
    warmup_steps: int | None = None
    max_grad_norm: float = 1.0
    gradient_accumulation_steps: int = 1
    ema_decay: float = 0.0
    mixed_precision: str | None = None
    seed: int = 0
    eval_every: int = 0

    def __post_init__(self):
        for name in ("max_steps", "batch_size", "gradient_accumulation_steps"):
            if not isinstance(value := getattr(self, name), int) or value < 1:
                raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}.")
        from transformers import SchedulerType

        if self.warmup_steps is None:
            self.warmup_steps = min(100, self.max_steps // 10)
        schedulers = [scheduler.value for scheduler in SchedulerType]
        for name, known in (("optimizer", OPTIMIZERS), ("mixed_precision", PRECISIONS), ("lr_scheduler", schedulers)):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"`{name}` must be one of {', '.join(map(str, known))}, got {value!r}.")
        if not 0 <= self.warmup_steps < self.max_steps:
            raise ValueError(f"`warmup_steps` must be below max_steps {self.max_steps}, got {self.warmup_steps}.")
        if self.mixed_precision == "fp16" and self.optimizer == "muon":
            raise ValueError("`mixed_precision` must not be 'fp16' with the optimizer 'muon'; take 'bf16'.")
        if not self.max_grad_norm > 0:
            raise ValueError(f"`max_grad_norm` must be above 0, got {self.max_grad_norm}; infinity clips nothing.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"`ema_decay` must be in [0, 1), got {self.ema_decay}.")
        if not self.learning_rate > 0:
            raise ValueError(f"`learning_rate` must be above 0, got {self.learning_rate}.")


@dataclasses.dataclass
class StageResult:
    """What training a stage gave: losses as `(step, mean loss since the last entry)`, steps, seconds, parameters.

    The seconds are those of training alone, without evaluations.
    """

    name: str
    losses: list[tuple[int, float]]
    steps: int
    seconds: float
    parameters: int


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C, after everything was saved; the message says where."""


class Batches(torch.utils.data.Dataset):
    """A dataset that is read a batch at a time: `read` turns row numbers into a batch of tensors."""

    def __init__(self, length: int, read: Callable[[list[int]], dict[str, torch.Tensor]]):
        self.length, self.read = length, read

    def __len__(self) -> int:
        return self.length

    def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        return dict(self.read(indices))


def train(
    module: nn.Module,
    data: Batches,
    arguments: StageArguments,
    name: str = "training",
    evaluate: Callable[[int], None] | None = None,
    log_every: int = 20,
) -> StageResult:
    """Trains any module whose `forward` takes a batch and returns an output with a `loss`.

    Every parameter that requires a gradient is trained. At the end, and while `evaluate` is called, the weights are
    their moving average, where there is one. Ctrl-C ends training early, with the weights ready to be saved, and is
    raised again.

    Raises:
        FloatingPointError: if the loss is NaN or infinite.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import GradientAccumulationPlugin, set_seed

    set_seed(arguments.seed)
    AcceleratorState._reset_state()  # else every stage of a process has the precision of the first
    accelerator = Accelerator(
        mixed_precision=arguments.mixed_precision,
        # without `sync_with_dataloader`, the last step of a pass would add up fewer batches than the others
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=arguments.gradient_accumulation_steps, sync_with_dataloader=False
        ),
        step_scheduler_with_optimizer=False,
    )
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizers = make_optimizers(module, arguments)
    schedules = [_make_schedule(optimizer, arguments) for optimizer in optimizers]
    average = _make_average(parameters, arguments)
    loader = torch.utils.data.DataLoader(
        data,
        batch_size=arguments.batch_size,
        shuffle=True,
        drop_last=len(data) >= arguments.batch_size,
        collate_fn=lambda batch: batch,
        generator=torch.Generator().manual_seed(arguments.seed),
    )
    prepared, loader, *optimizers = accelerator.prepare(module, loader, *optimizers)
    if average is not None:
        average.to(accelerator.device)
    losses, recent, started, evaluating, step = [], [], time.perf_counter(), 0.0, 0
    bar = tqdm(total=arguments.max_steps, desc=name, unit="step", disable=not accelerator.is_main_process)
    module.train()
    stop = _StopAfterStep()
    try:
        for batch in _endless(loader):
            with accelerator.accumulate(prepared):
                loss = prepared(**batch).loss
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(parameters, arguments.max_grad_norm)
                for optimizer in optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
            recent.append(loss.detach())
            if not accelerator.sync_gradients:
                continue
            step += 1
            for schedule in schedules:
                schedule.step()
            if average is not None:
                average.step(parameters)
            bar.update()
            if step % log_every == 0 or step == arguments.max_steps:
                losses.append((step, _mean(recent, name, step, schedules[0].get_last_lr()[0])))
                recent = []
                bar.set_postfix(loss=f"{losses[-1][1]:.4f}")
            if step == arguments.max_steps:
                break
            if evaluate is not None and arguments.eval_every and step % arguments.eval_every == 0:
                paused = time.perf_counter()
                if recent:
                    _mean(recent, name, step, schedules[0].get_last_lr()[0])  # nothing is saved after a loss of NaN
                with _averaged(average, parameters):
                    module.eval()
                    evaluate(step)
                    module.train()
                evaluating += time.perf_counter() - paused
            stop.check()
    finally:
        stop.close()
        bar.close()
        if average is not None:
            average.copy_to(parameters)
        accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)
        vars(module).pop("forward", None)  # accelerate leaves its own on the instance
        module.eval()
    seconds = time.perf_counter() - started - evaluating
    if evaluate is not None:
        evaluate(step)
    return StageResult(name, losses, step, seconds, sum(p.numel() for p in parameters))


def make_optimizers(module: nn.Module, arguments: StageArguments) -> list[torch.optim.Optimizer]:
    """AdamW, or Muon for the weight matrices of repeated blocks and AdamW for the rest."""
    trained = [p for p in module.parameters() if p.requires_grad]
    if not trained:
        raise ValueError(f"{type(module).__name__} has no parameter to train.")
    blocks = [block for block in module.modules() if isinstance(block, nn.ModuleList)]
    linears = (m for block in blocks for m in block.modules() if isinstance(m, nn.Linear))
    matrices = {id(m.weight): m.weight for m in linears if m.weight.requires_grad}
    if arguments.optimizer == "adamw":
        matrices = {}
    shared = {"lr": arguments.learning_rate, "weight_decay": arguments.weight_decay}
    rest = [p for p in trained if id(p) not in matrices]
    optimizers = [torch.optim.AdamW(rest, betas=(0.9, arguments.beta2), fused=True, **shared)]
    if matrices:
        optimizers.append(torch.optim.Muon(list(matrices.values()), adjust_lr_fn="match_rms_adamw", **shared))
    return optimizers


def _make_schedule(optimizer: torch.optim.Optimizer, arguments: StageArguments):
    from transformers import get_scheduler

    return get_scheduler(arguments.lr_scheduler, optimizer, arguments.warmup_steps, arguments.max_steps)


def _make_average(parameters: list[nn.Parameter], arguments: StageArguments):
    if not arguments.ema_decay:
        return None
    from diffusers.training_utils import EMAModel

    return EMAModel(parameters, decay=arguments.ema_decay, foreach=True)


class _StopAfterStep:
    """Lets the first Ctrl-C wait until a step is whole; a second one does not wait."""

    def __init__(self):
        self.pressed = False
        self.previous = signal.getsignal(signal.SIGINT)
        # a background job ignores Ctrl-C, and only the main thread may listen to it
        self.listens = self.previous is signal.default_int_handler and current_thread() is main_thread()
        if self.listens:
            signal.signal(signal.SIGINT, self._press)

    def _press(self, *_) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True

    def check(self) -> None:
        if self.pressed:
            raise KeyboardInterrupt

    def close(self) -> None:
        if self.listens:
            signal.signal(signal.SIGINT, self.previous)


class _averaged:
    """Puts the moving average in the place of the weights for a while."""

    def __init__(self, average, parameters: list[nn.Parameter]):
        self.average, self.parameters = average, parameters

    def __enter__(self):
        if self.average is not None:
            self.average.store(self.parameters)
            self.average.copy_to(self.parameters)

    def __exit__(self, *error):
        if self.average is not None:
            self.average.restore(self.parameters)


def _endless(loader):
    while True:
        yield from loader


def _mean(recent: list[torch.Tensor], name: str, step: int, learning_rate: float) -> float:
    loss = torch.stack(recent).float().mean().item()
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss of {name} is {loss} at step {step}, learning rate {learning_rate:.2e}.")
    return loss
