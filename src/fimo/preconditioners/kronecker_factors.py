"""EK-FAC (George et al. 2018): the Gauss–Newton matrix layer by layer, diagonal in a Kronecker-factored basis."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import torch
from curvlinops import KFACLinearOperator
from torch import Tensor, nn

from fimo.curvature.roots import damping_root
from fimo.errors import MethodFailed
from fimo.gradients import DenseGradients, Gradients, GradientSource
from fimo.gradients.cotangents import Cotangents, of_curvature
from fimo.gradients.diagonal_metric import AdamMetric, rescaled_name
from fimo.gradients.footprint import activation_bytes, used_parameters
from fimo.gradients.layers import LayerGradients
from fimo.gradients.network import NetworkGradients
from fimo.memory import BLOCK_BYTES
from fimo.preconditioners.base import NO_DRAWS, Preconditioner, require_instance, require_metric
from fimo.preconditioners.damping import Damping, vanishing
from fimo.preconditioners.layer_covariances import Covariances, layer_covariances
from fimo.problem import Problem, copied
from fimo.rows import Rows, rows_of

# A note names so many parameters; all are in the diagnostics.
MOST_NAMED = 6


@dataclass(frozen=True)
class LayerBasis:
    """The basis Q of one layer, a Kronecker product of two.

    Attributes:
        names: of the weight and, where there is one, the bias, which is the last column of the weight.
        left: eigenvectors of the covariance of the gradients at the layer's outputs, `[out, out]`.
        right: eigenvectors of the covariance of its inputs, `[in, in]`.
    """

    names: tuple[str, ...]
    left: Tensor
    right: Tensor

    def rotated(self, gradients: DenseGradients) -> Tensor:
        """Qᵀ times the layer's part of each gradient, `[row, out, in]`."""
        blocks = [gradients.tensors[name] for name in self.names]
        return self.left.T @ torch.cat([block.reshape(*block.shape[:2], -1) for block in blocks], 2) @ self.right

    def squares(self, gradients: Gradients) -> Tensor:
        """Sum over gradients of the squared entries of `rotated`, `[out, in]`."""
        part = gradients.part(self.names[0]) if isinstance(gradients, NetworkGradients) else gradients
        if isinstance(part, LayerGradients):
            return part.rotated_squares(self.left, self.right)
        assert isinstance(part, DenseGradients)
        return self.rotated(part).square().sum(0)

    def back(self, rotated: Tensor, gradients: DenseGradients) -> dict[str, Tensor]:
        """Q times it, as blocks of the shapes that `gradients` has.

        Args:
            rotated: `[row, out, in]`.
            gradients: any with the shapes that are wanted.
        """
        like = [gradients.tensors[name] for name in self.names]
        parts = (self.left @ rotated @ self.right.T).split([block[0, 0].numel() for block in like], 2)
        return {name: part.reshape(block.shape) for name, part, block in zip(self.names, parts, like, strict=True)}


class KroneckerFactors(Preconditioner):
    """P = Q(Λ + λ)⁻¹Qᵀ for each layer: Q from the Kronecker factors of the exact type-2 Fisher matrix (curvlinops).

    Λ is the Gauss–Newton matrix's diagonal in the basis Q, the mean over training rows of squared gradients. Weight and
    bias of a layer are one matrix. Parameters outside linear and two-dimensional convolution layers (without groups,
    padded with zeros) get P = 0, and a note says which.

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
    factored = False

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
        """Two passes over the training rows, for the bases and for their eigenvalues.

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
        self._fit_eigenvalues(problem, source, bases)
        return self

    def _fit_eigenvalues(self, problem: Problem, source: GradientSource, bases: dict[str, LayerBasis]) -> None:
        """Λ and λ of each layer, and a note of the parameters that are in none."""
        eigenvalues = {path: torch.zeros((), dtype=basis.left.dtype) for path, basis in bases.items()}
        for block in source.blocks(problem.train, damping_root(self.kind)):
            for path, basis in bases.items():
                eigenvalues[path] = basis.squares(block) / len(problem.train) + eigenvalues[path]
        means = {path: float(values.mean()) for path, values in eigenvalues.items()}
        zero = vanishing(means, problem.dtype)
        dampings = {p: self.damping.value(source, partial(float, means[p])) for p in bases if p not in zero}
        self.layers = [(bases[path], eigenvalues[path] + damping) for path, damping in dampings.items()]
        self.diagnostics |= {"damping": str(self.damping), "damping_value": dampings}
        covered = {name for basis, _ in self.layers for name in basis.names}
        if others := [name.removeprefix(rescaled_name("")) for name in problem.parameters if name not in covered]:
            what = "parameters outside linear and two-dimensional convolution layers, or without effect"
            what += " or the layer's weight in θ" if problem.part else ""
            more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
            self.note("left out", f"P = 0 for {what} ({', '.join(others[:MOST_NAMED])}{more})")
            self.diagnostics["left_out"] = others

    def __matmul__(self, gradients: DenseGradients) -> DenseGradients:  # type: ignore[override]
        """P times each gradient."""
        result = {name: torch.zeros_like(block) for name, block in gradients.tensors.items()}
        for basis, damped in self.layers:
            result |= basis.back(basis.rotated(gradients) / damped, gradients)
        return DenseGradients(result)

    def quadratic_form(self, gradients: DenseGradients) -> Tensor:
        """The sum over layers of the squared entries of Qᵀ g, each over its damped eigenvalue, `[row]`."""
        parts = [(basis.rotated(gradients).square() / damped).sum((1, 2)) for basis, damped in self.layers]
        return torch.stack(parts).sum(0) if parts else torch.zeros_like(gradients.norms())


