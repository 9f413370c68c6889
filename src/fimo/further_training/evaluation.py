"""Losses at the test examples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fimo.errors import UserError, some_of
from fimo.models.function_of_rows import rows_that_fit
from fimo.models.sampled import without_weights
from fimo.models.weighted import for_rows
from fimo.problem import Parameters, Problem
from fimo.rows import Rows

# Of sequences that are evaluated together, the longest by the shortest: the rest of what is computed is padding.
STRETCH = 1.25


def rows_at_once(problem: Problem, runs: int) -> int:
    """How many test examples go through the network together, so that the outputs of a language model fit into memory.

    Args:
        problem: network and test examples.
        runs: that are evaluated together.
    """
    return max(1, rows_that_fit(problem.network, problem.test, runs * len(problem.test)) // runs)


def blocks(test: Rows, at_most: int | None = None) -> list[Tensor]:
    """Positions of the test examples that go through the network together: all, or sequences of similar lengths.

    Args:
        test: the test examples.
        at_most: so many together; None for any number.
    """
    return [part for block in _similar(test) for part in block.split(at_most or len(test))]


def _similar(test: Rows) -> list[Tensor]:
    if test.lengths is None:
        return [torch.arange(len(test))]
    lengths, order = test.lengths.cpu().sort(stable=True)
    similar: list[Tensor] = []
    while len(order):
        count = int((lengths <= STRETCH * lengths[0]).sum())
        similar.append(order[:count])
        lengths, order = lengths[count:], order[count:]
    return similar


def test_losses(problem: Problem, outputs: Tensor, targets: Tensor) -> Tensor:
    """The losses at the test examples, or what else is measured, in float64 `[run, test]`.

    The outputs are cast before the loss is taken: effects are differences of nearly equal losses.

    Args:
        problem: whose measurement they are.
        outputs: of each run's network at some of the test examples, `[run, test, output]`.
        targets: of these test examples, `[test, …]`.

    Returns:
        The losses, one for each run and test example.
    """
    wide = targets.to(torch.float64) if targets.is_floating_point() else targets
    runs = len(outputs)
    repeated = wide.repeat(runs, *[1] * (wide.dim() - 1))
    losses = problem.watched.loss(outputs.to(torch.float64).flatten(0, 1), repeated)
    return losses.unflatten(0, (runs, len(wide)))


def require_finite(problem: Problem, losses: Tensor) -> None:
    """Refuse a final model at which what is watched is no finite number: nothing that it changes to could be compared.

    Args:
        problem: whose measurement it is.
        losses: of the final model at the test examples, `[test]`.

    Raises:
        UserError: naming the first such test examples.
    """
    bad = (~losses.isfinite()).nonzero().flatten()
    if not len(bad):
        return
    watched = "loss" if problem.measurement is None else f"measurement {without_weights(problem.measurement)!r}"
    named = some_of([f"{problem.test.index[place]} ({losses[place]})" for place in bad.tolist()])
    raise UserError(
        f"The {watched} must be a finite number at each test row of the final model, found {len(bad)} where it isn't, "
        f"test rows {named}."
    )


@torch.no_grad()
def token_losses(problem: Problem, parameters: Parameters, test_blocks: Sequence[Rows]) -> Tensor | None:
    """What each token of the test examples adds to their loss, in float64, for people to look at.

    Args:
        problem: network and objective.
        parameters: θ, and statistics, by name.
        test_blocks: the test examples, in blocks.

    Returns:
        `[test, token]`, block after block, NaN for tokens without a loss; None where the loss is no mean over tokens.
    """
    objective = for_rows(problem.objective, problem.test, counted=False)
    if not objective.has_token_losses:
        return None
    outputs = ((problem.outputs(parameters, block.inputs).to(torch.float64), block) for block in test_blocks)
    return torch.cat([objective.token_losses(of_block, block.targets) for of_block, block in outputs])
