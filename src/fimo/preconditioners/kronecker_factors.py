"""EK-FAC (George et al. 2018): the Gauss–Newton matrix layer by layer, diagonal in a Kronecker-factored basis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from fimo.curvature.roots import damping_root
from fimo.errors import MethodFailed, some_of
from fimo.gradients import DenseGradients, Gradients, GradientSource
from fimo.gradients.base import Prepared
from fimo.gradients.diagonal_metric import AdamMetric, rescaled_name
from fimo.preconditioners.base import NO_DRAWS, Preconditioner
from fimo.preconditioners.corrected_eigenvalues import corrected_eigenvalues
from fimo.preconditioners.damping import Damping, vanishing
from fimo.preconditioners.kronecker_bases import MOST_SIDE, LayerBasis, Rotated, layer_bases
from fimo.preconditioners.settings import require_instance, require_metric
from fimo.problem import Problem

Layers = Sequence[tuple[LayerBasis, Tensor]]


InBases = Prepared[Sequence[Rotated]]  # gradients, and the same in the basis of each layer


def in_bases(layers: Layers, gradients: Gradients | InBases) -> Iterable[Rotated]:
    """Gradients in the basis of each layer, one after another where they aren't there yet.

    Args:
        layers: the bases, and what belongs to them.
        gradients: in either form.
    """
    if isinstance(gradients, Prepared):
        return gradients.made
    return (basis.rotated(gradients) for basis, _ in layers)


@dataclass(frozen=True)
class Preconditioned:
    """P times gradients, which are multiplied out only against other gradients, layer by layer.

    Attributes:
        layers: the basis of each, and its damped eigenvalues `[out, in]`.
        gradients: that P is multiplied with.
    """

    layers: Layers
    gradients: Gradients

    def inner(self, gradients: Gradients | InBases) -> Tensor:
        """Inner products with other gradients, `[row of self, row of gradients]`."""
        if not self.layers:  # none has curvature
            return torch.outer(torch.zeros_like(self.gradients.norms()), torch.zeros_like(gradients.norms()))
        if isinstance(gradients, DenseGradients):
            return self.multiplied.inner(gradients)
        total: Tensor | None = None
        for (_, damped), mine, theirs in zip(self.layers, self.rotated, in_bases(self.layers, gradients), strict=True):
            products = torch.cat([self._products(some / damped, theirs) for some in mine.pieces()])
            total = products if total is None else total.add_(products)
        assert total is not None
        return total

    @cached_property
    def multiplied(self) -> DenseGradients:
        """P times the gradients as they are, of all layers: then others need not be brought into their bases."""
        assert isinstance(self.gradients, DenseGradients)  # as those are that they are multiplied with
        products: dict[str, Tensor] = {}
        for basis, damped in self.layers:
            for name, part in basis.multiplied(1 / damped, self.gradients.tensors).items():
                products[name] = products[name] + part if name in products else part  # of a bias that two layers share
        return DenseGradients(products)

    @cached_property
    def rotated(self) -> Sequence[Rotated]:
        """The gradients in the basis of each layer, which all others are multiplied with."""
        return [basis.rotated(self.gradients) for basis, _ in self.layers]

    @staticmethod
    def _products(some: Tensor, others: Rotated) -> Tensor:
        return torch.cat([some.flatten(1) @ more.flatten(1).T for more in others.pieces()], 1)


class KroneckerFactors(Preconditioner):
    """P = Q(Λ + λ)⁻¹Qᵀ for each layer: Q from the Kronecker factors of the exact type-2 Fisher matrix.

    This is EK-FAC (George et al. 2018, arXiv 1806.03884). Λ is the Gauss–Newton matrix's diagonal in the basis Q, the
    mean over training rows of squared gradients. Weight and bias of a layer are one matrix. Parameters outside linear
    and two-dimensional convolution layers (without groups, padded with zeros, of at most `MOST_SIDE` inputs and
    outputs) get P = 0, and a note says which. `fit` raises `MethodFailed` for a network without such layers.

    Args:
        label: the method's name.
        damping: λ of each layer; `mean_eigenvalue` is the mean of the layer's Λ.
        phi: see `Preconditioner`.
        metric: with Λ that of D^½ G D^½ in the same basis Q, for gradients D^½ g; None or `none` for θ itself.
        curvature: that stands for G in both Q and Λ, `exact`, `sampled`, `sketched` or `empirical_fisher`.
        samples: draws for each row of a sampled or sketched curvature.
        seed: of the draws.
    """

    added: ClassVar[Mapping[str, Any]] = {"curvature": "exact", **NO_DRAWS}
    version = 2

    def __init__(
        self,
        label: str,
        damping: Damping,
        phi: str = "raw",
        metric: AdamMetric | str | None = None,
        curvature: str = "exact",
        samples: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(label, phi)
        self.set_curvature(curvature, samples, seed)
        self.metric_settings = require_metric(f"metric of {label}", metric)
        self.damping = require_instance(Damping, f"damping of {label}", damping)

    def fit(self, problem: Problem) -> Self:
        """Passes over the training rows: for the bases, for their eigenvalues, and for layers that need gradients.

        Raises:
            MethodFailed: where the network has no linear or convolution layer.
        """
        super().fit(problem)
        problem = self.with_draws(problem)
        bases = dict(layer_bases(problem, damping_root(self.kind)))
        if not bases:
            raise MethodFailed(
                f"{self.label} needs weights of linear or two-dimensional convolution layers, and θ of the network "
                f"{type(problem.network).__name__} has none: choose another method."
            )
        if self.metric_settings:
            self.metric = self.metric_settings.of(problem)
            problem = self.metric.rescaled(problem)
            bases = {path: replace(b, names=tuple(map(rescaled_name, b.names))) for path, b in bases.items()}
        source = GradientSource(problem, factored=not self.metric)
        self.factored = source.factored
        self._fit_eigenvalues(problem, source, bases)
        return self

    def _fit_eigenvalues(self, problem: Problem, source: GradientSource, bases: dict[str, LayerBasis]) -> None:
        """Λ and λ of each layer, and a note of the parameters that are in none."""
        root = damping_root(self.kind)
        eigenvalues = corrected_eigenvalues(problem, source, bases, root, rescaled=self.metric is not None)
        means = {path: float(values.mean()) for path, values in eigenvalues.items()}
        zero = vanishing(means, problem.dtype)
        dampings = {p: self.damping.value(source, partial(float, means[p])) for p in bases if p not in zero}
        self.layers = [(bases[path], eigenvalues[path] + damping) for path, damping in dampings.items()]
        if not self.layers:
            other = "another method" if self.kind == "empirical_fisher" else "curvature=empirical_fisher"
            raise MethodFailed(
                f"{self.label} divides by a curvature, and that of {problem.objective!r} is 0 at all training rows: "
                f"choose {other}."
            )
        self.diagnostics |= {"damping": str(self.damping), "damping_value": dampings}
        covered = {name for basis, _ in self.layers for name in basis.names}
        if others := [name.removeprefix(rescaled_name("")) for name in problem.parameters if name not in covered]:
            what = f"parameters outside linear and two-dimensional convolution layers of at most {MOST_SIDE:,} inputs "
            what += "and outputs, or that the loss does not depend on"
            what += ", or whose layer's weight is not in θ" if problem.part else ""
            # The note names a few of them; all are in the diagnostics.
            self.note("left out", f"P = 0 for {what} ({some_of(others)})")
            self.diagnostics["left_out"] = others

    def __matmul__(self, gradients: Gradients) -> Preconditioned:
        """P times each gradient."""
        return Preconditioned(self.layers, gradients)

    def for_both(self, gradients: Gradients) -> InBases:
        """The gradients, and the same in the basis of each layer: both products begin there."""
        return Prepared(gradients, list(in_bases(self.layers, gradients)))

    def quadratic_form(self, gradients: Gradients | InBases) -> Tensor:
        """The sum over layers of the squared entries of Qᵀ g, each over its damped eigenvalue, `[row]`."""
        pairs = zip(self.layers, in_bases(self.layers, gradients), strict=True)
        parts = [part.weighted_squares(1 / damped) for (_, damped), part in pairs]
        return torch.stack(parts).sum(0) if parts else torch.zeros_like(gradients.norms())
