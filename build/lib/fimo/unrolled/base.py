"""What is asked of a method that depends on how much further training there is."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

from fimo.optimizers import LinearisedSGD


@runtime_checkable
class DependsOnTraining(Protocol):
    """A preconditioner whose P depends on further training; its `steps` are those of the recursion."""

    def for_training(self, recursion: LinearisedSGD) -> Self:
        """Set what further training does; it is needed before `fit`."""
        ...
