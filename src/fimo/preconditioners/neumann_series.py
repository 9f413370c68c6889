"""P ≈ (C + λI)⁻¹ by a truncated Neumann series on mini-batches: LiSSA (Agarwal et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from fimo.curvature.products import LinearSystem, curvature, ritz_values
from fimo.curvature.roots import damping_root
from fimo.dtypes import DTYPES
from fimo.errors import MethodFailed, UserError
from fimo.gradients import Gradients, Vectors
from fimo.memory import DUAL_BYTES
from fimo.preconditioners.base import Preconditioner
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.neumann_filter import NeumannFilter
from fimo.preconditioners.settings import require_instance, require_whole
from fimo.preconditioners.spectral_filters import stand_in
from fimo.problem import Problem
from fimo.randomness import seed_of

# The recursion looks whether it has diverged after so many steps, after twice as many, and so on: a look costs as much
# as a hundred steps in a large dual.
FIRST_CHECK = 100
PAPER_DEPTH = 5000


class NeumannSeries(Preconditioner):
    """h ← g + h − (C_B h + λh)/s from h = g, `depth` times with a new batch B each; Pᵀ g = h / s, mean over repeats.

    The recursion gives Pᵀ, since it is made for test examples' gradients (LiSSA: Agarwal et al. 2017; Koh and Liang
    2017); with batches P isn't symmetric. P g is 1/s times the sum of all h of h ← h − (C_B h + λh)/s from h = g on,
    over the batches in the reverse order.

    The paper's list of scales s is tried in turn; a column takes the first with which it doesn't diverge, and is NaN
    where there is none. A column diverged when it is not finite, or longer than it could be with a positive definite
    C_B + λI of norm below 2s: ‖P g‖ ≤ 2‖g‖/λ, without negative eigenvalues also ‖h‖ ≤ (depth + 1)‖g‖.

    Args:
        label: the method's name.
        curvature: C, `exact`, `sampled`, `sketched`, `empirical_fisher` or `hessian`.
        damping: λ.
        depth: steps of the recursion.
        batch_size: rows of a batch, drawn with replacement; None for all rows in every step.
        scales: tried in this order.
        scale: taken in their place where it is given.
        repeat: recursions with other batches that are averaged.
        seed: of the batches, and of the draws of a sampled or sketched curvature.
        dtype: to compute in, `float64` or `float32`; None for float64, for the Hessian float32: it has no dual.
        dual_bytes: bound on the memory of the dual's Gram matrix; the primal path is taken beyond it.
        phi: see `Preconditioner`.
        samples: draws for each row of a sampled or sketched curvature; they are the same in all batches.

    Raises:
        UserError: for a setting that it does not take.
    """

    added: ClassVar[Mapping[str, Any]] = {"samples": 1}
    multiplies_quickly = False

    def __init__(
        self,
        label: str,
        curvature: str,
        damping: Damping,
        depth: int,
        batch_size: int | None,
        scales: Sequence[float],
        scale: float | None = None,
        repeat: int = 1,
        seed: int = 0,
        dtype: str | None = None,
        dual_bytes: int = DUAL_BYTES,
        phi: str = "raw",
        samples: int = 1,
    ) -> None:
        super().__init__(label, phi)
        given = scales if scale is None else [scale]
        numbers = isinstance(given, Sequence) and all(type(s) in (int, float) and 0 < s < float("inf") for s in given)
        if not numbers or not given:
            raise UserError(f"scales of {label} must be a list of numbers above 0, found {given!r}.")
        self.set_curvature(curvature, samples, seed, indefinite=True)
        self.scales, self.damping = list(given), require_instance(Damping, f"damping of {label}", damping)
        self.dual_bytes = require_whole(f"dual_bytes of {label}", dual_bytes, least=0)
        self.depth = require_whole(f"depth of {label}", depth)
        self.repeat = require_whole(f"repeat of {label}", repeat)
        self.seed = require_whole(f"seed of {label}", seed, least=0)
        self.batch_size = batch_size if batch_size is None else require_whole(f"batch_size of {label}", batch_size)
        dtype = dtype or ("float32" if curvature == "hessian" else "float64")
        if dtype not in DTYPES:
            raise UserError(f"dtype of {label} must be one of {', '.join(DTYPES)}, found {dtype!r}.")
        self.dtype = DTYPES[dtype]

    def fit(self, problem: Problem) -> Self:
        """The curvature's products, λ, the batches; for the Hessian also whether it is indefinite."""
        super().fit(problem)
        problem = self.with_draws(problem)
        self.curvature = curvature(problem, self.kind, self.dual_bytes)
        self.factored = self.curvature.source.factored
        self.value = self.damping.of_curvature(self.curvature.source, self.diagnostics, damping_root(self.kind))
        self.batches = [self._draw(problem, number) for number in range(self.repeat)]
        if self.curvature.narrow:
            self.note("path", self.curvature.path)
        if self.depth < PAPER_DEPTH:
            self.note("depth", f"depth {self.depth} in place of the paper's {PAPER_DEPTH}")
        self.diagnostics |= {"path": self.curvature.path, "scales": {}, "diverged": 0}
        if self.kind == "hessian":
            assert self.curvature.primal is not None  # a Hessian has no dual
            lowest = float(ritz_values(self.curvature.primal, steps=min(30, max(10, self.depth)))[0])
            self.diagnostics |= {"lowest_ritz_value": lowest, "indefinite": lowest + self.value < 0}
            if self.diagnostics["indefinite"]:
                indefinite = f"H + λI is indefinite: H has a Ritz value of {lowest:.2e}, λ is {self.value:.2e}"
                self.note("indefinite", indefinite)
        return self

    @property
    def T(self) -> Preconditioner:
        """Pᵀ, by the recursion; the diagnostics and notes are those of P. With full batches P is symmetric."""
        return self if self.batch_size is None else _Transposed(self)

    def _draw(self, problem: Problem, number: int) -> list[Tensor | None]:
        if self.batch_size is None:
            return [None] * self.depth
        generator = torch.Generator().manual_seed(seed_of(self.seed, number))
        # Drawn on the CPU, so that they are the same wherever the rest is computed.
        rows = torch.randint(len(problem.train), (self.depth, self.batch_size), generator=generator)
        return list(rows.to(problem.device))

    def __matmul__(self, gradients: Gradients) -> Vectors:
        """P times each gradient."""
        return self.multiply(gradients, reverse=self.batch_size is not None)

    def multiply(self, gradients: Gradients, reverse: bool) -> Vectors:
        """P or Pᵀ times each gradient; the scales that were taken go to `diagnostics`.

        Args:
            gradients: in the form that `factored` says.
            reverse: with the batches in the reverse order, for P; in their order for Pᵀ.

        Returns:
            The products.
        """
        system = self.curvature.system(gradients)
        result = torch.full_like(system.rhs, torch.nan)
        left = torch.arange(result.shape[1], device=result.device)
        for scale in self.scales:
            products, converged = self._mean(system.select(left), scale, reverse)
            result[:, left[converged]] = products[:, converged]
            if count := int(converged.sum()):
                self.diagnostics["scales"][f"{scale:g}"] = self.diagnostics["scales"].get(f"{scale:g}", 0) + count
            left = left[~converged]
            if len(left) == 0:
                break
        self._note_scales(len(left))
        return system.to_gradients(result)

    def for_all_rows(self, most_rows: int) -> Preconditioner:
        """The mean over all batches that might have been drawn, with the scale that most gradients took.

        Args:
            most_rows: see `Preconditioner.for_all_rows`.

        Raises:
            MethodFailed: for a Hessian, which has no dual, and where the recursion diverged.
        """
        if self.kind == "hessian":
            raise MethodFailed(f"{self.label} has no self-influence: it would cost a recursion for each training row.")
        if self.diagnostics["diverged"] and not self.diagnostics["scales"]:
            raise MethodFailed(f"{self.label} has no self-influence: its recursion diverged at all test examples.")
        return stand_in(self, self._filter, most_rows)

    def _filter(self) -> NeumannFilter:
        taken = self.diagnostics["scales"]
        scale = float(max(taken, key=taken.__getitem__)) if taken else self.scales[0]
        return NeumannFilter(self.label, self.value, self.depth, scale, self.phi_name, self.curvature_settings)

    def _note_scales(self, diverged: int) -> None:
        """Note which scales were taken, and how many of all columns so far diverged with all."""
        self.diagnostics["diverged"] += diverged
        if taken := [f"{scale} for {count}" for scale, count in self.diagnostics["scales"].items()]:
            self.note("scales", f"scale {', '.join(taken)} gradients")
        if diverged := self.diagnostics["diverged"]:
            columns = diverged + sum(self.diagnostics["scales"].values())
            tried = ", ".join(f"{scale:g}" for scale in self.scales)
            self.note("diverged", f"{diverged} of {columns} gradients diverged with every scale ({tried})", warn=True)

    def _mean(self, system: LinearSystem, scale: float, reverse: bool) -> tuple[Tensor, Tensor]:
        """Mean over the repeats of h / s, and which columns diverged in none of them."""
        total, converged = torch.zeros_like(system.rhs), torch.ones_like(system.rhs[0], dtype=torch.bool)
        for batches in self.batches:
            h, good = self._recursion(system, scale, batches[::-1] if reverse else batches, reverse)
            total, converged = total + h / (scale * self.repeat), converged & good
        return total, converged

    def _recursion(
        self, system: LinearSystem, scale: float, batches: Sequence[Tensor | None], reverse: bool
    ) -> tuple[Tensor, Tensor]:
        """The vectors h in the end, and which columns didn't diverge; those that did take no part any more."""
        result = torch.zeros_like(system.rhs)
        left = torch.arange(result.shape[1], device=result.device)
        h, norms = system.rhs.clone(), system.norms(system.rhs)
        term = h.clone()  # the last of the sum that P g is
        checks = {FIRST_CHECK << doublings for doublings in range(len(batches).bit_length())} | {len(batches)}
        for step, batch in enumerate(batches, 1):
            if reverse:
                term = term - (system.matvec(term, batch) + self.value * term) / scale
                h += term
            else:
                system.neumann_step(h, batch, keep=1 - self.value / scale, rate=1 / scale)
            if step in checks:
                lengths = system.norms(h)
                good = lengths.isfinite() & (lengths <= self._longest(step, scale) * norms)
                if not good.all():
                    system, left, norms = system.select(good), left[good], norms[good]
                    h, term = h[:, good], term[:, good]
                if len(left) == 0:
                    break
        result[:, left] = h
        converged = torch.zeros(result.shape[1], dtype=torch.bool, device=result.device)
        converged[left] = True
        return result, converged

    def _longest(self, step: int, scale: float) -> float:
        """Bound on ‖h‖/‖g‖, with room for rounding."""
        bound = 2 * scale / self.value
        return 1.001 * (min(bound, step + 1.0) if self.kind != "hessian" else bound)


class _Transposed(Preconditioner):
    """Pᵀ of a fitted Neumann series P."""

    def __init__(self, series: NeumannSeries) -> None:
        super().__init__(series.label)
        self.series, self.factored, self.dtype = series, series.factored, series.dtype
        self.diagnostics, self.notes = series.diagnostics, series.notes

    @property
    def T(self) -> Preconditioner:
        """P."""
        return self.series

    def __matmul__(self, gradients: Gradients) -> Vectors:
        """Pᵀ times each gradient."""
        return self.series.multiply(gradients, reverse=False)
