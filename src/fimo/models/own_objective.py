"""A caller's own loss as an objective."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from fimo.errors import UserError
from fimo.models.objective import Objective
from fimo.vmapping import vmap_or_loop


class OwnObjective(Objective):
    """A caller's loss: a function of outputs and targets, or what has such a `loss`.

    Args:
        given: `loss(outputs, targets) -> [row]`, or an object with it.
        lengths: that sequences may be cut to, where they are padded and so are their targets. Outputs `[row, place, …]`
            that are as long are taken to be cut, and the targets are cut, too.
    """

    output_axes = None
    metrics_are_means = True  # it has none

    def __init__(self, given: Any, lengths: frozenset[int] = frozenset()) -> None:
        self.given, self.lengths = given, lengths
        self._loss = given.loss if hasattr(given, "loss") else given

    def __repr__(self) -> str:
        """Without an address in memory, so that it is the same in another process."""
        if isinstance(self.given, partial):
            return f"{OwnObjective(self.given.func)!r}{self.given.args}{self.given.keywords}"
        if isinstance(self.given, nn.Module):
            own = {key: value for key, value in vars(self.given).items() if key[:1] != "_" and key != "training"}
            own |= {key: tensor.tolist() for key, tensor in _tensors(self.given).items()}
            return f"{type(self.given).__qualname__}({', '.join(f'{key}={value!r}' for key, value in own.items())})"
        if hasattr(self.given, "__qualname__"):
            return str(self.given.__qualname__)
        settings = ", ".join(f"{key}={value!r}" for key, value in vars(self.given).items())
        return f"{type(self.given).__qualname__}({settings})"

    def for_lengths(self, lengths: frozenset[int]) -> OwnObjective:
        """The same for other rows; itself where they have the same lengths.

        Args:
            lengths: see above.
        """
        return self if lengths == self.lengths else OwnObjective(self.given, lengths)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The caller's; that of a module with tensors of its own where the outputs are.

        Args:
            outputs: of the network, `[row, output]`.
            targets: those of `Rows`, `[row, …]`.

        Returns:
            `[row]`, in the dtype of the outputs.
        """
        if outputs.dim() > 2 and outputs.shape[1] in self.lengths:
            targets = targets[:, : outputs.shape[1]]
        if self._loss is self.given and isinstance(self.given, nn.Module):
            tensors = {name: _like(outputs, tensor) for name, tensor in _tensors(self.given).items()}
            losses = functional_call(self.given, tensors, (outputs, targets))
        else:
            losses = self._loss(outputs, targets)
        return losses.to(outputs.dtype) if isinstance(losses, Tensor) else losses

    def by_row(self, single: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, targets: Tensor) -> Tensor:
        """Rows one after another where `vmap` doesn't take the caller's loss.

        Args:
            single: see `Objective.by_row`.
            outputs: f, `[row, …]`.
            targets: those of `Rows`, `[row, …]`.
        """
        return vmap_or_loop(single, what="derivatives", network=self)(outputs, targets)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Weights of classes, and whatever a loss of torch's holds."""
    return {name: tensor.detach() for name, tensor in (*module.named_parameters(), *module.named_buffers())}


def tensors_of(objective: Objective) -> dict[str, Tensor]:
    """Copies of the tensors that a caller's module holds, by name; of other objectives nothing.

    Args:
        objective: without weights.
    """
    given = objective.given if isinstance(objective, OwnObjective) else None
    return {name: tensor.clone() for name, tensor in _tensors(given).items()} if isinstance(given, nn.Module) else {}


def _like(outputs: Tensor, tensor: Tensor) -> Tensor:
    return tensor.to(outputs) if tensor.is_floating_point() else tensor.to(outputs.device)


def given_by_caller(objective: Objective) -> Any:
    """What a caller gave for an objective: an `Objective`, a function, or an object with a loss."""
    given: Any = objective
    while isinstance(given, Objective) and hasattr(given, "given"):  # a caller's, that of rows with weights
        given = given.given
    return given


def own_part(given: Any) -> Any:
    """The class, or the function of a caller's, in which a loss is written.

    Args:
        given: see `given_by_caller`.
    """
    given = given.func if isinstance(given, partial) else given
    return given if hasattr(given, "__qualname__") else type(given)


def as_objective(given: Any, what: str = "objective") -> Objective:
    """An objective as it is, or a caller's own loss as one.

    Args:
        given: an `Objective`; a function `loss(outputs, targets) -> [row]`; or an object with such a `loss`.
        what: it is, for the error: `objective` or `measurement`.

    Raises:
        UserError: for anything else.
    """
    if isinstance(given, Objective):
        return given
    if isinstance(given, type):
        raise UserError(f"The {what} must be an object, found the class {given.__name__}: call it, {given.__name__}().")
    if callable(getattr(given, "loss", None)) or callable(given):
        return OwnObjective(given)
    example = "fimo.CrossEntropy()" if what == "objective" else "fimo.margin"
    raise UserError(
        f"The {what} must be one of fimo's ({example}), a function loss(outputs, targets) that gives a number for each "
        f"row, or an object with such a loss, found {given!r}."
    )
