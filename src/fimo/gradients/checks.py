"""Whether a network's gradients can be taken apart by layers: at two rows in numbers, for all others block by block.

Which layers have factors is read off two rows. Other rows may call a layer never, twice, or on a part of the block, and
a network may use a layer's weight behind the layer's back for some of them. So the factors of the first two rows are
held against autograd's gradients (`require_right_sums`), and for each block of rows it is verified that

- each layer is called once, with all rows (`require_single_calls`),
- the graph that autograd keeps of the forward pass leads to no weight of a layer but through that call
  (`require_no_other_uses`),
- nothing at the layer's row k is another row's (`require_own_rows`): with a random cotangent z_k and a random weight
  w_k for each row k, the gradients δ at the layer's outputs are such that

    δ(w z)_k = w_k δ(z)_k

All of it is linear in z, and so holds for random ones, but for a set of measure zero, only where it does for each row
and every cotangent. Two backward passes to the layers' outputs are needed, none to the weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from fimo.gradients.verified import FactorsDiffer, needs_verifying
from fimo.rows import Inputs

if TYPE_CHECKING:
    from fimo.gradients.layers import Layer

# Of either equation, by the norm of what autograd gives: one wrong row among N makes about 1/√N of it. Convolutions in
# float32 on a GPU have ten bits, 5e-4.
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
TOLERANCE_OTHERWISE = 3e-2  # of half precision
# Roundings of the terms, where they cancel: the bias of an attention's keys has no gradient but for rounding.
ROUNDINGS = 100
# Of backward passes: zero for a layer whose output plays no part.
OPTIONS = {"allow_unused": True, "materialize_grads": True, "retain_graph": True}


@dataclass(frozen=True)
class Pass:
    """A forward pass with some rows, on the graph that autograd keeps of it.

    Attributes:
        network: whose it is.
        layers: the kind of each layer that has factors, by its name.
        rows: inputs of the network.
        outputs: of the network, `[row, …]`.
        inputs: of each layer, `[row, …]`.
        results: of each layer, `[row, …]`, on the way to the outputs.
    """

    network: nn.Module
    layers: Mapping[str, type[Layer]]
    rows: Inputs
    outputs: Tensor
    inputs: Sequence[Tensor]
    results: Sequence[Tensor]

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The layers' parameters, by their names; one that two layers share has both."""
        return {
            f"{name}.{key}".lstrip("."): parameter
            for name in self.layers
            for key, parameter in self.network.get_submodule(name).named_parameters(recurse=False)
        }


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


def require_no_other_uses(made: Pass) -> None:
    """Refuse rows for which autograd reaches a layer's parameter on another way than through the layer's call.

    Args:
        made: the forward pass.

    Raises:
        FactorsDiffer: naming the parameter.
    """
    names = {id(parameter): name for name, parameter in made.parameters.items()}
    calls = {result.grad_fn for result in made.results}
    for node in _nodes_before([made.outputs, *made.inputs], calls):
        if (name := names.get(id(getattr(node, "variable", None)))) is not None:
            raise FactorsDiffer(made.network, f"{name} is also used where its layer is not called")


def _nodes_before(tensors: Sequence[Tensor], calls: Collection[Node | None]) -> Iterator[Node]:
    """All nodes of autograd's graph that tensors come from, without those of calls and what these alone come from."""
    waiting = [tensor.grad_fn for tensor in tensors]
    seen = set(calls)
    while waiting:
        if (node := waiting.pop()) is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
            yield node


def require_own_rows(made: Pass) -> None:
    """Refuse rows of which one has a part in another one's place in a layer.

    Rows that the computation has taken before, with the same network, aren't looked at again.

    Args:
        made: the forward pass.

    Raises:
        FactorsDiffer: naming the layer.
    """
    if not needs_verifying(made.network, tuple(made.layers), made.rows):
        return
    outputs, results = made.outputs, made.results
    cotangents, weights = _drawn(outputs)
    plain = torch.autograd.grad(outputs, results, cotangents, **OPTIONS)
    weighted = torch.autograd.grad(outputs, results, _by_row(cotangents, weights), **OPTIONS)
    tolerance = TOLERANCE.get(outputs.dtype, TOLERANCE_OTHERWISE)
    errors = [  # one look at all of them: a look at each would wait for a GPU
        torch.dist(deltas, _by_row(unweighted, weights)) - tolerance * deltas.norm()
        for unweighted, deltas in zip(plain, weighted, strict=True)
    ]
    for name, wrong in zip(made.layers, (~(torch.stack(errors) <= 0)).tolist(), strict=True):
        if wrong:
            raise FactorsDiffer(made.network, f"the layer {name} has some rows in the places of others")


def require_right_sums(made: Pass) -> None:
    """Refuse factors whose sum over rows, with a random cotangent for each, is not autograd's gradient of a parameter.

    The two sides come from the same backward pass and differ by rounding alone.

    Args:
        made: the forward pass.

    Raises:
        FactorsDiffer: naming the parameter.
    """
    parameters, outputs, count = made.parameters, made.outputs, len(made.results)
    wanted = [*made.results, *parameters.values()]
    gradients = torch.autograd.grad(outputs, wanted, _drawn(outputs)[0], **OPTIONS)
    truths = {id(parameter): truth for parameter, truth in zip(wanted[count:], gradients[count:], strict=True)}
    rounding = ROUNDINGS * torch.finfo(outputs.dtype).eps
    sums: dict[int, Tensor] = {}  # of a weight that two layers share, over both
    slack: defaultdict[int, float] = defaultdict(float)
    for (name, kind), given, deltas in zip(made.layers.items(), made.inputs, gradients, strict=False):
        size = given.norm() / given[..., 0].numel() ** 0.5 if given.is_floating_point() else torch.zeros(())
        for key, total in kind.of(name, made.network.get_submodule(name), given.detach(), deltas).row_sums().items():
            which = id(parameters[key])
            total = total.reshape(parameters[key].shape)
            sums[which] = sums[which] + total if which in sums else total
            slack[which] += float(rounding * deltas.norm() * (1 + size.detach()))
    tolerance = TOLERANCE.get(outputs.dtype, TOLERANCE_OTHERWISE)
    for key, parameter in parameters.items():
        truth, own = truths[id(parameter)], sums[id(parameter)]
        if not torch.dist(truth, own) <= tolerance * truth.norm() + slack[id(parameter)]:
            raise FactorsDiffer(made.network, f"{key} is also used where its layer is not called")


def _drawn(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """A random cotangent and a random weight for each row, `[row, …]` and `[row]`."""
    generator = torch.Generator().manual_seed(0)
    cotangents = torch.randn(outputs.shape, generator=generator)
    weights = 1 + torch.rand(len(outputs), generator=generator)
    return cotangents.to(outputs), weights.to(outputs)


def _by_row(values: Tensor, weights: Tensor) -> Tensor:
    return values * weights.reshape(-1, *[1] * (values.dim() - 1))
