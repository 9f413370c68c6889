"""Rows that are not finite numbers, where network and loss don't take them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fimo.errors import UserError
from fimo.models.function_of_rows import outputs_at
from fimo.models.objective import Objective
from fimo.rows import Rows

# So many of them are looked at.
FEW = 4


@torch.no_grad()
def require_finite_rows(network: nn.Module, objective: Objective, rows: Rows, name: str) -> None:
    """Refuse inputs or targets that are no finite numbers, unless the loss is one there all the same.

    A network may know what to do with a missing number, and a loss may leave out a target that is none.

    Args:
        network: in eval mode.
        objective: the loss in the form of these rows, or what is measured of them.
        rows: the examples.
        name: what errors call them: `train` or `test`.

    Raises:
        UserError: naming the first such row.
    """
    parts = {"inputs": rows.inputs} if isinstance(rows.inputs, Tensor) else dict(rows.inputs)
    for part, numbers in {**parts, "targets": rows.plain.targets}.items():
        bad = torch.nonzero(~numbers.isfinite().reshape(len(numbers), -1).all(1)).flatten()  # whole numbers are finite
        if not len(bad):
            continue
        few = rows.keep(bad[:FEW].cpu())
        if not objective.loss(outputs_at(network, few.inputs), few.targets).isfinite().all():
            value = next(number for number in numbers[bad[0]].flatten().tolist() if not abs(number) < float("inf"))
            others = f", and {len(bad) - 1} more such rows" if len(bad) > 1 else ""
            raise UserError(
                f"{name} must be finite numbers, where network and loss take no others: found {value} among the {part} "
                f"of row {int(rows.index[bad[0]])}{others}. Correct these rows, or remove them."
            )
