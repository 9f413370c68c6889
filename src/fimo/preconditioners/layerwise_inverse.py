"""An approximate (G + λI)⁻¹, layer by layer, of vectors as they are: it preconditions conjugate gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from fimo.curvature.products import PrimalCurvature
from fimo.gradients import DenseGradients, GradientSource
from fimo.gradients.cotangents import of_curvature
from fimo.gradients.diagonal_metric import AdamMetric
from fimo.gradients.source import mean_squares
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.kronecker_bases import LayerBasis
from fimo.preconditioners.kronecker_factors import KroneckerFactors
from fimo.problem import Parameters, Problem


@dataclass(frozen=True)
class LayerwiseInverse:
    """M⁻¹ with M = Q(Λ + λ)Qᵀ of EK-FAC in each layer that it has, and G's mean diagonal + λ in every other tensor.

    Attributes:
        parameters: that vectors are about, in their order.
        layers: the basis of each layer, and its damped eigenvalues `[out, in]`.
        diagonal: G's mean diagonal + λ of each other tensor, by name.
    """

    parameters: Parameters
    layers: Sequence[tuple[LayerBasis, Tensor]]
    diagonal: Mapping[str, float]

    @classmethod
    def of(
        cls, problem: Problem, curvature: PrimalCurvature, damping: float, metric: AdamMetric | None
    ) -> LayerwiseInverse:
        """M of a problem.

        Args:
            problem: at θ_f.
            curvature: that is to be inverted; its problem is in the coordinates of the metric.
            damping: λ.
            metric: of these coordinates; None for those of θ itself.

        Returns:
            M⁻¹.

        Raises:
            MethodFailed: where the network has no layer that EK-FAC takes.
        """
        factors = KroneckerFactors("CG's preconditioner ekfac", Damping(damping), metric=metric).fit(problem)
        covered = {name for basis, _ in factors.layers for name in basis.names}
        diagonal = {}
        if covered < set(curvature.problem.parameters):
            source = GradientSource(curvature.problem, factored=metric is None)
            means = mean_squares(source.problem, source.blocks(source.problem.train, of_curvature))
            diagonal = {name: mean + damping for name, mean in means.items() if name not in covered}
        return cls(curvature.problem.parameters, factors.layers, diagonal)

    def __call__(self, vectors: Tensor) -> Tensor:
        """M⁻¹ times vectors `[param, column]`."""
        tensors = dict(DenseGradients.of_flat(vectors.T, self.parameters).tensors)
        for basis, damped in self.layers:
            tensors |= basis.multiplied(1 / damped, tensors)
        for name, value in self.diagonal.items():
            tensors[name] = tensors[name] / value
        return DenseGradients(tensors).flat().T
