"""The eigenvalues Λ of EK-FAC: the Gauss–Newton matrix's diagonal in the bases of its Kronecker factors.

Of a layer it is the mean over training rows of the squared gradients in the basis, (Q_outᵀ G Q_in)², for each scalar
whose gradients the curvature is made of. With G = Σ_p δ_p a_pᵀ over places p (output pixels of a convolution, positions
of a sequence), inputs a are the same for all scalars of a row, and either the factors are rotated or G is, whichever
takes fewer multiplications.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from fimo.gradients import GradientSource
from fimo.gradients.cotangents import Cotangents
from fimo.gradients.factored import layers_by_themselves
from fimo.gradients.footprint import activation_bytes
from fimo.gradients.layers import Layer
from fimo.gradients.passes import LayerPass, layer_passes, recorded_calls
from fimo.gradients.source import row_blocks
from fimo.gradients.verified import FactorsDiffer, warn_of_dense_gradients
from fimo.gradients.vmapped import vmap_takes, vmapped_passes
from fimo.memory import BLOCK_BYTES, CACHE_BYTES
from fimo.preconditioners.kronecker_bases import LayerBasis
from fimo.preconditioners.layer_covariances import LinearLayer, inputs_by_place, outputs_by_place
from fimo.problem import Problem

Bases = Mapping[str, LayerBasis]


def corrected_eigenvalues(
    problem: Problem, source: GradientSource, bases: Bases, root: Cotangents, rescaled: bool
) -> dict[str, Tensor]:
    """Λ of each layer.

    Layers that can't be taken by themselves (that share a parameter, have one that is not in θ, are called twice, …)
    have theirs from gradients of their parameters, which a second pass over the training rows makes; all layers do
    where one of them, unlike at the first two rows, has not its own rows.

    Args:
        problem: network, objective and training rows.
        source: of these gradients.
        bases: of the layers, by path.
        root: of the curvature, see `fimo.curvature.roots`.
        rescaled: whether gradients are those of other coordinates than the layers' own.

    Returns:
        `[out, in]` by path.
    """
    few, eigenvalues = problem.train.keep(slice(0, 2)), {}
    if not rescaled and (layers := layers_by_themselves(problem.network, few.inputs, bases)):
        try:
            passes = layer_passes(problem, few, layers, root, in_numbers=True)
            make = vmapped_passes if vmap_takes(problem, few, passes, root) else layer_passes
            blocks = row_blocks(problem.train, max(1, BLOCK_BYTES // _row_bytes(problem, layers, source.scalars(root))))
            eigenvalues = _of_passes((make(problem, block, layers, root) for block in blocks), problem, bases, layers)
        except FactorsDiffer as reason:
            if source.factored:  # nor can its gradients be: all of the computation begins anew
                raise
            warn_of_dense_gradients(problem.network, reason)
    others = {path: basis for path, basis in bases.items() if path not in eigenvalues}
    return eigenvalues | (_of_gradients(problem, source, others, root) if others else {})


def _of_passes(
    passes: Iterable[Sequence[LayerPass]], problem: Problem, bases: Bases, layers: Collection[str]
) -> dict[str, Tensor]:
    """From what goes into the layers and comes back to their outputs, without any gradient of a parameter."""
    totals = {path: bases[path].left.new_zeros(len(bases[path].left), len(bases[path].right)) for path in layers}
    for parts in passes:
        for part in parts:
            totals[part.name] += _squares(part, bases[part.name])
    return {path: total / len(problem.train) for path, total in totals.items()}


def _row_bytes(problem: Problem, layers: Mapping[str, type[Layer]], scalars: int) -> int:
    """Bytes that a row takes: its activations, δ of all scalars, and the patches of the layer that has the most."""
    network, longest = problem.network, problem.train.by_length()[-1:]
    calls = recorded_calls(network, layers, problem.train[longest][0])[1]
    deltas = scalars * sum(output.nbytes for made in calls.values() for _, output in made)
    patches = [
        kind.extra_bytes(network.get_submodule(path), given, output)
        for path, kind in layers.items()
        for given, output in calls[path]
        if len(given)
    ]
    return activation_bytes(problem) + deltas + 2 * max(patches, default=0)


def _of_gradients(problem: Problem, source: GradientSource, bases: Bases, root: Cotangents) -> dict[str, Tensor]:
    """From gradients of the layers' parameters, whatever form they have."""
    totals = {path: torch.zeros((), dtype=basis.left.dtype) for path, basis in bases.items()}
    names = dict.fromkeys(name for basis in bases.values() for name in basis.names)
    for block in source.blocks(problem.train, root, names=names):
        for path, basis in bases.items():
            totals[path] = basis.rotated(block).squared_entries() + totals[path]
    return {path: total / len(problem.train) for path, total in totals.items()}


def _squares(part: LayerPass, basis: LayerBasis) -> Tensor:
    """Sum over rows and scalars of a layer's squared gradients in its basis, `[out, in]`."""
    assert isinstance(part.module, LinearLayer)
    inputs = inputs_by_place(part.module, part.inputs)  # [row, place, in]
    by_place = [outputs_by_place(part.module, delta) for delta in part.deltas]
    deltas = torch.stack(by_place, 1)  # [row, scalar, out, place]
    _, scalars, outputs, places = deltas.shape
    width = inputs.shape[2]
    if places == 1:
        squares = (deltas[..., 0] @ basis.left).square().sum(1)
        return squares.T @ (inputs[:, 0] @ basis.right).square()
    rotates_factors = places * (width**2 + scalars * outputs**2) < scalars * outputs * width * (outputs + width)
    if rotates_factors:
        inputs, deltas = inputs @ basis.right, basis.left.T @ deltas
    total = basis.left.new_zeros(outputs, width)
    together = max(1, CACHE_BYTES // total.nbytes)  # gradients
    rows = max(1, together // scalars)
    for some, given in zip(deltas.split(rows), inputs.split(rows), strict=True):
        for fewer in some.split(together, 1):
            gradients = (fewer.flatten(1, 2) @ given).unflatten(1, (-1, outputs))
            if not rotates_factors:
                gradients = basis.left.T @ (gradients @ basis.right)
            total += gradients.square_().sum((0, 1))
    return total
