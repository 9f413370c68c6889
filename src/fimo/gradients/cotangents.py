"""Which scalars of the outputs are differentiated: every gradient used here is vᵀJ, a cotangent times the Jacobian.

J is the Jacobian of the outputs f with respect to the parameters, at one example and at θ_f. A cotangent function takes
the objective, outputs `[row, output]` and targets and returns `[row, output, scalar]`, one cotangent for each scalar.
Where a row's outputs have several axes, as those of a language model, `output` stands for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.func import jacrev, vmap

from fimo.models.objective import Objective

Cotangents = Callable[[Objective, Tensor, Tensor], Tensor]


def of_loss(objective: Objective, outputs: Tensor, targets: Tensor) -> Tensor:
    """∂ℓ/∂f, one scalar: the gradient of the loss.

    Args:
        objective: with the loss ℓ.
        outputs: f, `[row, output]`.
        targets: `[row, …]`.
    """
    return objective.gradient(outputs, targets)[..., None]


@dataclass(frozen=True, eq=False)
class OfMeasurement:
    """∂m/∂f of a measurement m, whatever the problem's objective: the gradient at a test example.

    Attributes:
        measurement: m.
    """

    measurement: Objective

    def __call__(self, objective: Objective, outputs: Tensor, targets: Tensor) -> Tensor:
        """The cotangent of one scalar, `[row, output, 1]`.

        Args:
            objective: it doesn't matter.
            outputs: f, `[row, output]`.
            targets: `[row, …]`.
        """
        return of_loss(self.measurement, outputs, targets)


def loss_of(cotangents: Cotangents, objective: Objective) -> Objective | None:
    """Whose loss it is that cotangents differentiate, by `of_loss` or `OfMeasurement`; None for other scalars.

    Args:
        cotangents: of the scalars.
        objective: of the problem.
    """
    if cotangents is of_loss:
        return objective
    return cotangents.measurement if isinstance(cotangents, OfMeasurement) else None


def of_fisher(objective: Objective, outputs: Tensor, targets: Tensor) -> Tensor:
    """The root of the empirical Fisher matrix, one scalar: ∂ℓ/∂f, times √w for a row of weight w.

    Args:
        objective: with the loss ℓ.
        outputs: f, `[row, output]`.
        targets: `[row, …]`.
    """
    return objective.fisher_root(outputs, targets)


def of_curvature(objective: Objective, outputs: Tensor, targets: Tensor) -> Tensor:
    """A root R of the loss's curvature in the outputs; the Gauss–Newton matrix is the mean of JᵀRRᵀJ.

    As many scalars as the root has columns: one less than there are classes for the cross-entropy. It is continuous in
    the outputs (an eigenvector's sign is not), so that it may be made again in other blocks.

    Args:
        objective: with the root.
        outputs: f, `[row, output]`.
        targets: `[row, …]`.

    Returns:
        R, `[row, output, rank]`.
    """
    return objective.curvature_root(outputs, targets)


def of_output(objective: Objective, outputs: Tensor, targets: Tensor) -> Tensor:
    """∂o/∂f of the objective's output function o: what TRAK linearises.

    Args:
        objective: with the output function o.
        outputs: f, `[row, output]`.
        targets: `[row, …]`.
    """
    one = jacrev(lambda output, target: objective.output(output[None], target[None]).squeeze(0))
    return vmap(one)(outputs, targets).movedim(1, -1)
