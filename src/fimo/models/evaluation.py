"""How good a network is: its mean loss, the objective's measures, and which rows it gets wrong."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fimo.errors import UserError
from fimo.models.objective import Objective
from fimo.models.weighted import for_rows
from fimo.rows import Rows, map_inputs

# Rows of one forward pass when a network is evaluated, which bounds the memory of a text model's activations.
EVALUATION_ROWS = 1024


@torch.no_grad()
def outputs_at(network: nn.Module, rows: Rows) -> Tensor:
    """Outputs of a network in eval mode.

    Args:
        network: left in eval mode.
        rows: to evaluate it on.

    Returns:
        f, `[row, output]`, float64, on the CPU.
    """
    network.eval()
    device = next(network.parameters()).device
    parts = range(0, len(rows), EVALUATION_ROWS)
    batches = (map_inputs(lambda t: t.to(device), rows[slice(s, s + EVALUATION_ROWS)][0]) for s in parts)
    return torch.cat([network(inputs).double().cpu() for inputs in batches])


def metrics(network: nn.Module, objective: Objective, rows: Rows) -> dict[str, float]:
    """Mean loss and the objective's measures of a network, in eval mode and float64.

    Args:
        network: left in eval mode.
        objective: of which the loss and the measures are.
        rows: to evaluate it on; where they have weights the loss does.

    Returns:
        `loss`, and the objective's measures by their names.
    """
    objective, outputs, targets = for_rows(objective, rows), outputs_at(network, rows), _targets(rows)
    return {"loss": float(objective.loss(outputs, targets).mean()), **objective.metrics(outputs, targets)}


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
    objective, outputs, targets = for_rows(objective, rows), outputs_at(network, rows), _targets(rows)
    measured = [objective.metrics(outputs[row : row + 1], targets[row : row + 1]) for row in range(len(rows))]
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


def _targets(rows: Rows) -> Tensor:
    return rows.targets.double() if rows.targets.is_floating_point() else rows.targets
