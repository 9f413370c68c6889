"""P = I: Grad-Dot with raw gradients, Grad-Cos with gradients of unit length."""

from __future__ import annotations

from typing import Self

from torch import Tensor

from fimo.gradients import Gradients
from fimo.preconditioners.base import Preconditioner
from fimo.problem import Problem


class Identity(Preconditioner):
    """No preconditioning: the first-order effect of one further step (Grad-Dot), or its direction alone (Grad-Cos)."""

    from_training_rows = False

    def fit_to(self, problem: Problem, rows: int | None) -> Self:
        """Nothing depends on training rows, so their number makes no difference.

        Args:
            problem: with all training rows.
            rows: not used.
        """
        return self.fit(problem)

    def __matmul__(self, gradients: Gradients) -> Gradients:
        """The gradients as they are."""
        return gradients

    def quadratic_form(self, gradients: Gradients) -> Tensor:
        """‖φ(g)‖², `[row]`."""
        return gradients.norms().square()
