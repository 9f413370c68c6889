"""Objectives around another one, for targets that carry something behind them: weights, or draws from the model."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor

from fimo.models.objective import Objective


class Carrying(Objective):
    """ℓ, for targets that carry something behind each row's own. What a subclass does not say otherwise is as of ℓ.

    It is equal to another of its class with equal parts: what methods make of the same rows, whose targets hold weights
    and draws, is made once for all of them.

    Args:
        given: the objective of rows by themselves, ℓ.
        shape: of one row's own targets.
    """

    def __init__(self, given: Objective, shape: tuple[int, ...]) -> None:
        self.given, self.shape = given, shape
        self.real_targets, self.output_axes = given.real_targets, given.output_axes

    def __repr__(self) -> str:
        return repr(self.given)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self.shape)  # a caller's loss needn't have a hash

    @abstractmethod
    def _parts(self) -> tuple[Any, ...]:
        """What it is made of."""

    @abstractmethod
    def _split(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Targets as ℓ takes them, and what they carry, `[row, …]` each."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See `Objective.loss`: ℓ at the rows' own targets, `[row]`."""
        return self.given.loss(outputs, self._split(targets)[0])

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See `Objective.gradient`: ∂ℓ/∂f at the rows' own targets, `[row, output]`."""
        return self.given.gradient(outputs, self._split(targets)[0])

    def fisher_root(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See `Objective.fisher_root`: ∂ℓ/∂f at the rows' own targets, `[row, output, 1]`."""
        return self.given.fisher_root(outputs, self._split(targets)[0])

    def output(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See `Objective.output`: the output function of ℓ, `[row, scalar]`."""
        return self.given.output(outputs, self._split(targets)[0])

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """See `Objective.metrics`: those of ℓ, in which each row counts once."""
        return self.given.metrics(outputs, self._split(targets)[0])

    def token_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See `Objective.token_losses`: those of ℓ, `[row, token]`."""
        return self.given.token_losses(outputs, self._split(targets)[0])

    def curvature_note(self, outputs: Tensor, targets: Tensor) -> str | None:
        """See `Objective.curvature_note`: that of ℓ."""
        return self.given.curvature_note(outputs, self._split(targets)[0])

    def require_targets(self, outputs: Tensor, targets: Tensor) -> None:
        """See `Objective.require_targets`: what ℓ refuses."""
        self.given.require_targets(outputs, self._split(targets)[0])
