"""EK-FAC (George et al. 2018): the Gauss–Newton matrix layer by layer, diagonal in a Kronecker-factored basis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from curvlinops import EKFACLinearOperator
from torch import Tensor, nn

from fimo.errors import UserError
from fimo.gradients import GradientSource, MatrixGradients
from fimo.gradients.curvature import activation_bytes
from fimo.gradients.source import BLOCK_BYTES
from fimo.preconditioners.base import Preconditioner
from fimo.preconditioners.damping import Damping, vanishing
from fimo.problem import Problem


@dataclass(frozen=True)
class LayerBasis:
    """One layer's P = Q (Λ + λ)⁻¹ Qᵀ, Q a Kronecker product.

    Attributes:
        names: of the weight and, where there is one, the bias, which is the last column of the weight.
        left: eigenvectors of the outputs' gradient covariance, `[out, out]`.
        right: eigenvectors of the inputs' covariance, `[in, in]`.
        eigenvalues: Λ, corrected, `[out, in]`.
        damping: λ.
    """

    names: tuple[str, ...]
    left: Tensor
    right: Tensor
    eigenvalues: Tensor
    damping: float

    def solved(self, blocks: list[Tensor]) -> list[Tensor]:
        """P times the gradients of the weight `[row, out, …]` and the bias `[row, out]`."""
        matrix = torch.cat([block.reshape(*block.shape[:2], -1) for block in blocks], 2)
        rotated = self.left.T @ matrix @ self.right / (self.eigenvalues + self.damping)
        widths = [block[0, 0].numel() for block in blocks]
        parts = (self.left @ rotated @ self.right.T).split(widths, 2)
        return [part.reshape(block.shape) for part, block in zip(parts, blocks, strict=True)]


class KroneckerFactors(Preconditioner):
    """Eigenvalue-corrected Kronecker factors of the Gauss–Newton matrix (exact type-2 Fisher, by curvlinops).

    Weight and bias of a layer are one matrix. Parameters outside linear and two-dimensional convolution layers get
    P = 0, and a note says which.

    Args:
        label: the method's name.
        damping: λ of each layer; `mean_eigenvalue` is the mean of the layer's Λ.
        phi: see `Preconditioner`.
    """

    factored = False

    def __init__(self, label: str, damping: Damping, phi: str = "raw") -> None:
        super().__init__(label, phi)
        self.damping = damping

    def fit(self, problem: Problem) -> Self:
        """Two passes over the training rows for the bases and the corrected eigenvalues.

        Raises:
            UserError: where the network has no linear or convolution layer.
        """
        names = {p.data_ptr(): name for name, p in problem.network.named_parameters()}
        layers = list(supported(problem.network))
        if not layers:
            raise UserError(
                f"{self.label} needs a network with linear or two-dimensional convolution layers "
                f"({type(problem.network).__name__} has none): choose another method."
            )
        state = _operator(problem, [p for _, layer in layers for p in layer.parameters(recurse=False)]).state_dict()
        eigenvalues = state["corrected_eigenvalues"]  # without the layers that the outputs don't depend on
        means = {path: float(values.mean()) for path, values in eigenvalues.items()}
        gone = vanishing(means, next(iter(problem.parameters.values())).dtype)
        source = GradientSource(problem)
        self.layers = [
            LayerBasis(
                tuple(names[p.data_ptr()] for p in (layer.weight, layer.bias) if p is not None),
                state["gradient_covariances_eigenvectors"][path],
                state["input_covariances_eigenvectors"][path],
                eigenvalues[path],
                self.damping.value(source, partial(float, means[path])),
            )
            for path, layer in layers
            if path in eigenvalues and path not in gone
        ]
        self._tell(problem)
        return self

    def _tell(self, problem: Problem) -> None:
        values = {layer.names[0].removesuffix(".weight"): layer.damping for layer in self.layers}
        self.facts |= {"damping": str(self.damping), "damping_value": values}
        covered = {name for layer in self.layers for name in layer.names}
        if others := [name for name in problem.parameters if name not in covered]:
            self.note(
                f"P = 0 for parameters outside linear and convolution layers, or without effect ({', '.join(others)})"
            )

    def __matmul__(self, gradients: MatrixGradients) -> MatrixGradients:  # type: ignore[override]
        """P times each gradient."""
        result = {name: torch.zeros_like(block) for name, block in gradients.blocks.items()}
        for layer in self.layers:
            solved = layer.solved([gradients.blocks[name] for name in layer.names])
            result |= dict(zip(layer.names, solved, strict=True))
        return MatrixGradients(result)


def supported(network: nn.Module) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    """The layers that Kronecker factors exist for, with their paths; a weight that two share counts with the first."""
    seen: set[int] = set()
    for path, module in network.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)) and module.weight.data_ptr() not in seen:
            seen.add(module.weight.data_ptr())
            yield path, module


def _operator(problem: Problem, parameters: list[nn.Parameter]) -> EKFACLinearOperator:
    rows = max(1, BLOCK_BYTES // activation_bytes(problem))
    operator = EKFACLinearOperator(
        problem.network,
        problem.objective.criterion,
        parameters,
        [problem.train[part] for part in torch.arange(len(problem.train)).split(rows)],
        fisher_type="type-2",
        separate_weight_and_bias=False,
        check_deterministic=False,
        num_per_example_loss_terms=1,
        num_data=len(problem.train),
    )
    operator.compute_kronecker_factors()
    operator.compute_eigenvalue_correction()
    return operator
