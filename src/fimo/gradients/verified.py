"""Gradients in factors are taken only where they are right for every row: autograd says so, block by block.

Which layers have factors is read off two rows. Other rows may call a layer never, twice, or on a part of the block, and
a network may use a layer's weight behind the layer's back for some of them. So each block of rows is held against
autograd, with a random cotangent z_k and a random weight w_k for each row k. Where J_k is the Jacobian of the row's
outputs, in a layer's weight or at its outputs,

    δ(w z)_k = w_k δ(z)_k                   for each row: nothing at the layer's row k is another row's
    Σ_k w_k J_kᵀ z_k = Σ_k δ(w z)_k a_kᵀ    (for a linear layer): the weight is used where its layer is called alone

All of it is linear in z, and so holds for random ones, but for a set of measure zero, only where factors are right for
each row and every cotangent. Two backward passes are needed; the two sides of the sum come from the same and differ by
rounding alone.

A computation that meets a block for which they aren't right begins anew with gradients as they are, see
`factors_or_dense`: it never uses both forms.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

from fimo.errors import UserError
from fimo.rows import Inputs

if TYPE_CHECKING:
    from fimo.gradients.factored import Factorisation
    from fimo.gradients.layers import Layer

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

# Of either equation, by the norm of what autograd gives: one wrong row among N makes about 1/√N of it. Convolutions in
# float32 on a GPU have ten bits, 5e-4.
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
TOLERANCE_OTHERWISE = 3e-2  # of half precision
# Roundings of the terms, where they cancel: the bias of an attention's keys has no gradient but for rounding.
ROUNDINGS = 100

# Networks whose gradients are taken as they are; and what a warning was written for.
_dense: WeakSet[nn.Module] = WeakSet()
_warned: set[tuple[type[nn.Module], str]] = set()


@dataclass
class Computation:
    """What the sources of gradients of one computation have in common.

    Attributes:
        factorisations: by the names of a network's parameters; None for gradients as they are.
        verified: for each network the rows for which the factors of some layers are right, by the layers' names and the
            places of the rows' inputs in memory.
        held: those inputs, so that no other rows take these places.
    """

    factorisations: dict[tuple[str, ...], Factorisation | None] = field(default_factory=dict)
    verified: WeakKeyDictionary[nn.Module, dict[tuple[str, ...], set[tuple[int, ...]]]] = field(
        default_factory=WeakKeyDictionary
    )
    held: list[Inputs] = field(default_factory=list)

    def verifies(self, network: nn.Module, layers: tuple[str, ...], inputs: Inputs) -> bool:
        """Whether some of these rows haven't been verified with the network; from now on they have.

        A sequence that is cut to another length has the same gradients, and the same place.

        Args:
            network: whose gradients are taken.
            layers: names of the layers that have factors.
            inputs: of the rows.
        """
        tensors = [inputs] if isinstance(inputs, Tensor) else list(inputs.values())
        rows = set(zip(*map(_places, tensors), strict=True))
        before = self.verified.setdefault(network, {}).setdefault(layers, set())
        if rows <= before:
            return False
        before |= rows
        self.held.append(inputs)
        return True


def _places(tensor: Tensor) -> list[int]:
    first, step = tensor.data_ptr(), tensor.stride(0) * tensor.element_size()
    return [first + row * step for row in range(len(tensor))]


_computation: ContextVar[Computation | None] = ContextVar("computation", default=None)


class FactorsDiffer(UserError):
    """Gradients in factors aren't those of autograd for some row.

    Args:
        network: whose gradients they are.
        what: is wrong, a clause.
    """

    def __init__(self, network: nn.Module, what: str) -> None:
        super().__init__(
            f"The gradients of the network {type(network).__name__} can't be taken apart by layers: {what}. Take them "
            "as they are, by GradientSource(problem, factored=False)."
        )
        self.what = what


def factors_or_dense(network: nn.Module, compute: Callable[[], Result]) -> Result:
    """A computation whose gradients all have one form: in factors where they are right for all rows it uses.

    Args:
        network: at θ_f; the computation may take gradients of copies with other parameters, too.
        compute: the computation; it is done anew, with gradients as they are, where it meets a row for which factors
            aren't right.

    Returns:
        What it computes.
    """
    if network not in _dense:
        token = _computation.set(Computation())
        try:
            return compute()
        except FactorsDiffer as reason:
            _dense.add(network)
            if (key := (type(network), reason.what)) not in _warned:  # copies of the network are met as well
                _warned.add(key)
                logger.warning("Gradients of the network %s are taken as they are and not in factors: %s.",
                               type(network).__name__, reason.what)  # fmt: skip
        finally:
            _computation.reset(token)
    token = _computation.set(Computation({_names(network): None}))
    try:
        return compute()
    finally:
        _computation.reset(token)


def agreed(network: nn.Module, make: Callable[[], Factorisation | None]) -> Factorisation | None:
    """The factorisation that all gradients of one computation have.

    Args:
        network: whose gradients are taken.
        make: reads it off a network, where none has been agreed on.

    Returns:
        The factorisation, or None for gradients as they are.
    """
    if (computation := _computation.get()) is None:
        return make()
    known, names = computation.factorisations, _names(network)
    if names not in known:
        known[names] = make()
    return known[names]


def _names(network: nn.Module) -> tuple[str, ...]:
    return tuple(name for name, _ in network.named_parameters())


def require_single_calls(network: nn.Module, calls: Mapping[str, Sequence[tuple[Tensor, Tensor]]], rows: int) -> None:
    """Refuse rows for which a layer is not called once with all of them.

    Args:
        network: for the error.
        calls: inputs and outputs of each layer's calls, by the layer's name.
        rows: in the block.

    Raises:
        FactorsDiffer: naming the layer.
    """
    for name, made in calls.items():
        if len(made) != 1:
            raise FactorsDiffer(network, f"some rows call the layer {name} {len(made)} times and others once")
        if not made[0][1].requires_grad:
            raise FactorsDiffer(network, f"the layer {name} has a gradient for some rows and none for others")
        if len(made[0][0]) != rows or len(made[0][1]) != rows:
            raise FactorsDiffer(network, f"the layer {name} is not called with every row once")


def require_right_sums(
    network: nn.Module,
    layers: Mapping[str, type[Layer]],
    rows: Inputs,
    outputs: Tensor,
    inputs: Sequence[Tensor],
    results: Sequence[Tensor],
) -> None:
    """Refuse factors whose random combination over the rows is not that of autograd.

    Rows that the computation has taken before, with the same network, aren't looked at again.

    Args:
        network: whose forward pass it was.
        layers: the kind of each layer, by its name.
        rows: inputs of the network.
        outputs: of the network, `[row, output]`.
        inputs: of each layer, `[row, …]`.
        results: of each layer, `[row, …]`, on the way to the outputs.

    Raises:
        FactorsDiffer: naming the parameter.
    """
    if (computation := _computation.get()) is not None and not computation.verifies(network, tuple(layers), rows):
        return
    parameters = {
        f"{name}.{key}".lstrip("."): parameter
        for name in layers
        for key, parameter in network.get_submodule(name).named_parameters(recurse=False)
    }
    generator = torch.Generator().manual_seed(0)
    cotangents = torch.randn(outputs.shape, generator=generator, dtype=torch.float64).to(outputs)
    weights = 1 + torch.rand(len(outputs), generator=generator, dtype=torch.float64).to(outputs)
    weighted_cotangents = cotangents * weights.reshape(-1, *[1] * (outputs.dim() - 1))
    options = {"allow_unused": True, "materialize_grads": True, "retain_graph": True}
    plain = torch.autograd.grad(outputs, results, cotangents, **options)
    made = torch.autograd.grad(outputs, [*results, *parameters.values()], weighted_cotangents, **options)
    sums = dict(zip(parameters, made[len(results) :], strict=True))
    tolerance = TOLERANCE.get(outputs.dtype, TOLERANCE_OTHERWISE)
    rounding = ROUNDINGS * torch.finfo(outputs.dtype).eps
    errors: dict[str, Tensor] = {}  # one look at all of them: a look at each would wait for a GPU
    owners = Counter(map(id, parameters.values()))
    first: dict[int, tuple[Tensor, Tensor]] = {}  # what the first of two layers makes of a weight that both share
    for (name, kind), given, unweighted, deltas in zip(layers.items(), inputs, plain, made, strict=False):
        size = given.norm() / given[..., 0].numel() ** 0.5 if given.is_floating_point() else 0.0
        slack = rounding * deltas.norm() * (1 + size)
        weighted = unweighted * weights.reshape(-1, *[1] * (deltas.dim() - 1))
        errors[name] = (deltas - weighted).norm() - tolerance * deltas.norm()
        for key, total in kind.of(name, network.get_submodule(name), given.detach(), deltas).row_sums().items():
            truth, identity, own = sums[key], id(parameters[key]), total.reshape(sums[key].shape)
            if owners[identity] > 1 and identity not in first:
                first[identity] = own, slack
                continue
            if identity in first:
                own, slack = own + first[identity][0], slack + first[identity][1]
            errors[key] = torch.dist(truth, own) - tolerance * truth.norm() - slack
    for key, wrong in zip(errors, (~(torch.stack(list(errors.values())) <= 0)).tolist(), strict=True):
        if wrong and key in layers:
            raise FactorsDiffer(network, f"the layer {key} has some rows in the places of others")
        if wrong:
            raise FactorsDiffer(network, f"{key} is also used where its layer is not called")
