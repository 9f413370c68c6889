"""P = I: Grad-Dot with raw gradients, Grad-Cos with gradients of unit length."""

from __future__ import annotations

from fimo.gradients import Gradients
from fimo.preconditioners.base import Preconditioner


class Identity(Preconditioner):
    """No preconditioning: the first-order effect of one further step (Grad-Dot), or its direction alone (Grad-Cos)."""

    fitted_to_rows = False

    def __matmul__(self, gradients: Gradients) -> Gradients:
        """The gradients as they are."""
        return gradients
