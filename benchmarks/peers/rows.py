"""What every library is given: the network as a module of positional tensors, and its rows in loaders."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.methods import SHARE
from fimo.problem import Problem, copied
from fimo.rows import Rows

BATCH = 256  # rows
PROJECTION = 512  # of TRAK


class Plain(nn.Module):
    """A network that takes its inputs as positional tensors, as `TensorDataset` gives them.

    Args:
        problem: of which it is the network.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.network = copied(problem.network)
        inputs = problem.train.inputs
        self.names = None if isinstance(inputs, Tensor) else list(inputs)

    def forward(self, *parts: Tensor) -> Tensor:
        """Outputs of some rows, `[row, output]`."""
        return self.network(parts[0] if self.names is None else dict(zip(self.names, parts, strict=True)))


def dataset(rows: Rows) -> TensorDataset:
    """Inputs and targets as tensors."""
    inputs = [rows.inputs] if isinstance(rows.inputs, Tensor) else list(rows.inputs.values())
    return TensorDataset(*inputs, rows.targets)


def loaders(problem: Problem, batch: int = BATCH) -> tuple[DataLoader, DataLoader]:
    """Training rows and tests, in their order."""
    test = dataset(problem.test)
    return DataLoader(dataset(problem.train), batch), DataLoader(test, len(test))


def one_damping(problem: Problem) -> float:
    """A share of the mean squared gradient over all parameters, at some rows."""
    few = problem.train.keep(slice(0, 64))
    model, total = Plain(problem), 0.0
    for *inputs, targets in DataLoader(dataset(few), 1):
        loss = problem.objective.loss(model(*inputs), targets).sum()
        total += sum(float(g.square().sum()) for g in torch.autograd.grad(loss, list(model.parameters())))
    return SHARE.scale * total / len(few) / problem.size
