"""Is a loss or a measurement a function of each row's own outputs and target? It is called at a few rows to see."""

from __future__ import annotations

import torch
from torch import Tensor

from fimo.errors import UserError, short
from fimo.models.function_of_rows import largest_gap
from fimo.models.objective import Objective
from fimo.models.own_objective import tensors_of


@torch.no_grad()
def require_number_for_each_row(function: Objective, outputs: Tensor, targets: Tensor, what: str) -> None:
    """Refuse what is not one number for each row, in the outputs' dtype and in float64, alone and beside other rows.

    Args:
        function: the objective, or the measurement.
        outputs: of the network at some rows, `[row, …]`.
        targets: of these rows, without weights.
        what: the function is: `objective` or `measurement`.

    Raises:
        UserError: with what it was called with, and what usually causes it.
    """
    name, count = f"The {what} {function!r}", len(outputs)
    numbers = _called(function, outputs, targets, name)
    before = tensors_of(function)
    if largest_gap(numbers, _called(function, outputs, targets, name)) > 0:
        raise UserError(
            f"{name} gives other numbers each time that it is called: it must draw no random numbers, and use no state "
            "of its calls."
        )
    if changed := [key for key, tensor in tensors_of(function).items() if not torch.equal(tensor, before[key])]:
        raise UserError(f"{name} changes its own tensor {changed[0]} where it is called: keep it as it is.")
    if numbers.shape != (count,):
        behind = ": outputs, and targets that are real numbers, come as [row, output], so take .mean(-1) in the end"
        advice = ": take no mean over the rows" if numbers.dim() == 0 else behind if numbers.dim() == 2 else ""
        raise UserError(
            f"{name} must give a {'loss' if what == 'objective' else 'number'} for each row, [{count}], found "
            f"{list(numbers.shape)} for {_described(outputs, targets)}{advice}."
        )
    wide = outputs.double(), targets.double() if targets.is_floating_point() else targets
    advice = " It is evaluated in float64: tensors of its own have to follow the outputs, as weight.to(outputs) does."
    together = _called(function, wide[0], wide[1], name, advice if outputs.dtype != torch.float64 else "")
    advice = f" It takes {count} rows together, but has to take each of them by itself, too."
    rows = zip(*(part.split(1) for part in wide), strict=True)
    alone = [_called(function, output, target, name, advice) for output, target in rows]
    if alone[0].shape != (1,):
        raise UserError(
            f"{name} must give a number for each row, [1] of a row by itself, found {list(alone[0].shape)}: squeeze no "
            "axis but those that are meant, as outputs.squeeze(1) does."
        )
    if (gap := largest_gap(together, torch.cat(alone))) > 0:
        raise UserError(
            f"{name} gives a row another number alone than beside others, by {gap:.1%} of the largest: take no mean, "
            "sum, count or random number over the rows of a batch."
        )


def _called(function: Objective, outputs: Tensor, targets: Tensor, name: str, advice: str = "") -> Tensor:
    """What the function gives, or the reason why it gives nothing."""
    given = outputs.clone()
    try:
        numbers = function.loss(given, targets)
    except UserError:
        raise
    except Exception as reason:  # a function of the user's may raise anything
        raise UserError(
            f"{name} can't take {_described(outputs, targets)} ({type(reason).__name__}: {short(reason)}).{advice}"
        ) from reason
    if not isinstance(numbers, Tensor):
        raise UserError(f"{name} must give a tensor, a number for each row, found a {type(numbers).__name__}.")
    if largest_gap(outputs, given) > 0:
        raise UserError(f"{name} writes into the outputs that it is given: let it work on outputs.clone().")
    return numbers


def _described(outputs: Tensor, targets: Tensor) -> str:
    (of_outputs, of_targets) = (f"{list(part.shape)} of {part.dtype}" for part in (outputs, targets))
    return f"outputs {of_outputs} and targets {of_targets}"
