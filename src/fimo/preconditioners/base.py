"""What a gradient-based method is: its choice of φ and P, and a name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from fimo.gradients import PHI, Gradients
from fimo.problem import Problem


class Preconditioner(ABC):
    """The symmetric matrix P of score[j, i] = φ(g_j)ᵀ P φ(g_i) / n, with the φ that goes with it.

    Args:
        label: the method's name in legends and files.
        phi: what is done to each gradient first, `raw` or `unit_length`.

    Attributes:
        factored: whether `@` takes gradients in any form; without it they come as `MatrixGradients`.
    """

    factored = True

    def __init__(self, label: str, phi: str = "raw") -> None:
        self.label = label
        self.phi = PHI[phi]

    def fit(self, problem: Problem) -> Self:
        """Do what is done once for a problem. Without an override: nothing."""
        return self

    @abstractmethod
    def __matmul__(self, gradients: Gradients) -> Gradients:
        """P times each gradient."""
