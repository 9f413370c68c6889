"""Measurements: what is watched at a test example where that is not the objective's loss, a number for each row.

Each is a function of outputs and targets, as a caller's own may be. A score is the rise of the measurement where the
training example is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fimo.errors import UserError
from fimo.models.classification import CrossEntropy


def margin(outputs: Tensor, targets: Tensor) -> Tensor:
    """Log p_y − log(1 − p_y) of the class y, p the softmax of the outputs.

    Args:
        outputs: f, logits `[row, class]`.
        targets: y, class numbers `[row]`.

    Returns:
        `[row]`; above 0 where the class is more probable than all others together.

    Raises:
        UserError: for targets that are no class numbers, or a single output.
    """
    require_classes("margin", outputs, targets)
    return CrossEntropy().output(outputs, targets).squeeze(-1)


def logit(outputs: Tensor, targets: Tensor) -> Tensor:
    """The output of the class y.

    Args:
        outputs: f, logits `[row, class]`.
        targets: y, class numbers `[row]`.

    Returns:
        f_y, `[row]`.

    Raises:
        UserError: for targets that are no class numbers, or a single output.
    """
    require_classes("logit", outputs, targets)
    return torch.gather(outputs, -1, targets[..., None]).squeeze(-1)


def probability(outputs: Tensor, targets: Tensor) -> Tensor:
    """The softmax of the outputs at the class y.

    Args:
        outputs: f, logits `[row, class]`.
        targets: y, class numbers `[row]`.

    Returns:
        p_y, `[row]`, between 0 and 1.

    Raises:
        UserError: for targets that are no class numbers, or a single output.
    """
    require_classes("probability", outputs, targets)
    return torch.softmax(outputs, -1).gather(-1, targets[..., None]).squeeze(-1)


def require_classes(name: str, outputs: Tensor, targets: Tensor) -> None:
    """Refuse targets that are no class numbers.

    Args:
        name: of the measurement.
        outputs: f, `[row, output]`.
        targets: those of `Rows`.

    Raises:
        UserError: for real numbers, or a single output.
    """
    if targets.is_floating_point() or targets.dim() != 1 or outputs.dim() != 2 or outputs.shape[-1] < 2:
        raise UserError(
            f"The measurement {name} is that of a class among several: it needs class numbers for targets and an "
            f"output for each class, found targets {list(targets.shape)} of {targets.dtype} and outputs "
            f"{list(outputs.shape)}."
        )
