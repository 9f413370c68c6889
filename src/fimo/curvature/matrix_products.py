"""Products of a mini-batch's curvature with columns, for the primal way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from curvlinops.ggn import make_batch_ggn_matrix_product
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vjp

from fimo.curvature.roots import CURVATURES
from fimo.gradients.cotangents import Cotangents, of_curvature
from fimo.models.objective import Objective
from fimo.rows import Inputs
from fimo.vmapping import vmap_or_loop


class MeanLoss(nn.Module):
    """The mean of an objective over rows, as a module."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean.

        Args:
            outputs: `[row, output]`.
            targets: `[row, …]`.
        """
        return self.objective.loss(outputs, targets).mean()


def hessian_matrix_product(network: nn.Module, objective: Objective, parameters: tuple[nn.Parameter, ...]) -> Callable:
    """Products of a mini-batch's Hessian with columns, in the form of curvlinops' `make_batch_ggn_matrix_product`.

    Backward through backward. Forward through backward, which is the usual way, is silently wrong for the scale of a
    layer normalisation in torch 2.13 (the result isn't even symmetric).

    Args:
        network: as a function of the parameters and inputs.
        objective: the loss of each row.
        parameters: of the network, in the order of the columns' parts.

    Returns:
        From inputs, targets, and for each parameter columns `[*parameter shape, column]`, to the products.
    """
    loss, outputs = MeanLoss(objective), _outputs(network, parameters)

    def product(inputs: Inputs, targets: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
        def mean_loss(values: tuple[Tensor, ...]) -> Tensor:
            return loss(outputs(values, inputs), targets)

        back = vjp(grad(mean_loss), _values(parameters))[1]
        return _over_columns(network, lambda vector: back(vector)[0], columns)

    return product


def root_matrix_product(
    root: Cotangents, network: nn.Module, objective: Objective, parameters: tuple[nn.Parameter, ...]
) -> Callable:
    """Products of the mean of Jᵀ R Rᵀ J over a mini-batch with columns, for any root R.

    Args:
        root: R, see `fimo.curvature.roots`.
        network: see `hessian_matrix_product`.
        objective: see `hessian_matrix_product`.
        parameters: see `hessian_matrix_product`.

    Returns:
        As `hessian_matrix_product`.
    """
    outputs = _outputs(network, parameters)

    def product(inputs: Inputs, targets: Tensor, *columns: Tensor) -> tuple[Tensor, ...]:
        function = partial(outputs, inputs=inputs)
        values = _values(parameters)
        at_batch, back, *_ = vjp(function, values)
        R = root(objective, at_batch.detach(), targets).flatten(1, -2)  # a row's outputs in one axis

        def single(vector: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            tangent = jvp(function, (values,), (vector,))[1]
            return back((R @ (R.mT @ tangent.flatten(1)[..., None])).reshape(tangent.shape) / len(R))[0]

        return _over_columns(network, single, columns)

    return product


def _outputs(network: nn.Module, parameters: tuple[nn.Parameter, ...]) -> Callable[..., Tensor]:
    """The network's outputs as a function of the values of some parameters, and of inputs."""
    all_names = {id(parameter): name for name, parameter in network.named_parameters()}
    names = [all_names[id(parameter)] for parameter in parameters]
    return lambda values, inputs: functional_call(network, dict(zip(names, values, strict=True)), (inputs,))


def _values(parameters: tuple[nn.Parameter, ...]) -> tuple[Tensor, ...]:
    return tuple(parameter.detach() for parameter in parameters)


def _over_columns(
    network: nn.Module, function: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]], columns: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """A linear function of one vector, for all columns; their axis is the last of each part."""
    axes = tuple(column.dim() - 1 for column in columns)
    return vmap_or_loop(function, (axes,), axes, what="curvature products", network=network)(columns)


def gauss_newton_matrix_product(
    network: nn.Module, objective: Objective, parameters: tuple[nn.Parameter, ...]
) -> Callable:
    """Those of curvlinops for the Gauss–Newton matrix; by its root where that is not the loss's whole Hessian.

    Args:
        network: see `hessian_matrix_product`.
        objective: see `hessian_matrix_product`.
        parameters: see `hessian_matrix_product`.

    Returns:
        As `hessian_matrix_product`.
    """
    if not objective.positive_hessian:
        return root_matrix_product(of_curvature, network, objective, parameters)
    return make_batch_ggn_matrix_product(network, MeanLoss(objective), parameters)


def matrix_product(kind: str) -> Callable:
    """What makes the products of a curvature from a network, an objective and parameters."""
    if (root := CURVATURES[kind]) is None:
        return hessian_matrix_product
    return gauss_newton_matrix_product if kind == "gauss_newton" else partial(root_matrix_product, root)
