"""Rows that fit a network and an objective, and the objective of rows that have weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fimo.dtypes import log_rounding
from fimo.errors import UserError
from fimo.models.carrying import Carrying
from fimo.models.objective import Objective
from fimo.models.own_objective import OwnObjective
from fimo.row_weights import by_row, unpacked
from fimo.rows import Rows, by_name


class Weighted(Carrying):
    """w_i ℓ_i, for targets that have each row's weight w_i behind them (see `Rows.weighted_by`).

    A row of weight 2 is the row twice, in all that is a sum over rows: the loss and its gradient have the factor w, a
    root of a curvature (RRᵀ, and the square of what TRAK linearises) has √w.

    Args:
        given: the objective of rows without weights, ℓ.
        shape: of one row's targets.
        counted: False for ℓ itself, whatever the weights: what is watched at test examples.
    """

    def __init__(self, given: Objective, shape: tuple[int, ...], counted: bool = True) -> None:
        super().__init__(given, shape)
        self.counted = counted
        self.positive_hessian, self.usual_curvature = given.positive_hessian, given.usual_curvature
        self.metrics_are_means, self.has_token_losses = given.metrics_are_means, given.has_token_losses

    def _parts(self) -> tuple[Any, ...]:
        return self.given, self.shape, self.counted

    def _split(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Targets as ℓ takes them, and weights `[row]`."""
        plain, weights = unpacked(targets, self.shape)
        return plain, weights if self.counted else torch.ones_like(weights)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Weighted loss of each example.

        Args:
            outputs: of the network, `[row, output]`.
            targets: with weights, `[row, …]`.

        Returns:
            w ℓ, `[row]`.
        """
        plain, weights = self._split(targets)
        losses = self.given.loss(outputs, plain)
        # A mean over rows would be spread over them again: it stays as it is, and is refused for its shape.
        return losses * weights.to(losses.dtype) if losses.shape == weights.shape else losses

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Weighted gradient in the outputs.

        Args:
            outputs: f, `[row, output]`.
            targets: with weights, `[row, …]`.

        Returns:
            w ∂ℓ/∂f, `[row, output]`.
        """
        plain, weights = self._split(targets)
        return _for_each_row(self.given.gradient(outputs, plain), weights)

    def output(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """√w times the output function: Jᵀ diag(w) J is then the Gauss–Newton matrix that TRAK projects.

        Args:
            outputs: f, `[row, output]`.
            targets: with weights, `[row, …]`.

        Returns:
            `[row, scalar]`.
        """
        plain, weights = self._split(targets)
        return self.given.output(outputs, plain) * weights.to(outputs.dtype).sqrt()[:, None]

    def curvature_root(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """√w times a root of the curvature of ℓ.

        Args:
            outputs: f, `[row, output]`.
            targets: with weights, `[row, …]`.

        Returns:
            `[row, output, rank]`.
        """
        plain, weights = self._split(targets)
        return _for_each_row(self.given.curvature_root(outputs, plain), weights.sqrt())

    def fisher_root(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """√w ∂ℓ/∂f: in the empirical Fisher matrix a row of weight 2 is the row twice, not a gradient twice as long.

        Args:
            outputs: f, `[row, output]`.
            targets: with weights, `[row, …]`.

        Returns:
            `[row, output, 1]`.
        """
        plain, weights = self._split(targets)
        return _for_each_row(self.given.fisher_root(outputs, plain), weights.sqrt())

    # Said again, since what a class with a loss of its own inherits is forgotten (see `Objective`).
    curvature_note = Carrying.curvature_note


def _for_each_row(values: Tensor, factors: Tensor) -> Tensor:
    """Values `[row, …]` times the number of their row."""
    return values * by_row(factors.to(values.dtype), values)


def for_rows(objective: Objective, rows: Rows, counted: bool = True) -> Objective:
    """An objective in the form that some rows need: weighted where they have weights, a caller's for sequences.

    Args:
        objective: in either form.
        rows: whose targets it is for.
        counted: False for the loss itself, whatever the weights.

    Returns:
        The objective.
    """
    given = objective.given if isinstance(objective, Weighted) else objective
    if isinstance(given, OwnObjective):
        given = given.for_lengths(_lengths_of_targets(rows))
    return given if rows.target_shape is None else Weighted(given, rows.target_shape, counted)


def _lengths_of_targets(rows: Rows) -> frozenset[int]:
    """The lengths of padded sequences whose targets may have a number for each place; empty for all others."""
    form = rows.targets.shape[1:] if rows.target_shape is None else rows.target_shape
    lengths = [] if rows.lengths is None else rows.lengths.unique().tolist()
    return frozenset(lengths if lengths and len(form) and form[0] >= lengths[-1] else [])


def _sizes(rows: Rows) -> dict[str, list[int]]:
    """Of one row's inputs, those that are real numbers: tokens may be padded to any length."""
    inputs = by_name(rows.inputs).items()
    return {name: list(part.shape[1:]) for name, part in inputs if part.is_floating_point()}


def alike(**splits: Rows) -> dict[str, Rows]:
    """Rows of one form: with weights where any of them have some, and then ones for the others.

    Args:
        splits: by name.

    Returns:
        By name.

    Raises:
        UserError: where their inputs that are real numbers have other names or sizes.
    """
    sizes = [_sizes(rows) for rows in splits.values() if rows.lengths is None]
    if any(other != sizes[0] for other in sizes):
        raise UserError(f"train and test must have inputs of one size, found {' and '.join(map(str, sizes))}.")
    if all(rows.target_shape is None for rows in splits.values()):
        return splits
    return {
        name: rows.weighted_by(torch.ones(len(rows), dtype=torch.float64)) if rows.target_shape is None else rows
        for name, rows in splits.items()
    }


def rows_for(network: nn.Module, objective: Objective, examples: Any, name: str) -> Rows:
    """Rows that fit a network and an objective.

    Args:
        network: whose device and dtype the rows get.
        objective: some need targets that are real numbers, `[row, output]`, where integers were given.
        examples: what `Rows.of` takes; `Rows` stay as they are.
        name: what errors call them.

    Returns:
        The rows.

    Raises:
        UserError: for weights of test examples that aren't `Rows`.
    """
    if isinstance(examples, Rows):
        return examples
    first = next(network.parameters())
    given = Rows.of(examples, name)
    log_rounding([given.plain.targets, *by_name(given.inputs).values()], first.dtype, name)
    rows = given.to(first.device, first.dtype)
    if name == "test" and rows.weights is not None:
        raise UserError(
            "test must be inputs and targets, found a third part, which would be weights: they say how often a row "
            "counts in training. Several inputs are ((a, b), targets)."
        )
    if objective.real_targets and not rows.targets.is_floating_point():
        targets = rows.plain.targets.to(first.dtype).reshape(len(rows), -1)
        return replace(rows.plain, targets=targets).weighted_by(rows.weights)
    return rows
