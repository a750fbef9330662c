"""How a stage is trained, and what training it gave."""

import dataclasses
import math

# of `transformers.get_scheduler`, those that need nothing but steps
SCHEDULES = ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant_with_warmup", "inverse_sqrt")
CHOICES = {
    "optimizer": ("adamw", "muon"),
    "mixed_precision": (None, "no", "bf16", "fp16", "auto"),
    "lr_scheduler": SCHEDULES,
    "keep": ("last", "best"),
}
COUNTS = {"max_steps": 1, "batch_size": 1, "gradient_accumulation_steps": 1, "warmup_steps": 0}
COUNTS |= {"num_workers": 0, "seed": 0, "eval_every": 0, "save_every": 0}
SWITCHES = ("gradient_checkpointing", "compile", "group_by_length")
RANGES = {
    "learning_rate": ("above 0", lambda value: 0 < value < math.inf),
    "beta2": ("in [0, 1)", lambda value: 0 <= value < 1),
    "weight_decay": ("at least 0", lambda value: 0 <= value < math.inf),
    "max_grad_norm": ("above 0", lambda value: value > 0),  # infinity clips nothing
    "ema_decay": ("in [0, 1)", lambda value: 0 <= value < 1),
    "predicted": ("in [0, 1]", lambda value: 0 <= value <= 1),
    "seed": ("below 2³²", lambda value: value < 2**32),  # which numpy takes
}


@dataclasses.dataclass
class StageArguments:
    """How one stage is trained.

    Args:
        max_steps: optimizer steps.
        batch_size: examples that a step takes on each process, before accumulation.
        learning_rate: the highest one.
        optimizer: `adamw`, or `muon` (Jordan et al., 2024) for the matrices of repeated blocks beside AdamW for the
            rest; both take the same learning rate.
        beta2: decay of the squared gradients in AdamW.
        weight_decay: of the optimizer, decoupled.
        lr_scheduler: transformers' `linear`, `cosine`, `cosine_with_restarts`, `polynomial`, `constant_with_warmup` or
            `inverse_sqrt`.
        warmup_steps: steps until the learning rate is at its highest; a tenth of all, at most 100, if not given.
        max_grad_norm: gradients are clipped to this norm; infinity clips nothing.
        gradient_accumulation_steps: batches whose gradients are added up to one step.
        gradient_checkpointing: compute activations again in the backward pass, which takes less memory and more time.
        compile: compile the module with `torch.compile`.
        ema_decay: of the moving average of the weights, which is what is kept; 0 keeps the last weights.
        mixed_precision: `no`, `bf16`, `fp16`, or `auto`, which is `bf16` where the device computes in it and else `no`;
            if not given, `accelerate launch` decides.
        group_by_length: put examples of similar length into a batch, so that less is padding.
        num_workers: processes that read data beside the one that trains.
        seed: of the order of the data, of noise and of dropout.
        eval_every: steps between two evaluations; 0 evaluates at the end only.
        save_every: steps between two checkpoints to resume from; 0 saves none before the end of the stage.
        keep: the weights that the stage ends with: `last`, or `best` by the validation loss.
        predicted: the share of examples, growing from 0 to this in the course of the stage, whose Y′ is the one that
            the prior predicts and not the true one; for the decoder.

    Raises:
        ValueError: for an argument of another type or out of its range, by name.
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
    gradient_checkpointing: bool = False
    compile: bool = False
    ema_decay: float = 0.0
    mixed_precision: str | None = None
    group_by_length: bool = False
    num_workers: int = 0
    seed: int = 0
    eval_every: int = 0
    save_every: int = 500
    keep: str = "last"
    predicted: float = 0.0

    def __post_init__(self):
        self._check_types()
        if self.warmup_steps is None:
            self.warmup_steps = min(100, self.max_steps // 10)
        for name, known in CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"`{name}` must be one of {', '.join(map(str, known))}, got {value!r}.")
        for name, (said, holds) in RANGES.items():
            if not holds(value := getattr(self, name)):
                raise ValueError(f"`{name}` must be {said}, got {value}.")
        if not self.warmup_steps < self.max_steps:
            raise ValueError(f"`warmup_steps` must be below max_steps {self.max_steps}, got {self.warmup_steps}.")
        if self.mixed_precision == "fp16" and self.optimizer == "muon":
            raise ValueError("`mixed_precision` must not be 'fp16' with the optimizer 'muon'; take 'bf16'.")
        if self.keep == "best" and not self.eval_every:
            raise ValueError("`keep` is 'best', which has no effect without `eval_every`.")

    def batches_per_step(self, num_processes: int) -> int:
        """Batches that all processes together take in a step."""
        return self.gradient_accumulation_steps * num_processes

    def group(self, num_processes: int) -> int:
        """How many consecutive rows are of similar length: those of a step, or 0."""
        return self.batch_size * self.batches_per_step(num_processes) if self.group_by_length else 0

    def _check_types(self) -> None:
        for name, least in COUNTS.items():
            value = getattr(self, name)
            if value is None and name == "warmup_steps":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"`{name}` must be a whole number of at least {least}, got {value!r}.")
        for name in RANGES:
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
                raise ValueError(f"`{name}` must be a number, got {value!r}.")
        for name in SWITCHES:
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"`{name}` must be True or False, got {value!r}.")
        for name in CHOICES:
            if not isinstance(value := getattr(self, name), str | None):
                raise ValueError(f"`{name}` must be text, got {value!r}.")


@dataclasses.dataclass
class StageResult:
    """What training a stage gave.

    Args:
        name: of the stage.
        losses: `(step, mean loss since the last entry)`.
        validation: `(step, loss on the validation data)`.
        steps: optimizer steps taken.
        seconds: of training alone, without evaluations, all runs of a resumed stage together.
        parameters: how many were trained.
        arguments: the [`StageArguments`], as a dictionary.
        processes: how many trained.
    """

    name: str
    losses: list[tuple[int, float]]
    validation: list[tuple[int, float]]
    steps: int
    seconds: float
    parameters: int
    arguments: dict
    processes: int = 1
