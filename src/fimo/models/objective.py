"""Objectives: a loss per example, which training lowers. The mean over a batch is taken by the caller."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, hessian, vmap

from fimo.errors import MethodFailed, UserError
from fimo.models.predictive import Predictive

# What a class says of its own loss. Another loss, of a subclass or of a class beside it, has none of it.
OF_ITS_LOSS = ["gradient", "hessian", "curvature_root", "curvature_note", "positive_hessian", "has_token_losses"]
OF_ITS_LOSS += ["predictive", "signs"]
FLAT = "the loss curves upwards at none of the rows that were looked at, so that its curvature in the outputs is 0"
# Of the exact root of the curvature of a row with several places: each is a gradient, and more are never meant.
MOST_COLUMNS = 256


class Objective(ABC):
    """The loss that a network is trained for, with what the methods have to know of it. A subclass needs `loss`."""

    positive_hessian = False  # the Hessian in the outputs is the curvature as it is, with nothing cut off or replaced
    output_axes: int | None = 1  # of a row, `[row, output]`; None for any number of them
    metrics_are_means = False  # over rows, so that they need not be looked at together
    has_token_losses = False  # the loss is a mean over tokens, see `token_losses`
    usual_curvature = "exact"  # of methods that are called by their names
    real_targets = False  # they are numbers, one for each output, so that integers are made such
    # How targets are drawn from the model, for curvature by sampling; and how random signs are multiplied by a root.
    predictive = signs = Predictive()

    def __init_subclass__(cls, **options: Any) -> None:
        """What is said of another loss than the class's own is forgotten: its derivatives are autograd's again."""
        super().__init_subclass__(**options)
        for name in OF_ITS_LOSS:
            says = next(one for one in cls.__mro__ if name in vars(one))
            losses = [one.loss for one in cls.__mro__ if issubclass(one, Objective) and issubclass(one, says)]
            of = next((loss for loss in reversed(losses) if loss is not Objective.loss), cls.loss)
            if of is not cls.loss:
                setattr(cls, name, vars(Objective)[name])

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each example.

        Args:
            outputs: of the network, `[row, output]`.
            targets: those of `Rows`, `[row, …]`.

        Returns:
            `[row]`, in the dtype of the outputs.
        """

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Measures of a model's quality beside its mean loss: none.

        Args:
            outputs: of the network, `[row, output]`.
            targets: those of `Rows`, `[row, …]`.

        Returns:
            Each measure by its name, over all rows.
        """
        return {}

    def output(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The output function that TRAK linearises: the outputs themselves.

        Args:
            outputs: f, `[row, output]`.
            targets: those of `Rows`, `[row, …]`.

        Returns:
            `[row, scalar]`.

        Raises:
            MethodFailed: where a row's outputs have several axes, and are more than anybody means.
        """
        require_few_columns(outputs, "output function of TRAK")
        return outputs.flatten(1)

    def token_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What each token of a row adds to its loss, `[row, token]`, of objectives that say `has_token_losses`.

        Args:
            outputs: of the network, `[row, output]`.
            targets: those of `Rows`, `[row, …]`.
        """
        raise NotImplementedError

    def curvature_root(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """A root R of the positive part of the loss's Hessian in the outputs, R Rᵀ = (∂²ℓ/∂f²)₊.

        It is the symmetric one, which is continuous in the outputs, so that it may be made again in other blocks.

        Args:
            outputs: f, `[row, output]`.
            targets: those of `Rows`, `[row, …]`.

        Returns:
            R, `[row, output, rank]`.

        Raises:
            MethodFailed: where a row's outputs have several axes, and more columns than anybody means.
        """
        values, vectors = torch.linalg.eigh(self.hessian(outputs, targets))
        return ((vectors * values.clamp(min=0).sqrt()[:, None]) @ vectors.mT).unflatten(1, outputs.shape[1:])

    def gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """∂ℓ/∂f, each row by itself.

        Args:
            outputs: f, `[row, output]`.
            targets: those of `Rows`, `[row, …]`.

        Returns:
            `[row, output]`.
        """
        return self.by_row(grad(lambda output, target: self.loss(output[None], target[None])[0]), outputs, targets)

    def fisher_root(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """∂ℓ/∂f, the root of the empirical Fisher matrix.

        Args:
            outputs: f, `[row, output]`.
            targets: those of `Rows`, `[row, …]`.

        Returns:
            `[row, output, 1]`.
        """
        return self.gradient(outputs, targets)[..., None]

    def hessian(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """∂²ℓ/∂f², `[row, output, output]`; all axes of a row's outputs are one.

        Args:
            outputs: f, `[row, output]`.
            targets: those of `Rows`, `[row, …]`.

        Raises:
            MethodFailed: where a row's outputs have several axes, and are more than anybody means.
        """
        require_few_columns(outputs, "curvature")
        form = outputs.shape[1:]
        single = hessian(lambda output, target: self.loss(output.unflatten(0, form)[None], target[None])[0])
        return self.by_row(single, outputs.flatten(1), targets)

    def by_row(self, single: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, targets: Tensor) -> Tensor:
        """A derivative at each row by itself.

        Args:
            single: of one row's outputs and target.
            outputs: f, `[row, …]`.
            targets: those of `Rows`, `[row, …]`.

        Returns:
            `[row, …]`.
        """
        return vmap(single)(outputs, targets)

    def curvature_note(self, outputs: Tensor, targets: Tensor) -> str | None:
        """What a reader of scores has to know of the curvature: where a part of it was cut off.

        Args:
            outputs: f at some rows, `[row, output]`.
            targets: those of `Rows`, `[row, …]`.

        Returns:
            A sentence without its full stop, or None.
        """
        values = torch.linalg.eigvalsh(self.hessian(outputs, targets))
        small = 1e-6 * values.abs().amax(1)
        if not (values[:, -1] > small).any():
            return f"{FLAT}: choose curvature=empirical_fisher"
        cut = int((values[:, 0] < -small).sum())
        what = "the curvature is the positive part of the loss's Hessian in the outputs, which has a negative one too"
        return f"{what} at {cut} of {len(outputs)} rows that were looked at" if cut else None

    def require_targets(self, outputs: Tensor, targets: Tensor) -> None:  # noqa: B027  (any targets are right here)
        """Refuse targets that the loss would take for others: none, where nothing is known of it.

        Args:
            outputs: of the network at some rows, `[row, output]`.
            targets: those of `Rows`, of all rows.

        Raises:
            UserError: naming their form, and that of the outputs.
        """


def require_few_columns(outputs: Tensor, what: str) -> None:
    """Refuse a gradient for each of many outputs at each of many places.

    Args:
        outputs: f, `[row, …]`.
        what: has a gradient for each of a row's outputs.

    Raises:
        MethodFailed: where they have several axes, and are more than `MOST_COLUMNS`.
    """
    if outputs.dim() > 2 and outputs[0].numel() > MOST_COLUMNS:
        raise MethodFailed(
            f"The {what} of a loss of one's own has a gradient for each of a row's {outputs[0].numel():,} outputs "
            f"{list(outputs.shape[1:])}: choose a method without it (grad_dot, datainf), curvature=empirical_fisher, "
            "or fimo.NextToken() for a language model."
        )


def cholesky_root(hessians: Tensor, rank: int) -> Tensor:
    """Cholesky's root of positive semidefinite matrices of a known rank, continuous in them.

    Args:
        hessians: `[row, output, output]`.
        rank: of each; where it is less than its size, its first so many rows are independent.

    Returns:
        R with R Rᵀ = the matrices, `[row, output, rank]`.
    """
    left, columns = hessians, []
    for place in range(rank):
        pivot = left[:, place, place].clamp(min=0)[:, None]
        column = torch.where(pivot > 0, left[:, :, place] / torch.where(pivot > 0, pivot, 1.0).sqrt(), 0.0)
        left = left - column[:, :, None] * column[:, None, :]
        columns.append(column)
    return torch.stack(columns, -1)


def require_number_for_each_output(name: str, outputs: Tensor, targets: Tensor) -> None:
    """Refuse targets that are not one real number for each output.

    Args:
        name: of the objective.
        outputs: f, `[row, output]`.
        targets: y, of all rows.

    Raises:
        UserError: naming their form, and that of the outputs.
    """
    if not targets.is_floating_point() or targets.shape[1:] != outputs.shape[1:]:
        raise UserError(
            f"Targets of {name} must be real numbers [row, {outputs.shape[1]}] like the outputs, found "
            f"{list(targets.shape)} of {targets.dtype}."
        )
