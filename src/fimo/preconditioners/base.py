"""What a gradient-based method is: its choice of φ and P, and a name."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from fimo.curvature.roots import DRAWN, require_curvature
from fimo.curvature.sampling import Sampling
from fimo.errors import MethodWarning, UserError
from fimo.gradients import PHI, Gradients, Vectors
from fimo.gradients.diagonal_metric import DiagonalMetric
from fimo.preconditioners.settings import require_whole
from fimo.problem import Problem

# Settings of draws, which came later than addresses of results did.
NO_DRAWS = {"samples": 1, "seed": 0}
# Training rows that are looked at for a note of the loss's curvature.
ROWS_OF_A_NOTE = 256


class Preconditioner(ABC):
    """The matrix P of score[j, i] = φ(g_j)ᵀ P φ(g_i) / n, with the φ that goes with it.

    Args:
        label: the method's name in legends and files.
        phi: what is done to each gradient first, `raw` or `unit_length`.

    Raises:
        UserError: for another phi.

    Attributes:
        version: raised when the method's numbers change.
        added: settings that came later than addresses of results did: at these values they take no part in them.
        kind: of the curvature that P is made of, its name in `fimo.curvature.roots`; `none` for no curvature.
        sampling: of the draws that stand for the curvature's exact root; None for the root itself.
        from_training_rows: whether P is made of gradients at training rows.
        factored: whether `@` takes gradients in any form; without it they come as `DenseGradients`. `fit` may set it.
        dtype: that the problem is wanted in.
        multiplies_quickly: whether a product with P costs no solution, so that this P is its own `for_all_rows`.
        steps: labels of the matrices that P stands for where it is several, one for each amount of further training;
            products have a first axis for them then. None for one matrix.
        metric: of the coordinates that P is written in; None for those of θ itself. `fit` sets it where there is one.
        problem: that it was fitted to.
        diagnostics: residuals, dampings and scales of a fit and its products, by name; they are stored with the scores.
        notes: sentences for the reader of the scores, by what they are about.
    """

    version: ClassVar[int] = 1
    added: ClassVar[Mapping[str, Any]] = {}
    kind: str = "none"
    sampling: Sampling | None = None
    from_training_rows = True
    factored = True
    dtype = torch.float64
    multiplies_quickly = True
    steps: list[int] | None = None
    metric: DiagonalMetric | None = None
    problem: Problem

    def __init__(self, label: str, phi: str = "raw") -> None:
        if phi not in PHI:
            raise UserError(f"phi of {label} must be one of {', '.join(PHI)}, found {phi!r}.")
        self.label, self.phi_name = label, phi
        self._phi = PHI[phi]
        self.diagnostics: dict[str, Any] = {}
        self.notes: dict[str, str] = {}

    def set_curvature(self, curvature: str, samples: int, seed: int, indefinite: bool = False) -> None:
        """What P is made of, as settings have it.

        Args:
            curvature: `exact`, `sampled`, `sketched`, `empirical_fisher`; or `hessian`.
            samples: draws for each row of a sampled or sketched one.
            seed: of the draws.
            indefinite: whether a curvature without a root is allowed, too.

        Raises:
            UserError: for others, and samples of a curvature that draws nothing.
        """
        self.kind = require_curvature(f"curvature of {self.label}", curvature, indefinite)
        require_whole(f"samples of {self.label}", samples)
        require_whole(f"seed of {self.label}", seed, least=0)
        if self.kind in DRAWN:
            self.sampling = Sampling(samples, seed, self.kind)
        elif samples != 1:
            raise UserError(
                f"samples of {self.label} must be 1 where curvature is {curvature}, found {samples}: draws "
                f"are those of curvature={' or '.join(DRAWN)}."
            )

    @property
    def curvature_settings(self) -> dict[str, Any]:
        """What `set_curvature` was given, for another method of the same curvature."""
        drawn = {"samples": self.sampling.samples, "seed": self.sampling.seed} if self.sampling else {}
        return {"curvature": self.kind, **drawn}

    def with_draws(self, problem: Problem) -> Problem:
        """The problem as the curvature needs it, with draws where it is sampled."""
        return self.sampling.of(problem) if self.sampling else problem

    def fit(self, problem: Problem) -> Self:
        """Do what is done once for a problem; overrides begin with this one, which forgets diagnostics and notes.

        Args:
            problem: with the training rows that P is made of.

        Returns:
            Itself.
        """
        self.diagnostics, self.notes, self.metric, self.problem = {}, {}, None, problem
        self.stand_ins: dict[int, Any] = {}
        return self

    def fit_to(self, problem: Problem, rows: int | None) -> Self:
        """`fit` to evenly spaced training rows, with a note of it.

        Args:
            problem: with all training rows.
            rows: how many of them P is fitted to; None for all.

        Returns:
            Itself.
        """
        self.fit(problem.sampled(rows))
        if rows is not None and rows < len(problem.train):
            self.note("rows", f"curvature over {rows} of {len(problem.train)} training rows")
        return self

    @torch.no_grad()
    def note_curvature(self, problem: Problem) -> None:
        """Tell of a loss whose curvature is not its whole Hessian in the outputs.

        Args:
            problem: at a few of its training rows.
        """
        if self.kind in ("gauss_newton", *DRAWN) and not problem.objective.positive_hessian:
            few = problem.train.keep(slice(0, ROWS_OF_A_NOTE))
            outputs = problem.outputs(problem.parameters, few.inputs)
            if text := problem.objective.curvature_note(outputs, few.targets):
                self.note("curvature", text)

    def phi(self, gradients: Any) -> Gradients:
        """φ(g), and D^½ φ(g) in the coordinates of a metric D (see `DiagonalMetric`)."""
        gradients = self._phi(gradients)
        return self.metric.gradients(gradients) if self.metric else gradients

    @property
    def T(self) -> Preconditioner:
        """The transpose Pᵀ: P itself where P is symmetric, and only then."""
        return self

    @abstractmethod
    def __matmul__(self, gradients: Gradients) -> Vectors:
        """P times each φ(g).

        Args:
            gradients: φ(g); with `factored = False` they are `DenseGradients`, a tensor `[row, *parameter]` by name.

        Returns:
            What has `inner(gradients)`, the products `[row of these, row of the gradients]`, such as `DenseGradients`.
        """

    def quadratic_form(self, gradients: Any) -> Tensor:
        """φ(g)ᵀ P φ(g) of each row φ(g), `[row]`, or `[matrix, row]` of several matrices."""
        return (self @ gradients).inner(gradients).diagonal(dim1=-2, dim2=-1)

    def for_both(self, gradients: Any) -> Any:
        """Gradients φ(g) in the form that products with P times others and `quadratic_form` share most work in."""
        return gradients

    def for_all_rows(self, most_rows: int) -> Preconditioner:
        """A fitted P with which `quadratic_form` costs little for a row: this one, unless a product costs a solution.

        Args:
            most_rows: training rows that another one may be fitted to, of which a note tells.

        Raises:
            MethodFailed: where there is none.
        """
        return self

    def note(self, about: str, text: str, warn: bool = False) -> None:
        """Keep a sentence for the reader, in place of an earlier one about the same.

        Args:
            about: what the sentence is about.
            text: the sentence.
            warn: whether it is a warning, too.
        """
        self.notes[about] = text
        if warn:
            warnings.warn(f"{self.label}: {text}", MethodWarning, stacklevel=3)
