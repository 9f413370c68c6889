"""DataInf (Kwon et al. 2024): the mean of damped inverses of rank one, in place of the inverse of the mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor

from fimo.gradients import Gradients, GradientSource, Vectors
from fimo.gradients.base import LinearCombination
from fimo.gradients.cotangents import of_fisher
from fimo.gradients.source import mean_squares
from fimo.memory import KEPT_GRADIENT_BYTES, MADE_ONCE_BYTES, PRODUCT_ROWS
from fimo.preconditioners.base import Preconditioner
from fimo.preconditioners.damping import Damping, vanishing
from fimo.preconditioners.settings import require_instance
from fimo.problem import Problem


class MeanOfInverses(Preconditioner):
    """P is block-diagonal, P_l = mean over training rows k of (g_kl g_klᵀ + λ_l I)⁻¹ for each parameter tensor l.

    This is DataInf (Kwon et al. 2024, arXiv 2310.00902). By Sherman–Morrison, with the mean over all training rows k,
    P_l g_l = (g_l − mean of g_kl (g_kl·g_l) / (λ_l + ‖g_kl‖²)) / λ_l.

    Where rows have weights w_k it is the weighted mean of (g_kl g_klᵀ + λ_l/w̄ I)⁻¹, divided by w̄ = mean of w_k, as the
    curvature that it stands for, the mean of w_k g_k g_kᵀ, is w̄ times a weighted mean.

    Args:
        label: the method's name.
        damping: λ_l; `mean_eigenvalue` is the mean of g_l² over training rows and entries, tensor by tensor.
        phi: see `Preconditioner`.
    """

    def __init__(self, label: str, damping: Damping, phi: str = "raw") -> None:
        super().__init__(label, phi)
        self.damping = require_instance(Damping, f"damping of {label}", damping)

    def fit(self, problem: Problem) -> Self:
        """The dampings of all tensors."""
        super().fit(problem)
        self.source = GradientSource(problem)
        self.n, weights = len(problem.train), problem.train.weights
        # w̄/w_k, which takes ‖√w_k g_k‖² to w̄ ‖g_k‖². Any number does where both are 0.
        self.ratios = None if weights is None else torch.where(weights > 0, weights.mean() / weights, 1.0)
        # Where they are few they are made once.
        self.kept = list(self._made()) if self.n * self.source.row_bytes <= MADE_ONCE_BYTES else None
        means = mean_squares(problem, self._blocks())
        zero = vanishing(means, problem.dtype)
        self.values = {
            name: self.damping.value(self.source, partial(float, mean))
            for name, mean in means.items()
            if name not in zero
        }
        if zero:
            names = ", ".join(sorted(zero))
            self.note("left out", f"P = 0 for parameters whose gradient is zero but for rounding ({names})")
        self.diagnostics |= {"damping": str(self.damping), "damping_value": self.values}
        return self

    def __matmul__(self, gradients: Gradients) -> Vectors:
        """P times each gradient."""
        if self.source.factored and self.n * self.source.row_bytes > KEPT_GRADIENT_BYTES:
            return Streamed(self, gradients)
        terms = self.terms(gradients)
        result = next(terms)
        for term in terms:
            result = result + term
        return result

    def _made(self) -> Iterator[Gradients]:
        """Gradients of all training rows, block by block, made anew."""
        return self.source.blocks(self.source.problem.train, of_fisher, PRODUCT_ROWS)

    def _blocks(self) -> Iterable[Gradients]:
        """The same, as they were made where they are kept."""
        return self._made() if self.kept is None else self.kept

    def quadratic_form(self, gradients: Gradients) -> Tensor:
        """Σ_l (‖g_l‖² − mean over k of (g_kl·g_l)² / (λ_l + ‖g_kl‖²)) / λ_l, `[row]`."""
        total = sum(squares / self.values.get(name, torch.inf) for name, squares in gradients.squares().items())
        start = 0
        for block in self._blocks():
            rows = slice(start, start := start + len(block))
            products = gradients.inner_per_parameter(block)
            for name, weights in self._weights(block, products, rows):
                total = total + (weights * products[name]).sum(1)
        assert isinstance(total, Tensor)
        return total

    def terms(self, gradients: Gradients) -> Iterator[LinearCombination]:
        """What P times each gradient is the sum of: one term of its own, and one for each block of training rows."""
        yield gradients.linear_combination(dict(self._own(gradients)))
        start = 0
        for block in self._blocks():
            rows = slice(start, start := start + len(block))
            yield block.linear_combination(dict(self._weights(block, gradients.inner_per_parameter(block), rows)))

    def _own(self, gradients: Gradients) -> Iterator[tuple[str, Tensor]]:
        for name, squares in gradients.squares().items():
            yield name, torch.diag(torch.full_like(squares, 1 / self.values.get(name, torch.inf)))

    def _weights(self, block: Gradients, products: Mapping[str, Tensor], rows: slice) -> Iterator[tuple[str, Tensor]]:
        """What each training row of a block counts in P g, by parameter tensor: `[row of g, row of the block]`."""
        squares = block.squares()
        if self.ratios is not None:
            squares = {name: square * self.ratios[rows].to(square) for name, square in squares.items()}
        for name, product in products.items():
            value = self.values.get(name, torch.inf)
            yield name, product / (value + squares[name]) / (-self.n * value)  # 0 where λ is infinite: P = 0


@dataclass(frozen=True)
class Streamed:
    """P times gradients whose terms don't fit into memory together."""

    method: MeanOfInverses
    gradients: Gradients

    def inner(self, gradients: Gradients) -> Tensor:
        """Inner products over all parameters, `[row of self, row of gradients]`."""
        first, *others = (term.inner(gradients) for term in self.method.terms(self.gradients))
        return sum(others, first)
