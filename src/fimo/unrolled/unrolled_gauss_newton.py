"""P = P_t, what t steps of further training make of a left-out example's gradient on the quadratic model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from fimo.errors import MethodFailed
from fimo.gradients.diagonal_metric import DiagonalMetric
from fimo.gradients.training_set import vjp_over_training_set
from fimo.optimizers import LinearisedAdam, LinearisedSGD
from fimo.preconditioners.base import NO_DRAWS
from fimo.preconditioners.spectral_filters import GaussNewtonFilter
from fimo.problem import Parameters, Problem

# A deviation that no curvature shrinks keeps its size: where the largest eigenvalue is zero, but for rounding.
ROUNDING = 1e-9


class UnrolledGaussNewton(GaussNewtonFilter):
    """P_t = η Σ_{k<t} (I − ηG)^k, G the mean Gauss–Newton matrix: scores for every amount t of further training.

    P_t (arXiv 2412.03906, Proposition 1) is a function f_t of G (see `LinearisedSGD`, which knows momentum and decay
    too). t = 1 is Grad-Dot times η; t → ∞ is the undamped influence function. Nothing is left to choose. It neglects
    how G and the gradients change on the way, that a batch's G isn't that of all rows, clipping of gradients, and
    everything of second order in the left-out example's weight. Under Adam P_t = D^½ f_t(D^½ G D^½) D^½, D from the
    batch gradients of all rows at θ_f: it neglects also that Adam's mean of their squares changes (see
    `LinearisedAdam`). `fit` needs `for_training` first, and raises `MethodFailed` where further training would diverge.

    Args:
        label: the method's name.
        curvature_rows: G is the mean over so many evenly spaced training rows; None for all.
        dual_bytes: bound on the memory of the dual's Gram matrix, or of G; polynomials are taken beyond it.
        phi: see `Preconditioner`.
        curvature: that stands for G, `exact`, `sampled`, `sketched` or `empirical_fisher`.
        samples: draws for each row of a sampled or sketched curvature.
        seed: of the draws.

    Attributes:
        fixed_metric: D in place of that of the batches at θ_f: of a run, see `fimo.unrolled.trajectory`.
        in_segment: whether it stands for a part of a run, which is over before it could diverge.
    """

    added: ClassVar[Mapping[str, Any]] = {"curvature": "exact", "segments": 1, **NO_DRAWS}

    fixed_metric: DiagonalMetric | None = None
    in_segment = False

    def for_training(self, recursion: LinearisedSGD) -> Self:
        """Set what further training does; it is needed before `fit`."""
        self.recursion, self.steps = recursion, list(recursion.steps)
        return self

    def filters(self, eigenvalues: Tensor) -> Tensor:
        """f_t(σ), `[step, eigenvalue]`."""
        return self.recursion.filters(eigenvalues)

    def _check(self, largest: float) -> None:
        """Refuse further training that would diverge, along the eigenvector of the largest eigenvalue."""
        if not self.in_segment and self.recursion.spectral_radius(largest) > 1 + ROUNDING:
            rate = float(self.recursion.learning_rates.max())
            raise MethodFailed(
                f"{self.label} needs further training that is stable, but with the learning rate η = {rate:.3g} and "
                f"{self.recursion.matrix}'s largest eigenvalue σ = {largest:.3g}, ησ = {rate * largest:.3g} (below 2 "
                "without momentum): choose a smaller learning rate (optimizer.lr)."
            )

    def _metric(self, problem: Problem) -> DiagonalMetric | None:
        """None under SGD; that of Adam's division by the root of its mean of squares."""
        if not isinstance(self.recursion, LinearisedAdam):
            return None
        if self.fixed_metric is not None:
            return self.fixed_metric
        return DiagonalMetric.of_batches(problem, self.recursion.batch_size, self.recursion.epsilon)

    def drifts(self, problem: Problem, places: Sequence[int] | None = None) -> Iterator[Parameters]:
        """Δ_t = −P_t ∇R(θ_f), R the mean training loss with what weight decay adds.

        AdamW's decay of θ_f is a constant force too, for which its momentum makes no difference.

        Args:
            problem: at θ_f.
            places: of the steps t among those of the recursion; None for all.

        Yields:
            Δ_t by parameter, step after step.
        """
        functions = self.P if places is None else self.P.some(places)
        n, metric = len(problem.train), self.metric
        gradient = vjp_over_training_set(problem, torch.full((n,), 1 / n, dtype=torch.float64))
        self.diagnostics["mean_gradient_norm"] = sum(float(part.square().sum()) for part in gradient.values()) ** 0.5
        gradient = metric.gradient(gradient) if metric else gradient
        parameters = metric.rescaled(problem).parameters if metric else problem.parameters
        force = {name: part + self.recursion.weight_decay * parameters[name] for name, part in gradient.items()}
        for product in functions.vectors(force, self.fitted):
            drift = {name: -part for name, part in product.items()}
            yield metric.back(drift) if metric else drift


class MatchedGaussNewton(UnrolledGaussNewton):
    """P_t = (G + λI)⁻¹ with the damping of so much further training: λ = 1/(ηt), so that P_t of σ = 0 is ηt as well.

    With momentum, decay, Adam or a schedule of rates 1/λ is what a force of 1 comes to where there is no curvature.
    """

    def filters(self, eigenvalues: Tensor) -> Tensor:
        """1/(σ + 1/(ηt)), `[step, eigenvalue]`."""
        reach = self.recursion.filters(eigenvalues.new_zeros(1))
        return reach / (1 + eigenvalues.double() * reach)

    def _check(self, largest: float) -> None:
        """It exists for every η."""
