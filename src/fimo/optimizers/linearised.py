"""What further training makes of a small constant force on a quadratic model: a recursion in each eigenvalue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from fimo.errors import Unavailable
from fimo.optimizers.settings import optimizer_settings

Value = TypeVar("Value", Tensor, float)
OptimizerFactory = Callable[[list[Tensor]], torch.optim.Optimizer]
USER = "A method that depends on further training"
# A step whose number makes no difference any more.
LATE = 10**6


@dataclass(frozen=True)
class LinearisedSGD:
    """The deviation u from the full run that a force of 1 in every step makes under SGD, where the curvature is σ.

        d = (σ + w)u − 1,   v ← μv + (1 − τ)d,   u ← u − ηv        (with Nesterov's momentum u ← u − η(d + μv))

    u and v start at 0; as in `torch.optim.SGD` the first v is d itself. Without momentum and decay, with one rate, u is
    f_t(σ) = (1 − (1 − ησ)^t)/σ after t steps, and ηt where σ = 0 (arXiv 2412.03906, Proposition 1 has the sum that it
    is the eigenvalue of, P_t = η Σ_{k<t} (I − ηG)^k).

    Attributes:
        learning_rates: `[step]`, the learning rate η of each step.
        steps: after which the deviation is wanted, ascending, no later than the last.
        momentum: μ.
        dampening: τ.
        nesterov: whether the momentum is Nesterov's.
        weight_decay: w.
    """

    learning_rates: np.ndarray
    steps: Sequence[int]
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    matrix: ClassVar[str] = "G"  # what has the eigenvalues σ

    @property
    def loss_decay(self) -> float:
        """What of the decay belongs to the loss that is descended."""
        return self.weight_decay

    def filters(self, eigenvalues: Tensor) -> Tensor:
        """f_t(σ) for eigenvalues `[eigenvalue]`: `[evaluated step, eigenvalue]`, in float64."""
        curvature = eigenvalues.double()
        deviation, velocity = torch.zeros_like(curvature), torch.zeros_like(curvature)
        deviations, evaluated = [], set(self.steps)
        for step, rate in enumerate(self.learning_rates.tolist(), start=1):
            deviation, velocity = self._step(step, rate, curvature, deviation, velocity, 1.0)
            if step in evaluated:
                deviations.append(deviation)
        return torch.stack(deviations)

    def transitions(self, begin: int, end: int, eigenvalues: Tensor) -> Tensor:
        """What some steps make of a deviation of 1, of a velocity of 1 and of a force of 1 in each of them.

        Args:
            begin: number of the last step before.
            end: number of the last step.
            eigenvalues: σ, `[eigenvalue]`.

        Returns:
            `[3, 2, eigenvalue]`, in float64: of these three, the deviation and the velocity in the end.
        """
        curvature = eigenvalues.double()
        results = []
        for deviation, velocity, force in np.eye(3).tolist():
            pair = torch.full_like(curvature, deviation), torch.full_like(curvature, velocity)
            for step, rate in enumerate(self.learning_rates[begin:end].tolist(), start=begin + 1):
                pair = self._step(step, rate, curvature, *pair, force)
            results.append(torch.stack(pair))
        return torch.stack(results)

    def spectral_radius(self, eigenvalue: float) -> float:
        """The factor by which a deviation along an eigenvector grows in a step, in the end, at the largest rate."""
        rate = float(self.learning_rates.max())
        columns = [self._step(LATE, rate, eigenvalue, *unit, 0.0) for unit in ((1.0, 0.0), (0.0, 1.0))]
        return float(np.abs(np.linalg.eigvals(np.array(columns).T)).max())

    def _step(
        self, step: int, rate: float, curvature: Value, deviation: Value, velocity: Value, force: float
    ) -> tuple[Value, Value]:
        """Deviation and velocity after a step; the first is number 1."""
        gradient = (curvature + self.weight_decay) * deviation - force
        weight = 1 - self.dampening if self.momentum and step > 1 else 1.0
        velocity = self.momentum * velocity + weight * gradient
        return deviation - rate * (gradient + self.momentum * velocity if self.nesterov else velocity), velocity


@dataclass(frozen=True)
class LinearisedAdam(LinearisedSGD):
    """The same under Adam, whose mean of squared gradients is taken to stay what batches at θ_f have on average.

        d = σu − 1,   v ← βv + (1 − β)d,   u ← (1 − ηw)u − ηv/(1 − β^t)

    in the coordinates D^(−½)θ, D = diag(1/(√E[g_B²] + ε)), where the curvature is D^½ G D^½ (see `DiagonalMetric`).
    `momentum` is β, the decay that of `torch.optim.AdamW`.

    It neglects that Adam's mean of squares begins with the first batch alone, follows the training on, and feels the
    left-out example too.

    Attributes:
        batch_size: rows in a batch, |B|.
        epsilon: ε.
    """

    batch_size: int = 1
    epsilon: float = 1e-8
    matrix: ClassVar[str] = "D^½ G D^½"

    @property
    def loss_decay(self) -> float:
        """Nothing: it is a step of its own. A drift that is mostly decay may raise the loss, and is cut then."""
        return 0.0

    def _step(
        self, step: int, rate: float, curvature: Value, deviation: Value, velocity: Value, force: float
    ) -> tuple[Value, Value]:
        velocity = self.momentum * velocity + (1 - self.momentum) * (curvature * deviation - force)
        change = rate / (1 - self.momentum**step) * velocity
        return (1 - rate * self.weight_decay) * deviation - change, velocity


def linearised(
    optimizer: torch.optim.Optimizer | OptimizerFactory,
    steps: Sequence[int],
    batch_size: int,
    learning_rates: Sequence[float] | None = None,
) -> LinearisedSGD:
    """The recursion of a torch optimiser.

    Args:
        optimizer: SGD, AdamW, or Adam without weight decay; or what makes one of a list of parameters.
        steps: after which the deviation is wanted, ascending; the last is that of the recursion.
        batch_size: rows in a batch.
        learning_rates: of each step; None for the optimiser's own in all of them.

    Returns:
        `LinearisedSGD` or `LinearisedAdam`, with the optimiser's settings.

    Raises:
        Unavailable: for another optimiser or setting.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        optimizer = optimizer([torch.zeros(1, requires_grad=True)])
    group = optimizer_settings(optimizer, USER, Unavailable)
    rates = np.full(steps[-1], group["lr"]) if learning_rates is None else np.asarray(learning_rates, dtype=float)
    decay = group["weight_decay"]
    if isinstance(optimizer, torch.optim.SGD):
        own: dict[str, Any] = {key: group[key] for key in ("momentum", "dampening", "nesterov")}
        return LinearisedSGD(rates, steps, weight_decay=decay, **own)
    if decay and not group["decoupled_weight_decay"]:
        raise Unavailable(
            f"{USER} needs optimizer to be SGD, AdamW, or Adam without weight decay, found "
            f"{type(optimizer).__name__} with optimizer.weight_decay={decay:g}."
        )
    own = {"momentum": group["betas"][0], "epsilon": group["eps"], "batch_size": batch_size}
    return LinearisedAdam(rates, steps, weight_decay=decay, **own)
