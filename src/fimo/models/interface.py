"""What a network takes and gives: the inputs of rows as its signature has them, and one tensor of outputs.

Everything here calls `network(inputs)` and reads `[row, output]`. A network that takes several inputs, or that gives a
tuple or a mapping, gets two hooks which arrange that; its parameters, their names and its forward stay what they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn

from fimo.errors import UserError
from fimo.models.embeddings import prepare_embeddings
from fimo.rows import Inputs, is_positional, map_inputs

# Of what a network gives beside a tensor: the name that libraries of transformers have for outputs.
LOGITS = "logits"


def adapt(network: nn.Module, inputs: Inputs) -> nn.Module:
    """Let a network be called with the inputs of rows, and give `[row, output]`; in place.

    Args:
        network: any; one that takes one argument and gives a matrix stays as it is.
        inputs: of a few rows.

    Returns:
        The network.

    Raises:
        UserError: see `fimo.models.embeddings.prepare_embeddings`.
    """
    prepare_embeddings(network)
    hooks = {*network._forward_pre_hooks.values(), *network._forward_hooks.values()}
    if hooks & {_by_position, _by_keyword, _give_matrix}:
        return network  # it has been
    arrangement = _arrangement(network, inputs)
    if arrangement is not None:
        network.register_forward_pre_hook(arrangement, with_kwargs=True)
    if not (_gives_matrix(network, inputs) and _gives_matrix(network, map_inputs(itemgetter(slice(1)), inputs))):
        network.register_forward_hook(_give_matrix, with_kwargs=True)
    return network


@torch.no_grad()
def _gives_matrix(network: nn.Module, inputs: Inputs) -> bool:
    """Whether nothing has to be taken out of what the network returns; a network that fails says so later."""
    try:
        returned = network(inputs)
    except Exception:  # a network of the user's may raise anything, and is called again where its error is told
        return True
    return isinstance(returned, Tensor) and returned.dim() >= 2


def outputs_of(returned: Any) -> Tensor:
    """The tensor of outputs in what a network returned: a tensor, a mapping or object with `logits`, or a tuple.

    Raises:
        UserError: where there is none.
    """
    if isinstance(returned, Tensor):
        return returned
    if isinstance(returned, Mapping) and isinstance(returned.get(LOGITS), Tensor):
        return returned[LOGITS]
    if isinstance(getattr(returned, LOGITS, None), Tensor):
        return getattr(returned, LOGITS)
    tensors = list(returned.values()) if isinstance(returned, Mapping) else returned
    if isinstance(tensors, (tuple, list)) and tensors and isinstance(tensors[0], Tensor):
        if isinstance(returned, (tuple, list)) or len(tensors) == 1:
            return tensors[0]
    names = f" of {', '.join(map(str, returned))}" if isinstance(returned, Mapping) else ""
    raise UserError(
        f"The network must return a tensor of outputs, a tuple that begins with it, or a mapping with {LOGITS!r}, "
        f"found a {type(returned).__name__}{names}."
    )


def _arrangement(network: nn.Module, inputs: Inputs) -> Callable[..., tuple[Any, Any]] | None:
    """How inputs become arguments: None where the network takes them as one."""
    if is_positional(inputs):
        return _by_position
    return _by_keyword if _takes_keywords(network, inputs) else None


def _takes_keywords(network: nn.Module, inputs: Inputs) -> bool:
    """Whether each of several inputs is an argument of the network; if not, it takes the mapping as one argument."""
    if isinstance(inputs, Tensor):
        return False
    parameters = inspect.signature(network.forward).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    required = {p.name for p in named if p.default is p.empty}
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return required <= set(inputs) and (anything or set(inputs) <= {p.name for p in named})


def _by_position(network: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, Any]:
    return tuple(arguments[0].values()), keywords


def _by_keyword(network: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, Any]:
    return (), {**arguments[0], **keywords}


def _give_matrix(network: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], returned: Any) -> Tensor:
    """`[row, output]` of what the network returned; one number a row, or a single row, may come without an axis."""
    outputs = outputs_of(returned)
    if outputs.dim() > 1:
        return outputs
    first = next(value for value in (*arguments, *keywords.values()) if value is not None)
    rows = len(first if isinstance(first, Tensor) else next(iter(first.values())))
    return outputs.reshape(rows, -1) if rows == 1 or outputs.numel() == rows else outputs


def unwrapped(network: nn.Module, inputs: Inputs) -> tuple[nn.Module, list[str]]:
    """A network without what compiles, distributes or trains it, and what was taken off.

    Args:
        network: in eval mode.
        inputs: of a few rows.

    Returns:
        The network inside, and the names of the wrappers' classes.

    Raises:
        UserError: for a scripted network, which can't be called with other parameters.
    """
    wrappers = []
    while (inside := _inside(network, inputs)) is not None:
        wrappers.append(type(network).__name__)
        network = inside
    if isinstance(network, torch.jit.ScriptModule):
        raise UserError(
            f"The network is scripted ({type(network).__name__}), so it can't be called with other parameters than its "
            "own: pass the module that it was made of."
        )
    return network, wrappers


def _inside(network: nn.Module, inputs: Inputs) -> nn.Module | None:
    kinds = {kind.__name__ for kind in type(network).__mro__}  # by name: neither package need be imported here
    if "OptimizedModule" in kinds:  # of torch.compile
        return network._orig_mod  # type: ignore[return-value]
    if isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return network.module
    holders = [child for child in network.children() if next(child.parameters(), None) is not None]
    if "LightningModule" in kinds and len(holders) == 1 and next(network.parameters(recurse=False), None) is None:
        return holders[0] if _same_function(network, holders[0], inputs) else None
    return None


@torch.no_grad()
def _same_function(network: nn.Module, inside: nn.Module, inputs: Inputs) -> bool:
    """Whether a Lightning module gives what the one module in it gives, or has no forward of its own."""
    try:
        outer = outputs_of(_called(network, inputs))
    except NotImplementedError:
        return True
    return torch.equal(outer, outputs_of(_called(inside, inputs)))


def _called(network: nn.Module, inputs: Inputs) -> Any:
    hook = _arrangement(network, inputs)
    if hook is None:
        return network(inputs)
    arguments, keywords = hook(network, (inputs,), {})
    return network(*arguments, **keywords)


def cast(network: nn.Module, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.Module:
    """A network on another device or in another precision, in place; complex buffers stay complex.

    Args:
        network: changed in place.
        device: None for where it is.
        dtype: of real numbers, None for what they are.

    Returns:
        The network.
    """
    turned = {name: buffer for name, buffer in network.named_buffers() if buffer.is_complex()}
    owners = {name: network.get_submodule(name.rpartition(".")[0])._buffers for name in turned}
    for name, buffers in owners.items():  # torch would drop the imaginary part
        buffers[name.rpartition(".")[2]] = None
    network.to(device=device, dtype=dtype)
    kind = None if dtype is None else dtype.to_complex()
    for name, buffers in owners.items():
        buffers[name.rpartition(".")[2]] = turned[name].to(device=device, dtype=kind)
    return network
