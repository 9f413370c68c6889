"""A caller's own loss as an objective."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any

from torch import Tensor

from fimo.errors import UserError
from fimo.models.objective import Objective
from fimo.models.token_labels import have_forms_of_tokens


class OwnObjective(Objective):
    """A caller's loss: a function of outputs and targets, or what has such a `loss`.

    Args:
        given: `loss(outputs, targets) -> [row]`, or an object with it.
        of_sequences: whether rows are sequences, whose padding is cut from the outputs: then it is from labels, too.
    """

    output_axes = None
    metrics_are_means = True  # it has none

    def __init__(self, given: Any, of_sequences: bool = False) -> None:
        self.given, self.of_sequences = given, of_sequences
        self._loss = given.loss if hasattr(given, "loss") else given

    def __repr__(self) -> str:
        """Without an address in memory, so that it is the same in another process."""
        if isinstance(self.given, partial):
            return f"{OwnObjective(self.given.func)!r}{self.given.args}{self.given.keywords}"
        if hasattr(self.given, "__qualname__"):
            return str(self.given.__qualname__)
        settings = ", ".join(f"{key}={value!r}" for key, value in vars(self.given).items())
        return f"{type(self.given).__qualname__}({settings})"

    @cached_property
    def for_sequences(self) -> OwnObjective:
        """The same for rows that are sequences."""
        return self if self.of_sequences else OwnObjective(self.given, of_sequences=True)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The caller's.

        Args:
            outputs: of the network, `[row, output]`.
            targets: those of `Rows`, `[row, …]`.

        Returns:
            `[row]`.
        """
        if self.of_sequences and have_forms_of_tokens(outputs, targets):
            targets = targets[..., : outputs.shape[-2]]
        return self._loss(outputs, targets)


def own_part(objective: Objective) -> Any:
    """The class, or the function of a caller's, in which an objective's loss is written."""
    given: Any = objective
    while isinstance(given, Objective) and hasattr(given, "given"):  # a caller's, that of rows with weights
        given = given.given
    given = given.func if isinstance(given, partial) else given
    return given if hasattr(given, "__qualname__") else type(given)


def as_objective(given: Any) -> Objective:
    """An objective as it is, or a caller's own loss as one.

    Args:
        given: an `Objective`; a function `loss(outputs, targets) -> [row]`; or an object with such a `loss`.

    Raises:
        UserError: for anything else.
    """
    if isinstance(given, Objective):
        return given
    if not isinstance(given, type) and (callable(getattr(given, "loss", None)) or callable(given)):
        return OwnObjective(given)
    raise UserError(
        "The objective must be one of fimo's (fimo.CrossEntropy()), a function loss(outputs, targets) that gives a "
        f"loss for each row, or an object with such a loss, found {given!r}."
    )
