"""The curvatures that there are, each by its root R: the curvature is the mean over rows of Jᵀ R Rᵀ J.

A root is a cotangent function (see `fimo.gradients.cotangents`); dual, primal and spectral ways follow from it.
"""

from __future__ import annotations

from fimo.errors import UserError
from fimo.gradients.cotangents import Cotangents, of_curvature, of_fisher

# Of a problem with draws, see `fimo.curvature.sampling`.
DRAWN = ("sampled", "sketched")
CURVATURES: dict[str, Cotangents | None] = {
    "gauss_newton": of_curvature,
    **dict.fromkeys(DRAWN, of_curvature),
    "empirical_fisher": of_fisher,
    "hessian": None,  # it has no root where it is indefinite
}

# What settings call the Gauss–Newton matrix, its first name included.
EXACT = {"exact": "gauss_newton", "gauss_newton": "gauss_newton"}


def require_curvature(name: str, value: str, indefinite: bool = False) -> str:
    """The name of a curvature in `CURVATURES`.

    Args:
        name: of the setting, for the error.
        value: of the setting.
        indefinite: whether a curvature without a root is allowed, too.

    Returns:
        The name.

    Raises:
        UserError: where there is no such curvature.
    """
    allowed = [key for key, root in CURVATURES.items() if root or indefinite]
    if value not in (*allowed, *EXACT):
        others = [key for key in allowed if key not in EXACT]
        raise UserError(f"{name} must be one of exact, {', '.join(others)}, found {value!r}.")
    return EXACT.get(value, value)


def damping_root(kind: str) -> Cotangents:
    """The root whose mean square is the unit of a curvature's damping: its own, or Gauss–Newton's for the Hessian."""
    return CURVATURES[kind] or of_curvature
