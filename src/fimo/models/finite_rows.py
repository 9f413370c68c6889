"""Rows that are not finite numbers, where network and loss don't take them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fimo.errors import UserError
from fimo.models.function_of_rows import outputs_at, spread
from fimo.models.objective import Objective
from fimo.rows import Rows, by_name

# So many of them are looked at.
FEW = 64


def _parts(rows: Rows) -> dict[str, Tensor]:
    return {**by_name(rows.inputs), "targets": rows.plain.targets}


def rows_not_finite(rows: Rows) -> dict[str, Tensor]:
    """Positions of rows that are not finite, `[row]` by what of them is not: targets, or inputs by their names.

    Args:
        rows: all of which are looked at.
    """
    bad: dict[str, Tensor] = {}
    for part, numbers in _parts(rows).items():
        if numbers.is_floating_point() and not bool(numbers.sum().isfinite()):  # which may have overflowed
            places = torch.nonzero(~numbers.isfinite().reshape(len(numbers), -1).all(1)).flatten().cpu()
            if len(places):
                bad[part] = places
    return bad


@torch.no_grad()
def require_finite_rows(
    network: nn.Module, objective: Objective, rows: Rows, bad: Mapping[str, Tensor], name: str, lenient: bool = False
) -> None:
    """Refuse inputs or targets that are no finite numbers, unless the loss is one there all the same.

    A network may know what to do with a missing number, and a loss may leave out a target that is none.

    Args:
        network: in eval mode.
        objective: the loss in the form of these rows, or what is measured of them.
        rows: the examples.
        bad: see `rows_not_finite`.
        name: what errors call them: `train` or `test`.
        lenient: whether an exception of network or loss is passed over, for others to tell of; else it is no number.

    Raises:
        UserError: naming the first such row.
    """
    for part, places in bad.items():
        few = places[spread(len(places), FEW)]
        looked_at = rows.keep(few)
        try:
            losses = objective.loss(outputs_at(network, looked_at.inputs), looked_at.targets)
            wrong = few[~losses.isfinite().cpu()]
        except Exception:  # a network, or a loss, of the user's may raise anything
            wrong = few[:0] if lenient else few
        if len(wrong):
            row = int(wrong[0])
            numbers = _parts(rows)[part][row]
            value = next(number for number in numbers.flatten().tolist() if not abs(number) < float("inf"))
            raise UserError(
                f"{name} must be finite numbers, where network and loss take no others: found {value} among the {part} "
                f"of row {int(rows.index[row])} (of {len(places)} such rows). Correct these rows, or remove them."
            )
