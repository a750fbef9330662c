"""A module that learns a line, and short trainings of it, for tests."""

import torch
from torch import nn

from regen_hf import Batches, LossOutput, StageArguments, train


class Line(nn.Module):
    """y = w x, with one repeated block so that Muon has a matrix to train."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 4)])
        self.out = nn.Linear(4, 1)
        self.seen = []

    def forward(self, x, y):
        self.seen.append(x[:, 0].tolist())
        return LossOutput(loss=(self.out(self.blocks[0](x)) - y).square().mean())


X = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([[1.0], [-2.0], [3.0], [0.5]])


def data(y=Y):
    return Batches(len(X), lambda rows: {"x": X[rows], "y": y[rows]})


def run(
    steps=60, evaluate=None, module=None, y=Y, validation=None, folder=None, resume=False, report_to=(), **arguments
):
    torch.manual_seed(0)
    module = module or Line()
    settings = {"max_steps": steps, "batch_size": 16, "warmup_steps": 2, "learning_rate": 2e-2, **arguments}
    return module, train(
        module, data(y), StageArguments(**settings), evaluate=evaluate, log_every=10,
        validation=validation, folder=folder, resume=resume, report_to=report_to,
    )  # fmt: skip


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


class Noisy(Line):
    """A loss with noise, so that a state of the random numbers that is not continued would be seen."""

    def forward(self, x, y):
        return super().forward(x + 0.1 * torch.randn_like(x), y)


def noisy(seed=0):
    torch.manual_seed(seed)
    return Noisy()
