"""Where the equation is evaluated, and what comes of it block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from fimo.gradients import Vectors
from fimo.preconditioners.base import Preconditioner
from fimo.problem import Problem


@dataclass(frozen=True)
class View:
    """Where the equation is evaluated: its P, and the parameters at which either side's gradients are taken.

    Attributes:
        P: fitted.
        at_test: the problem with the parameters at which gradients of test examples are taken.
        at_train: the problem with the parameters at which gradients of left-out training examples are taken.
        steps: of further training that the scores belong to, one for each matrix that P stands for, or all for its
            only one; None where they belong to no amount of it.
        products: P φ(g_i) of all left-out examples, where they were accumulated along a run; None to multiply.
        shares: of the scores of each step that come from this view, where several views make them up; None for all.
    """

    P: Preconditioner
    at_test: Problem
    at_train: Problem
    steps: Sequence[int] | None = None
    products: Vectors | None = None
    shares: Sequence[float] | None = None

    @property
    def from_left_out(self) -> bool:
        """Whether P is multiplied with the left-out examples' gradients: where P = Pᵀ and they are fewer."""
        rows = self.at_train.left_out.rows
        return self.products is not None or self.P.T is self.P and len(rows) < len(self.at_test.test)

    @property
    def at_one_place(self) -> bool:
        """Whether gradients of both sides are taken at the same parameters, and multiplied with P here."""
        return self.at_test.network is self.at_train.network and self.products is None

    @property
    def at_hand(self) -> bool:
        """Whether self-influence costs little more where the scores are computed."""
        return self.at_one_place and not self.from_left_out and self.P.multiplies_quickly


Views = Callable[[Preconditioner, Problem], Iterable[View]]


@dataclass(frozen=True)
class Tile:
    """Scores of some training rows for some test examples.

    Attributes:
        tests: which of the test examples, their positions `[test]`.
        rows: which of the training rows that are left out, or are in a group that is, their positions `[row]`.
        values: `[matrix, test, row]`, with an axis for the matrices that the view's P stands for.
        own: self-influence of these rows, `[matrix, row]`; None where it wasn't asked for, or came with other tests.
    """

    tests: Tensor
    rows: Tensor
    values: Tensor
    own: Tensor | None = None
