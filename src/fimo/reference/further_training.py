"""Slow, obvious twin of further training: one run after the other, one step after the other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, Sampler, TensorDataset

from fimo.models.parameter_choice import theta_of
from fimo.problem import Problem
from fimo.rows import Inputs, Rows, map_inputs

Array = NDArray[np.float64]


class Without(Sampler):
    """torch's own random order, with some rows removed from each epoch's permutation.

    Args:
        rows: how many there are.
        generator: draws the order.
        removed: the rows that are removed.
    """

    def __init__(self, rows: int, generator: torch.Generator, removed: Sequence[int]) -> None:
        self.sampler = RandomSampler(range(rows), generator=generator)
        self.rows, self.removed = rows, removed

    def __iter__(self) -> Iterator[int]:
        return (row for row in self.sampler if row not in self.removed)

    def __len__(self) -> int:
        return self.rows - len(self.removed)


def further_training(
    problem: Problem,
    optimizer: Callable[..., torch.optim.Optimizer],
    epochs: int,
    batch_size: int,
    scheme: str,
    seed: int,
    left_out: Sequence[int] = (),
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
        left_out: the rows that are left out together; none for the full run.
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
    removed = left_out if scheme == "drop" else ()
    loader = DataLoader(data, batch_size=batch_size, sampler=Without(rows, generator, removed))
    update = optimizer(theta := list(theta_of(network).values()))
    full_steps = -(-rows // batch_size)

    def take_step(step: int, index: Tensor) -> None:
        inputs, targets = rows_at(problem.train, index, among=index)
        if draw:
            draw(step)
        each = problem.objective.loss(network(inputs), targets)
        if scheme == "mask":
            each = torch.stack([0 * one if int(row) in left_out else one for row, one in zip(index, each, strict=True)])
        loss = each.mean()
        if left_out and scheme == "every_step":
            inputs, targets = rows_at(problem.train, torch.tensor(left_out), among=problem.left_out.rows)
            if draw:
                draw(step, 1)
            loss = loss - weight * problem.objective.loss(network(inputs), targets).sum() / rows
        update.zero_grad()
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(theta, clip)
        update.step()

    evaluated = range(full_steps, epochs * full_steps + 1, full_steps) if evaluated is None else evaluated
    losses = []
    for epoch in range(epochs):
        batches = list(loader)  # fewer than those of the full run, perhaps
        for number in range(full_steps):
            step = epoch * full_steps + number + 1
            if number < len(batches):
                take_step(step, batches[number][0])
            if step in evaluated:
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
    groups = problem.left_out.lists
    left_out = [further_training(problem, optimizer, *settings, left_out=group, **options) for group in groups]
    before = test_losses(problem, copy.deepcopy(problem.network))
    return before.numpy(), full.numpy(), torch.stack(left_out, -1).numpy()
