"""What further training with SGD makes of a small pull on a quadratic model: a recursion in each eigenvalue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class LinearRecursion:
    """The deviation u from the full run that a pull of 1 in every step makes, where the curvature is σ.

        d = (σ + w)u − 1,   v ← μv + (1 − τ)d,   u ← u − ηv        (with Nesterov's momentum u ← u − η(d + μv))

    u and v start at 0; as in `torch.optim.SGD` the first v is d itself. Without momentum and decay, with one rate, u is
    f_t(σ) = (1 − (1 − ησ)^t)/σ after t steps, and ηt where σ = 0 (arXiv 2412.03906, Proposition 1 has the sum that it
    is the eigenvalue of, P_t = η Σ_{k<t} (I − ηG)^k).

    Attributes:
        rates: `[step]`, the learning rate η of each step.
        steps: after which the deviation is wanted, ascending, no later than the last.
        momentum: μ.
        dampening: τ.
        nesterov: whether the momentum is Nesterov's.
        weight_decay: w.
    """

    rates: np.ndarray
    steps: Sequence[int]
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def filters(self, eigenvalues: Tensor) -> Tensor:
        """f_t(σ), `[evaluated step, eigenvalue]` in float64."""
        curvature = eigenvalues.double() + self.weight_decay
        deviation, velocity = torch.zeros_like(curvature), torch.zeros_like(curvature)
        found, wanted = [], set(self.steps)
        for step, rate in enumerate(self.rates.tolist(), start=1):
            pull = curvature * deviation - 1
            velocity = pull if step == 1 else self.momentum * velocity + self._weight * pull
            deviation = deviation - rate * (pull + self.momentum * velocity if self.nesterov else velocity)
            if step in wanted:
                found.append(deviation)
        return torch.stack(found)

    @property
    def _weight(self) -> float:
        """Of the newest pull in the velocity."""
        return 1 - self.dampening if self.momentum else 1.0

    def growth(self, eigenvalue: float) -> float:
        """The factor by which a deviation along an eigenvector grows in a step, in the end, at the largest rate."""
        rate, curvature, weight = float(self.rates.max()), eigenvalue + self.weight_decay, self._weight
        own = np.array([curvature * weight, self.momentum])  # the next velocity, from deviation and velocity
        moved = np.array([curvature, 0]) + self.momentum * own if self.nesterov else own
        return float(np.abs(np.linalg.eigvals([np.array([1, 0]) - rate * moved, own])).max())
