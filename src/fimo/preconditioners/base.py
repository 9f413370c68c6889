"""What a gradient-based method is: its choice of φ and P, and a name."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import fields, is_dataclass
from typing import Any, Self, TypeVar

import torch

from fimo.errors import UserError
from fimo.gradients import PHI, Gradients, Vectors
from fimo.problem import Problem
from fimo.unrolled.recursion import LinearisedSGD


class MethodWarning(UserWarning):
    """A method's scores are there, but not what was asked for."""


class Preconditioner(ABC):
    """The matrix P of score[j, i] = φ(g_j)ᵀ P φ(g_i) / n, with the φ that goes with it.

    Args:
        label: the method's name in legends and files.
        phi: what is done to each gradient first, `raw` or `unit_length`.

    Attributes:
        factored: whether `@` takes gradients in any form; without it they come as `DenseGradients`. `fit` may set it.
        symmetric: whether P = Pᵀ. Then the smaller set of gradients is multiplied; otherwise always the test examples',
            and `@` stands for Pᵀ.
        fitted_to_rows: whether P depends on training rows.
        dtype: that the problem is wanted in.
        unrolled: whether P depends on how much further training there was; `along` has to be called then.
        steps: after which, where it does: products have a first axis `step`. Else None.
        facts: what is told of a fit and its products, by name.
        notes: sentences for the reader of the scores, by what they are about.
    """

    factored = True
    symmetric = True
    fitted_to_rows = True
    dtype = torch.float64
    unrolled = False
    steps: list[int] | None = None

    def __init__(self, label: str, phi: str = "raw") -> None:
        if phi not in PHI:
            raise UserError(f"phi of {label} must be one of {', '.join(PHI)}, found {phi!r}.")
        self.label = label
        self.phi = PHI[phi]
        self.facts: dict[str, Any] = {}
        self.notes: dict[str, str] = {}

    def fit(self, problem: Problem) -> Self:
        """Do what is done once for a problem; overrides begin with this one, which forgets what was told before."""
        self.facts, self.notes = {}, {}
        return self

    def fit_to(self, problem: Problem, rows: int | None) -> Self:
        """`fit` to so many evenly spaced training rows (None: all), with a note of it."""
        self.fit(problem.sampled(rows))
        if self.fitted_to_rows and rows is not None and rows < len(problem.train):
            self.note("rows", f"curvature over {rows} of {len(problem.train)} training rows")
        return self

    def along(self, recursion: LinearisedSGD) -> Self:
        """Set what further training does, before `fit`, where P depends on it."""
        raise TypeError(f"{self.label} does not depend on further training")

    @abstractmethod
    def __matmul__(self, gradients: Gradients) -> Vectors:
        """P times each gradient."""

    def coordinates(self, problem: Problem) -> Problem:
        """The problem in the coordinates of θ in which P is written, with which gradients are taken."""
        return problem

    def only(self, place: int) -> Self:
        """P of one step, where it depends on it."""
        return self

    def note(self, about: str, text: str, warn: bool = False) -> None:
        """Keep a sentence for the reader, in place of an earlier one about the same; warn where it is a warning."""
        self.notes[about] = text
        if warn:
            warnings.warn(f"{self.label}: {text}", MethodWarning, stacklevel=3)


Kind = TypeVar("Kind")


def instance(kind: type[Kind], name: str, value: object) -> Kind:
    """`value`, which has to be of a class.

    Raises:
        UserError: where it isn't.
    """
    if not isinstance(value, kind):
        settings = " and ".join(field.name for field in fields(kind)) if is_dataclass(kind) else "its settings"
        raise UserError(f"{name} must be a {kind.__name__} with {settings}, found {value!r}.")
    return value


def whole(name: str, value: object, least: int = 1) -> int:
    """A whole number of at least `least`.

    Raises:
        UserError: where `value` is something else.
    """
    if type(value) is not int or value < least:
        raise UserError(f"{name} must be a whole number of at least {least}, found {value!r}.")
    return value
