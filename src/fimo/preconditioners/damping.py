"""Damping: how much of the identity is added to a curvature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from fimo.errors import MethodFailed, UserError
from fimo.gradients import GradientSource
from fimo.gradients.cotangents import Cotangents, of_curvature
from fimo.gradients.source import mean_square

UNITS = {"absolute": "", "lambda_0": " λ0", "mean_eigenvalue": " mean eigenvalue"}


@dataclass(frozen=True)
class Damping:
    """λ = scale × unit.

    Attributes:
        scale: above 0.
        unit: `absolute`; `lambda_0`, the mean over the training rows that P is fitted to and over parameters of the
            squared gradient (the unit of arXiv 2412.03906); or `mean_eigenvalue` of the matrix that is damped, block by
            block where it has blocks.
    """

    scale: float
    unit: str = "absolute"

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise UserError(f"damping.unit must be one of {', '.join(UNITS)}, found {self.unit!r}.")
        number = isinstance(self.scale, (int, float)) and not isinstance(self.scale, bool)
        if not number or not 0 < self.scale < float("inf"):
            raise UserError(f"damping.scale must be a number above 0, found {self.scale!r}.")

    def value(self, source: GradientSource, mean_eigenvalue: Callable[[], float]) -> float:
        """λ, for a matrix with the given mean eigenvalue, which is computed only where it is the unit.

        Args:
            source: of gradients at the training rows.
            mean_eigenvalue: computes the mean eigenvalue.

        Returns:
            λ, above 0.

        Raises:
            MethodFailed: where λ is 0, because the unit is (all gradients are zero), or no number (some aren't finite).
        """
        units: dict[str, Callable[[], float]] = {
            "absolute": partial(float, 1),
            "lambda_0": lambda: source.lambda_0,
            "mean_eigenvalue": mean_eigenvalue,
        }
        value = self.scale * units[self.unit]()
        if not value > 0:
            vanish = "all gradients vanish: set its unit to absolute"
            infinite = "some gradients are not finite: remove the training rows where they are not"
            raise MethodFailed(f"A damping of {self} is {value}, since {vanish if value == 0 else infinite}.")
        return value

    def of_curvature(
        self, source: GradientSource, diagnostics: dict[str, Any], root: Cotangents = of_curvature
    ) -> float:
        """λ for a curvature, which goes to the diagnostics too.

        Args:
            source: of gradients at the training rows.
            diagnostics: the method's; the damping and its value are added.
            root: of the curvature, for its mean eigenvalue; a Hessian has the Gauss–Newton matrix's.

        Returns:
            λ.
        """
        value = self.value(source, partial(mean_square, source, root))
        diagnostics |= {"damping": str(self), "damping_value": value}
        return value

    def __str__(self) -> str:
        return f"{self.scale:g}{UNITS[self.unit]}"


def vanishing(means: Mapping[str, float], dtype: torch.dtype) -> set[str]:
    """Blocks whose mean eigenvalue is rounding beside that of the largest.

    The gradient of an attention layer's key bias, for example, is zero but for rounding. Where a block's damping is a
    share of its own mean eigenvalue, dividing by it would make that rounding as large as any other block.

    Args:
        means: mean eigenvalue of each block, by name.
        dtype: that they were computed in.

    Returns:
        Names of the blocks.
    """
    least = (1000 * torch.finfo(dtype).eps) ** 2 * max(means.values())
    return {name for name, mean in means.items() if mean <= least}
