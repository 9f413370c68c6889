"""Slow, obvious twins of what the package does fast: single runs, one example at a time, explicit loops."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, Sampler, TensorDataset

from fimo.models.objective import Objective
from fimo.problem import Problem
from fimo.rows import Inputs, Rows, map_inputs

Array = NDArray[np.float64]


class Without(Sampler):
    """torch's own random order, with one row removed from each epoch's permutation.

    Args:
        rows: how many there are.
        generator: draws the order.
        removed: the row that is removed; None for none.
    """

    def __init__(self, rows: int, generator: torch.Generator, removed: int | None) -> None:
        self.sampler = RandomSampler(range(rows), generator=generator)
        self.rows, self.removed = rows, removed

    def __iter__(self) -> Iterator[int]:
        return (row for row in self.sampler if row != self.removed)

    def __len__(self) -> int:
        return self.rows - (self.removed is not None)


def further_training(
    problem: Problem,
    optimizer: Callable[..., torch.optim.Optimizer],
    epochs: int,
    batch_size: int,
    scheme: str,
    seed: int,
    left_out: int | None = None,
    clip: float | None = None,
    evaluated: Sequence[int] | None = None,
    draw: Callable[..., Any] | None = None,
    weight: float = 1,
) -> Tensor:
    """Losses of one run of further training, one step after the other.

    Args:
        problem: what is trained on.
        optimizer: takes a list of parameters.
        epochs: of further training.
        batch_size: in rows.
        scheme: `drop`, `mask` or `every_step`.
        seed: of the order of rows.
        left_out: the row that is left out; None for the full run.
        clip: the gradient norm above which gradients are clipped.
        evaluated: steps, counted from 1, after which losses are taken; None for the end of each epoch.
        draw: `draw(step)` and `draw(step, 1)` seed what the network draws for the batch and for the left-out example.
        weight: with `every_step`, so many times ℓ_i/n are left out.

    Returns:
        Test losses in float64, `[step, test]`.
    """
    network = copy.deepcopy(problem.network).train()
    rows = len(problem.train)
    data = TensorDataset(torch.arange(rows))
    generator = torch.Generator().manual_seed(seed)
    removed = left_out if scheme == "drop" else None
    loader = DataLoader(data, batch_size=batch_size, sampler=Without(rows, generator, removed))
    update = optimizer(list(network.parameters()))
    full_steps = -(-rows // batch_size)
    losses, step = [], 0
    for epoch in range(epochs):
        for number, (index,) in enumerate(loader):
            step = epoch * full_steps + number + 1
            inputs, targets = rows_at(problem.train, index, among=index)
            if draw:
                draw(step)
            each = problem.objective.loss(network(inputs), targets)
            if left_out is not None and scheme == "mask":
                each = torch.where(index == left_out, torch.zeros_like(each), each)
            loss = each.mean()
            if left_out is not None and scheme == "every_step":
                inputs, targets = rows_at(problem.train, torch.tensor([left_out]), among=problem.left_out)
                if draw:
                    draw(step, 1)
                loss = loss - weight * problem.objective.loss(network(inputs), targets).sum() / rows
            update.zero_grad()
            loss.backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
            update.step()
            if evaluated is not None and step in evaluated:
                losses.append(test_losses(problem, network))
        if evaluated is None:
            losses.append(test_losses(problem, network))
    return torch.stack(losses)


def rows_at(rows: Rows, index: Tensor, among: Iterable[Any]) -> tuple[Inputs, Tensor]:
    """Inputs and targets of some rows.

    Args:
        rows: of one split.
        index: which of them, `[row]`.
        among: sequences are cut to the longest of these rows.

    Returns:
        Inputs `[row, …]` and targets `[row, …]`.
    """
    if rows.lengths is None:
        return map_inputs(lambda tensor: tensor[index], rows.inputs), rows.targets[index]
    assert not isinstance(rows.inputs, Tensor)  # sequences are mappings
    longest = max(int(rows.lengths[row]) for row in among)
    return {name: tensor[index][:, :longest] for name, tensor in rows.inputs.items()}, rows.targets[index]


def test_losses(problem: Problem, network: nn.Module) -> Tensor:
    """Losses of the test examples in float64, in eval mode.

    Args:
        problem: its test rows and objective.
        network: the network to evaluate.

    Returns:
        `[test]`.
    """
    network.eval()
    with torch.no_grad():
        targets = problem.test.targets
        targets = targets.double() if targets.is_floating_point() else targets
        losses = problem.watched.loss(network(problem.test.inputs).double(), targets)
    network.train()
    return losses


def gold_standard(
    problem: Problem,
    optimizer: Callable[..., torch.optim.Optimizer],
    epochs: int,
    batch_size: int,
    scheme: str,
    seed: int,
    **options: Any,
) -> tuple[Array, Array, Array]:
    """Losses of one seed of the gold standard, run after run.

    Args:
        problem: what is trained on.
        optimizer: takes a list of parameters.
        epochs: of further training.
        batch_size: in rows.
        scheme: `drop`, `mask` or `every_step`.
        seed: of the order of rows.
        options: see `further_training`.

    Returns:
        `loss_before [test]`, `loss_full [step, test]` and `loss_left_out [step, test, left_out]`.
    """
    settings = (epochs, batch_size, scheme, seed)
    full = further_training(problem, optimizer, *settings, **options)
    left_out = [further_training(problem, optimizer, *settings, left_out=int(i), **options) for i in problem.left_out]
    before = test_losses(problem, copy.deepcopy(problem.network))
    return before.numpy(), full.numpy(), torch.stack(left_out, -1).numpy()


def gradient(problem: Problem, inputs: Inputs, target: Tensor, objective: Objective | None = None) -> Tensor:
    """Gradient of the loss, or of another objective, at one example, by autograd.

    Args:
        problem: its network and objective.
        inputs: of the example, without an axis of rows.
        target: of the example.
        objective: None for the problem's.

    Returns:
        `[param]`.
    """
    network, objective = copy.deepcopy(problem.network).eval(), objective or problem.objective
    loss = objective.loss(network(map_inputs(lambda tensor: tensor[None], inputs)), target[None]).sum()
    gradient = torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True)
    return torch.cat([block.flatten() for block in gradient])


def gradients(problem: Problem) -> tuple[Tensor, Tensor]:
    """Gradients of the test examples `[test, param]` and of the left-out ones `[left_out, param]`, one by one."""
    test = [gradient(problem, *problem.test[torch.tensor(j)], problem.watched) for j in range(len(problem.test))]
    train = [gradient(problem, *problem.train[i]) for i in problem.left_out]
    return torch.stack(test), torch.stack(train)


def scores(problem: Problem, matrix: Tensor | None, unit: bool = False) -> Array:
    """Scores with an explicit matrix P, pair by pair: score[j, i] = φ(g_j)ᵀ P φ(g_i) / n.

    Args:
        problem: gives the gradients.
        matrix: P, `[param, param]`; None for the identity.
        unit: whether φ scales gradients to unit length.

    Returns:
        `[test, left_out]`, in units of the loss where φ is the identity.
    """
    test, train = gradients(problem)
    result = torch.zeros(len(test), len(train), dtype=test.dtype)
    for j, g_j in enumerate(test):
        for i, g_i in enumerate(train):
            if unit:
                g_j, g_i = g_j / torch.linalg.norm(g_j), g_i / torch.linalg.norm(g_i)
            result[j, i] = g_j @ (g_i if matrix is None else matrix @ g_i) / len(problem.train)
    return result.numpy()


def weight_derivative(problem: Problem, rates: Sequence[float], change: float = 1e-4) -> Array:
    """The effect that full-batch gradient descent makes of a little less weight of each left-out example.

    Args:
        problem: what is trained on, in float64.
        rates: the learning rate of each step.
        change: of the weight, for central differences; the result is for a whole example less.

    Returns:
        `[test, left_out]`, in units of the loss.
    """
    n, columns = len(problem.train), []
    for i in problem.left_out.tolist():
        losses = []
        for less in (change, -change):
            network = copy.deepcopy(problem.network)
            weights = torch.full((n,), 1 / n, dtype=torch.float64)
            weights[i] -= less / n
            for rate in rates:
                network.zero_grad()
                (weights @ problem.objective.loss(network(problem.train.inputs), problem.train.targets)).backward()
                with torch.no_grad():
                    for parameter in network.parameters():
                        assert parameter.grad is not None
                        parameter.sub_(rate * parameter.grad)
            with torch.no_grad():
                losses.append(problem.watched.loss(network(problem.test.inputs), problem.test.targets))
        columns.append((losses[0] - losses[1]) / (2 * change))
    return torch.stack(columns, 1).numpy()
