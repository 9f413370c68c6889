"""Rows that are not finite numbers, where network and loss don't take them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fimo.errors import UserError
from fimo.models.function_of_rows import outputs_at
from fimo.models.objective import Objective
from fimo.rows import Rows

# So many of them are looked at.
FEW = 64


@torch.no_grad()
def require_finite_rows(network: nn.Module, objective: Objective, rows: Rows, name: str, lenient: bool = False) -> None:
    """Refuse inputs or targets that are no finite numbers, unless the loss is one there all the same.

    A network may know what to do with a missing number, and a loss may leave out a target that is none.

    Args:
        network: in eval mode.
        objective: the loss in the form of these rows, or what is measured of them.
        rows: the examples.
        name: what errors call them: `train` or `test`.
        lenient: whether an exception of network or loss is passed over, for others to tell of; else it is no number.

    Raises:
        UserError: naming the first such row.
    """
    parts = {"inputs": rows.inputs} if isinstance(rows.inputs, Tensor) else dict(rows.inputs)
    for part, numbers in {**parts, "targets": rows.plain.targets}.items():
        if not numbers.is_floating_point() or bool(numbers.sum().isfinite()):
            continue
        bad = torch.nonzero(~numbers.isfinite().reshape(len(numbers), -1).all(1)).flatten().cpu()
        if not len(bad):  # the sum overflowed
            continue
        few = bad[torch.linspace(0, len(bad) - 1, min(len(bad), FEW)).round().long()]
        looked_at = rows.keep(few)
        try:
            losses = objective.loss(outputs_at(network, looked_at.inputs), looked_at.targets)
            wrong = few[~losses.isfinite().cpu()]
        except Exception:  # a network, or a loss, of the user's may raise anything
            wrong = few[:0] if lenient else few
        if len(wrong):
            row = int(wrong[0])
            value = next(number for number in numbers[row].flatten().tolist() if not abs(number) < float("inf"))
            raise UserError(
                f"{name} must be finite numbers, where network and loss take no others: found {value} among the {part} "
                f"of row {int(rows.index[row])} (of {len(bad)} such rows). Correct these rows, or remove them."
            )
