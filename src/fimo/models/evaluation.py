"""How good a network is: its mean loss, the objective's measures, and which rows it gets wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fimo.errors import UserError
from fimo.models.function_of_rows import rows_that_fit
from fimo.models.objective import Objective
from fimo.models.weighted import for_rows
from fimo.rows import Rows, map_inputs

# Rows of one forward pass when a network is evaluated; of sequences fewer, which are padded to the longest among them.
EVALUATION_ROWS, EVALUATION_SEQUENCES = 1024, 128


@torch.no_grad()
def outputs_by_block(network: nn.Module, rows: Rows) -> Iterator[tuple[Tensor, Tensor]]:
    """Outputs of a network in eval mode, some rows at a time: those of a language model are never held for all.

    Args:
        network: left in eval mode.
        rows: to evaluate it on.

    Returns:
        f, `[row, output]`, float64, on the CPU, and targets `[row, …]`.
    """
    network.eval()
    device = next(network.parameters()).device

    def at(block: slice) -> Tensor:
        return network(map_inputs(lambda tensor: tensor.to(device), rows[block][0])).double().cpu()

    size = rows_that_fit(network, rows, EVALUATION_ROWS if rows.lengths is None else EVALUATION_SEQUENCES)
    targets = rows.targets.double() if rows.targets.is_floating_point() else rows.targets
    for start in range(0, len(rows), size):
        block = slice(start, start + size)
        yield at(block), targets[block].cpu()


def all_outputs(network: nn.Module, rows: Rows) -> Tensor:
    """Outputs of a network in eval mode, all of them: for networks with a few outputs a row.

    Args:
        network: left in eval mode.
        rows: to evaluate it on.

    Returns:
        f, `[row, output]`, float64, on the CPU.
    """
    return torch.cat([outputs for outputs, _ in outputs_by_block(network, rows)])


def losses_at(network: nn.Module, objective: Objective, rows: Rows) -> Tensor:
    """The loss at every row, in eval mode and float64.

    Args:
        network: left in eval mode.
        objective: of which the loss is.
        rows: to evaluate it on; where they have weights the losses do.

    Returns:
        `[row]`.
    """
    objective, (by_length, order) = for_rows(objective, rows), rows.sorted_by_length
    blocks = outputs_by_block(network, by_length)
    return torch.cat([objective.loss(outputs, targets) for outputs, targets in blocks])[order.argsort()]


def metrics(network: nn.Module, objective: Objective, rows: Rows) -> dict[str, float]:
    """Mean loss and the objective's measures of a network, in eval mode and float64.

    Args:
        network: left in eval mode.
        objective: of which the loss and the measures are.
        rows: to evaluate it on; where they have weights the loss does.

    Returns:
        `loss`, and the objective's measures by their names.
    """
    objective = for_rows(objective, rows)
    blocks = outputs_by_block(network, rows.sorted_by_length[0])
    if not objective.metrics_are_means:
        outputs, targets = map(torch.cat, zip(*blocks, strict=True))
        return {"loss": float(objective.loss(outputs, targets).mean()), **objective.metrics(outputs, targets)}
    totals: Counter[str] = Counter()
    for outputs, targets in blocks:
        means = {"loss": float(objective.loss(outputs, targets).mean()), **objective.metrics(outputs, targets)}
        totals.update({name: mean * len(targets) for name, mean in means.items()})
    return {name: total / len(rows) for name, total in totals.items()}


def mistakes(network: nn.Module, objective: Objective, rows: Rows) -> Tensor:
    """The rows that a network gets wrong: whose accuracy is below 1.

    Args:
        network: left in eval mode.
        objective: whose measures tell what is right.
        rows: to evaluate it on.

    Returns:
        Positions in `rows`, ascending, 64-bit integers.

    Raises:
        UserError: for an objective that knows no right or wrong, and where the network gets every row right.
    """
    objective = for_rows(objective, rows)
    measured = [
        objective.metrics(outputs[row : row + 1], targets[row : row + 1])
        for outputs, targets in outputs_by_block(network, rows)
        for row in range(len(targets))
    ]
    if "accuracy" not in measured[0]:
        raise UserError(
            f"data.tested=misclassified needs an objective of classes or labels, found {objective!r}: name positions "
            "in the test split, as in data.tested=[7,12]."
        )
    wrong = torch.tensor([row for row, measure in enumerate(measured) if measure["accuracy"] < 1], dtype=torch.int64)
    if not len(wrong):
        raise UserError(
            f"data.tested=misclassified found no mistake among the {len(rows)} test examples: the final model gets all "
            "of them right."
        )
    return wrong
