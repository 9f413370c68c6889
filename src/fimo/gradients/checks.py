"""Whether a network's gradients can be taken apart by layers: at two rows in numbers, for all others block by block.

Which layers have factors is read off two rows. Other rows may call a layer never, twice, or on a part of the block, and
a network may use a layer's weight behind the layer's back for some of them. So the factors of the first two rows are
held against autograd's gradients (`require_right_sums`), and for each block of rows it is verified that

- each layer is called once, with all rows (`require_single_calls`),
- the graph that autograd keeps of the forward pass leads to no weight of a layer but through that call
  (`require_no_other_uses`),
- nothing at the layer's row k is another row's (`require_own_rows`): with the cotangent z_k of each row k, whose
  gradients are wanted, and a random weight w_k, the gradients δ at the layer's outputs are such that

    δ(w z)_k = w_k δ(z)_k

Of a row with several cotangents z_k is a random combination. With δ(z)_k = Σ_j M_kj z_j the difference of both sides is
Σ_j (w_j − w_k) M_kj z_j, which for random weights, but for a set of measure zero, vanishes only where M_kj z_j does for
every other row j: where no row has a part in another one's gradients. One backward pass to the layers' outputs is
needed beside those that make the gradients. Rows that go through the network by `vmap` (`fimo.gradients.vmapped`) are
their own by construction, and don't need the last of the three.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from fimo.gradients.verified import FactorsDiffer
from fimo.row_weights import by_row

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
        outputs: of the network, `[row, …]`.
        inputs: of each layer, `[row, …]`.
        results: of each layer, `[row, …]`, on the way to the outputs.
    """

    network: nn.Module
    layers: Mapping[str, type[Layer]]
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


def require_own_rows(made: Pass, cotangents: Tensor, deltas: Sequence[Sequence[Tensor]]) -> None:
    """Refuse rows of which one has a part in another one's place in a layer.

    Args:
        made: the forward pass.
        cotangents: of which gradients are wanted, `[row, output, scalar]`.
        deltas: δ of each scalar, layer by layer, `[row, …]`.

    Raises:
        FactorsDiffer: naming the layer.
    """
    if len(made.outputs) == 1:
        return
    count, generator = cotangents.shape[-1], torch.Generator().manual_seed(0)
    shares = 1 + torch.rand(count, generator=generator).to(cotangents)
    combined = cotangents[..., 0] if count == 1 else cotangents @ shares
    plain = [parts[0] if count == 1 else _sum_of(parts, shares) for parts in zip(*deltas, strict=True)]
    if not _mixed_layers(made, combined, plain, generator):
        return
    # Where the cotangents' own gradients cancel, to a loss that can't fall, all of it is rounding: random multiples of
    # their entries decide, which read the same outputs and don't cancel.
    drawn = combined * torch.randn(combined.shape, generator=generator).to(combined)
    plain = list(torch.autograd.grad(made.outputs, made.results, drawn, **OPTIONS))
    for name in _mixed_layers(made, drawn, plain, generator):
        raise FactorsDiffer(made.network, f"the layer {name} has some rows in the places of others")


def _mixed_layers(made: Pass, cotangents: Tensor, plain: Sequence[Tensor], generator: torch.Generator) -> list[str]:
    """Names of the layers at which gradients do not follow the weights of their own rows.

    Args:
        made: the forward pass.
        cotangents: z, `[row, output]`.
        plain: δ(z), layer by layer, `[row, …]`.
        generator: of the weights.
    """
    # All rows count alike, however small their gradients are; what isn't finite is for others to refuse.
    norms = cotangents.flatten(1).norm(dim=1)
    finite, limits = norms.isfinite(), torch.finfo(norms.dtype)
    least = (limits.eps * torch.where(finite, norms, 0).max()).clamp(min=limits.tiny)
    weights = (1 + torch.rand(len(norms), generator=generator).to(norms)) / norms.clamp(min=least)
    cotangent = cotangents * by_row(weights, cotangents)
    if not bool(finite.all()):
        cotangent.masked_fill_(~by_row(finite, cotangents), 0)
    weighted = torch.autograd.grad(made.outputs, made.results, cotangent, **OPTIONS)
    tolerance = TOLERANCE.get(norms.dtype, TOLERANCE_OTHERWISE)
    errors = []  # one look at all of them: a look at each would wait for a GPU
    for before, after in zip(plain, weighted, strict=True):
        if _is_same(after, cotangent):  # as at a language model's head, whose δ are larger than all others
            errors.append(norms.new_zeros(()))
            continue
        differences = torch.addcmul(after, before, by_row(weights, before), value=-1)
        error, size = (torch.where(finite, part.flatten(1).norm(dim=1), 0).norm() for part in (differences, after))
        errors.append(error - tolerance * size)
    wrong = (~(torch.stack(errors) <= 0)).tolist()
    return [name for name, it in zip(made.layers, wrong, strict=True) if it]


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
    drawn = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0)).to(outputs)
    gradients = torch.autograd.grad(outputs, wanted, drawn, **OPTIONS)
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


def _is_same(deltas: Tensor, cotangents: Tensor) -> bool:
    """Whether autograd handed the cotangents on as they are: the layer's outputs go into the network's, row by row.

    Backward functions must not write into what they are given, as torch demands of them.
    """
    contiguous = deltas.is_contiguous() and cotangents.is_contiguous() and len(deltas) == len(cotangents)
    return contiguous and deltas.data_ptr() == cotangents.data_ptr() and deltas.numel() == cotangents.numel()


def _sum_of(parts: Sequence[Tensor], shares: Tensor) -> Tensor:
    total = parts[0] * shares[0]
    for part, share in zip(parts[1:], shares[1:], strict=True):
        total.addcmul_(part, share)
    return total
