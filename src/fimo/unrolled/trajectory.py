"""Scores along one full run of further training: gradients where it really was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fimo.curvature.spectrum import SpectralFunctions, Spectrum
from fimo.errors import UserError
from fimo.gradients.dense import DenseGradients, per_example_gradients
from fimo.gradients.source import GradientSource
from fimo.preconditioners.spectral_filters import ZERO
from fimo.problem import Parameters, Problem
from fimo.rows import Rows
from fimo.unrolled.displaced import displaced
from fimo.unrolled.recursion import LinearisedSGD
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton


def trajectory_scores(P: UnrolledGaussNewton, problem: Problem, way: Sequence[Parameters]) -> Tensor:
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
    if recursion.momentum or type(recursion) is not LinearisedSGD:
        raise UserError(f"path=true of {P.label} needs SGD without momentum: choose moved=both instead.")
    if not isinstance(functions, SpectralFunctions):
        raise UserError(
            f"path=true of {P.label} needs the eigendecomposition of the dual, which is larger than dual_bytes allows: "
            "raise it, or choose fewer curvature_rows."
        )
    spectrum, decay = functions.spectrum, recursion.weight_decay
    left_out = problem.train.keep(problem.left_out)
    plain = inside = curved = torch.zeros(1, dtype=torch.float64, device=problem.device)
    scores, begin, (before, before_inside) = [], 0, _joined(_gradients(problem, left_out, spectrum))
    for end, parameters in zip(recursion.steps, way, strict=True):
        by = {name: parameters[name].to(part) - part for name, part in problem.parameters.items()}
        there = displaced(problem, by)
        after, after_inside = _joined(_gradients(there, left_out, spectrum))
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
        products = [g @ plain.mT + within.mT @ curved for g, within in _gradients(there, problem.test, spectrum)]
        scores.append(torch.cat(products) / len(problem.train))
        before, before_inside, begin = after, after_inside, end
    return torch.stack(scores)


def _gradients(problem: Problem, rows: Rows, spectrum: Spectrum) -> Iterator[tuple[Tensor, Tensor]]:
    """Gradients of some rows, block by block: g `[row, param]` and UᵀA g `[n·rank, row]`."""
    dual = spectrum.dual.rows
    like_dual = GradientSource(problem, factored=not isinstance(dual, DenseGradients))
    size = GradientSource(problem, factored=False).block_rows
    for start in range(0, len(rows), size):
        some = rows.keep(slice(start, start + size))
        flat = per_example_gradients(problem, some)
        gradients = like_dual(some) if like_dual.factored else flat
        yield flat.flat().double(), spectrum.vectors.T @ dual.inner(gradients).double()


def _joined(blocks: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """All blocks' rows."""
    flat, within = zip(*blocks, strict=True)
    return torch.cat(flat), torch.cat(within, dim=1)