def layer_bases(problem: Problem, root: Cotangents = of_curvature) -> Iterator[tuple[str, LayerBasis]]:
    """The bases of all layers in θ that Kronecker factors exist for and that the outputs depend on, by path.

    Args:
        problem: network and training rows.
        root: of the curvature, see `fimo.curvature.roots`.
    """
    # Of a copy: curvlinops leaves its hooks behind where it raises.
    twin = replace(problem, network=copied(problem.network))
    names = {id(p): name for name, p in used_parameters(twin).items()}
    layers = list(supported(twin.network, set(names)))
    if not layers:
        return
    parameters = [p for _, layer in layers for p in layer.parameters(recurse=False) if id(p) in names]
    area = max(layer.weight[0, 0].numel() for _, layer in layers)  # convolutions are laid out as patches
    rows = max(1, BLOCK_BYTES // (activation_bytes(twin) * area))
    covariances = _covariances(twin, layers, parameters, rows, root)
    for path, layer in layers:
        if path in covariances:  # not where a weight is used without calling its layer
            left, right = (torch.linalg.eigh(covariance)[1] for covariance in covariances[path])
            own = [p for p in (layer.weight, layer.bias) if id(p) in names]
            yield path, LayerBasis(tuple(names[id(p)] for p in own), left, right)


def _covariances(
    problem: Problem,
    layers: list[tuple[str, nn.Linear | nn.Conv2d]],
    parameters: list[nn.Parameter],
    rows: int,
    root: Cotangents,
) -> Covariances:
    """Covariances of the gradients at the outputs and of the inputs of each layer."""
    parts = batches(problem.train, rows)
    if problem.objective.criterion is None or root is not of_curvature:
        return layer_covariances(problem, dict(layers), parts, root)
    operator = KFACLinearOperator(
        problem.network,
        problem.objective.criterion,
        parameters,
        [problem.train[part] for part in parts],
        fisher_type="type-2",
        separate_weight_and_bias=False,
        check_deterministic=False,
        num_per_example_loss_terms=1,
        num_data=len(problem.train),
        batch_size_fn=rows_of,
    )
    operator.compute_kronecker_factors()
    of_gradients, of_inputs = (operator.state_dict()[f"{what}_covariances"] for what in ("gradient", "input"))
    return {path: (of_gradients[path], of_inputs[path]) for path in of_gradients}


def batches(rows: Rows, size: int) -> Iterator[Tensor]:
    """Positions of at most `size` rows each; of sequences only such as are equally long.

    The covariance of a layer's inputs is over places too, where padding would count as any other.

    Args:
        rows: all of them.
        size: rows in a batch, at most.
    """
    numbers = torch.arange(len(rows))
    alike = [numbers] if rows.lengths is None else [numbers[rows.lengths == n] for n in rows.lengths.unique()]
    return itertools.chain.from_iterable(some.split(size) for some in alike)


def supported(network: nn.Module, used: set[int]) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    """Layers that have Kronecker factors, with their paths; a weight that two layers share counts with the first.

    Args:
        network: the network.
        used: identities (`id`) of the parameters in θ that the outputs depend on.
    """
    seen: set[int] = set()
    for path, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and (module.groups > 1 or module.padding_mode != "zeros"):
            continue
        # A weight that is computed from other parameters is none itself.
        if isinstance(module, (nn.Linear, nn.Conv2d)) and id(module.weight) in used - seen:
            seen.add(id(module.weight))
            yield path, module
