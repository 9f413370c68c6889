"""Scores along one full run of further training: gradients where it really was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fimo.errors import UserError
from fimo.gradients.per_example import MatrixGradients, per_example_gradients
from fimo.gradients.source import GradientSource
from fimo.gradients.spectrum import SpectralFunctions
from fimo.preconditioners.drift import displaced
from fimo.preconditioners.gauss_newton_functions import ZERO
from fimo.preconditioners.linear_recursion import LinearRecursion
from fimo.preconditioners.unrolled_gauss_newton import UnrolledGaussNewton
from fimo.problem import Parameters, Problem


def along_path(P: UnrolledGaussNewton, problem: Problem, way: Sequence[Parameters]) -> Tensor:
    """Scores after every evaluated step, `[step, test, left_out]`, from one full run of further training.

        u ← (I − ηG)^k u + P_k ((1 − a) g_i(θ) + a g_i(θ')),   a = (k − 1)/(2k)        score[j, i] = g_j(θ')ᵀ u_i / n

    over the k steps from one evaluated step to the next, which lead from θ to θ' (a is the mean of how much of that way
    was gone before each of them); G is that of θ_f, P_k as in `UnrolledGaussNewton`, (I − ηG)^k = I − G P_k. The
    deviation u_i is kept as w_i + AᵀU z_i, A and U as in `Spectrum`.

    Args:
        P: fitted to the problem, by its eigendecomposition.
        problem: at θ_f.
        way: θ after each evaluated step.

    Raises:
        UserError: under momentum or Adam, whose velocity would have to be kept too; and without the eigendecomposition.
    """
    recursion, functions = P.recursion, P.P
    if recursion.momentum or type(recursion) is not LinearRecursion:
        raise UserError(f"path=true of {P.label} needs SGD without momentum: choose moved=both instead.")
    if not isinstance(functions, SpectralFunctions):
        raise UserError(
            f"path=true of {P.label} needs the eigendecomposition of the dual, which is larger than dual_bytes allows: "
            "raise it, or choose fewer curvature_rows."
        )
    spectrum, decay = functions.spectrum, recursion.weight_decay
    sides = _Sides(problem, functions)
    plain = inside = curved = torch.zeros(1, dtype=torch.float64, device=problem.device)
    scores, begin = [], 0
    before, before_inside = sides.at(problem, "left_out")
    for end, parameters in zip(recursion.steps, way, strict=True):
        there = displaced(
            problem, {name: parameters[name].to(part) - part for name, part in problem.parameters.items()}
        )
        after, after_inside = sides.at(there, "left_out")
        segment = replace(recursion, rates=recursion.rates[begin:end], steps=[end - begin])
        pulled, pulled_outside = segment.filters(spectrum.eigenvalues), segment.filters(ZERO).to(functions.filters)
        kept, kept_outside = 1 - (spectrum.eigenvalues + decay) * pulled, 1 - decay * pulled_outside
        gone = (end - begin - 1) / (2 * (end - begin))
        pull, pull_inside = before.lerp(after, gone), before_inside.lerp(after_inside, gone)
        keep_slope = replace(functions, filters=kept, outside=kept_outside).slopes.mT
        pull_slope = replace(functions, filters=pulled, outside=pulled_outside).slopes.mT
        curved = kept.mT * curved + keep_slope * inside + pull_slope * pull_inside
        inside = kept_outside * inside + pulled_outside * pull_inside
        plain = kept_outside * plain + pulled_outside * pull
        test, test_inside = sides.at(there, "test")
        scores.append((test @ plain.mT + test_inside.mT @ curved) / len(problem.train))
        before, before_inside, begin = after, after_inside, end
    return torch.stack(scores)


class _Sides:
    """Gradients of test or left-out examples somewhere: flat, `[row, param]`, and UᵀA g, `[n·rank, row]`."""

    def __init__(self, problem: Problem, functions: SpectralFunctions) -> None:
        self.rows = {"test": problem.test, "left_out": problem.train.keep(problem.left_out)}
        self.spectrum = functions.spectrum

    def at(self, problem: Problem, side: str) -> tuple[Tensor, Tensor]:
        """Both, at the problem's parameters."""
        rows, dual = self.rows[side], self.spectrum.dual.rows
        flat = per_example_gradients(problem, rows).flat()
        factored = not isinstance(dual, MatrixGradients)
        found = [dual.products(g) for g in GradientSource(problem, factored).blocks(rows)]
        return flat.double(), self.spectrum.vectors.T @ torch.cat(found, dim=1).double()
