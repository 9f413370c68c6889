"""The curvatures that there are, each by its root R: the curvature is the mean over rows of Jᵀ R Rᵀ J.

A root is a cotangent function (see `fimo.gradients.cotangents`); dual, primal and spectral ways follow from it.
"""

from __future__ import annotations

from fimo.errors import UserError
from fimo.gradients.cotangents import Cotangents, of_curvature, of_fisher

CURVATURES: dict[str, Cotangents | None] = {
    "gauss_newton": of_curvature,
    "empirical_fisher": of_fisher,
    "hessian": None,  # it has no root where it is indefinite
}


def require_curvature(name: str, value: str, indefinite: bool = False) -> str:
    """The name of a curvature.

    Args:
        name: of the setting, for the error.
        value: of the setting.
        indefinite: whether a curvature without a root is allowed, too.

    Returns:
        The value.

    Raises:
        UserError: where there is no such curvature.
    """
    allowed = [key for key, root in CURVATURES.items() if root or indefinite]
    if value not in allowed:
        raise UserError(f"{name} must be one of {', '.join(allowed)}, found {value!r}.")
    return value


def damping_root(kind: str) -> Cotangents:
    """The root whose mean square is the unit of a curvature's damping: its own, or Gauss–Newton's for the Hessian."""
    return CURVATURES[kind] or of_curvature
