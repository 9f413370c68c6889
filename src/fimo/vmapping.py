"""`vmap` where torch has rules for a network, and a loop with the same results where it hasn't: the one home of both.

`vmap_or_loop(function, in_dims, out_dims, randomness, what=…, network=…)` is called like `torch.func.vmap` and gives a
function of stacked arguments. It tries `vmap` first. Where torch raises because it has no rule for an operation, or
because the data decide which way the network takes, or where the network raises anything of its own, the function is
called once for each entry of the stack instead, and that network is not tried again for the same `what`. A warning
states the reason and the number of calls, once for each architecture. An error that says that memory ran out is never
taken for a missing rule: it is raised.

`vmap_works(function, arguments, …)` is the same decision alone, for a caller that has to plan with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import vmap

from fimo.errors import short

logger = logging.getLogger(__name__)


# Between gradients with and without vmap: of each tensor's norm, and of all tensors', for one that is rounding alone.
GRADIENT_TOLERANCE, ROUNDING = 1e-3, 1e-5

# What vmap could not do, by network or loss; and the architectures that a warning was written for.
_refused: WeakKeyDictionary[object, set[str]] = WeakKeyDictionary()
_warned: set[Hashable] = set()


def vmap_or_loop(
    function: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    what: str,
    network: object,
    single: Callable[..., Any] | None = None,
    around: Callable[[], AbstractContextManager[Any]] = nullcontext,
    valid: Callable[[Any], bool] = lambda results: True,
) -> Callable[..., Any]:
    """`vmap(function, in_dims, out_dims, randomness)`, or the same results by one call for each entry of the stack.

    Args:
        function: of single entries; takes and returns tensors, or tuples or mappings of tensors.
        in_dims: the stacked axis of each argument, as `torch.func.vmap` takes it; None for what all entries share.
        out_dims: the stacked axis of the results, likewise.
        randomness: of `vmap`: `error`, `same` or `different`.
        what: what is computed, for the warning ("per-example gradients").
        network: the network that `function` calls, or the loss; what `vmap` can't do is remembered for it.
        single: computes the same as `function` without a `vmap` inside; `function` itself by default.
        around: makes a context that the `vmap`, or each call of the loop, runs in, such as one that seeds generators.
        valid: whether the results of `vmap` have the form that they should have: torch's rules for some operations (a
            PReLU's) are wrong.

    Returns:
        A function of the stacked arguments.

    Raises:
        torch.OutOfMemoryError: on a GPU, by the function that is returned; on a CPU, torch's RuntimeError for it.
    """

    def stacked(*arguments: Any) -> Any:
        reason: Exception | None = None
        if what not in _refused.get(network, ()):
            try:
                with around():
                    together = vmap(function, in_dims, out_dims, randomness)(*arguments)
                if valid(together):
                    return together
                reason = ValueError("torch's rule for one of its operations gives results of another shape")
            except Exception as error:  # a network of the user's may raise anything where it meets no plain tensor
                if is_out_of_memory(error):
                    raise
                reason = error
        results = []
        entries = list(_entries(arguments, in_dims))
        for entry in entries:
            with around():
                results.append((single or function)(*entry))
            if reason is not None:  # only now: an error of the function itself has been raised by then
                _refuse(network, what, len(entries), reason)
                reason = None
        return _stack(results, out_dims)

    return stacked


def vmap_works(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    in_dims: Any = 0,
    randomness: str = "error",
    *,
    what: str,
    network: nn.Module,
    calls: int,
    differentiated: Sequence[Tensor] = (),
    around: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> bool:
    """Whether `vmap` takes `function`, tried on `arguments`; a warning says why it doesn't.

    Args:
        function: of single entries.
        arguments: stacked, a few entries.
        in_dims: the stacked axis of each argument.
        randomness: of `vmap`.
        what: what is computed, for the warning.
        network: the network that `function` calls.
        calls: number of calls of `function` that will take the place of one, for the warning.
        differentiated: those of the arguments' tensors by which the results will be differentiated backward, which what
            is computed again on the way back (checkpointing) can make impossible. All entries are equal: the gradient
            of each must be that of one call without `vmap`, which leaves out hooks on gradients.
        around: makes a context for each of the two, such as one that seeds generators.

    Returns:
        False where torch has no rule for the network or the data decide which way it takes.

    Raises:
        torch.OutOfMemoryError: on a GPU, where memory runs out; on a CPU, torch's RuntimeError for it.
    """
    try:
        with around():
            results = vmap(function, in_dims, randomness=randomness)(*arguments)
        if differentiated:
            together = _gradients(results, differentiated)
            with around():
                alone = _gradients(function(*next(_entries(arguments, in_dims))), differentiated)
            if not results.is_meta and not _are_repeated(together, [part[0] for part in alone]):
                raise ValueError("its gradients are others with vmap, as where a hook changes them")
    except Exception as error:  # as above
        if is_out_of_memory(error):
            raise
        _refuse(network, what, calls, error)
        return False
    return True


def _gradients(results: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(results.sum(), list(tensors), materialize_grads=True)


def _are_repeated(stacked: Sequence[Tensor], single: Sequence[Tensor]) -> bool:
    """Whether every entry of some gradients, stacked, is a single one but for rounding."""
    slack = ROUNDING * torch.stack([part.norm() for part in single]).norm()
    return all(
        bool((each - part).norm() <= GRADIENT_TOLERANCE * part.norm() + slack)
        for entries, part in zip(stacked, single, strict=True)
        for each in entries
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: torch raises a plain RuntimeError for it on CPUs and inside libraries.

    The texts are those of the CUDA allocator and libraries ("out of memory", "ALLOC_FAILED") and of the CPU allocator
    ("not enough memory", "can't allocate memory").
    """
    text = str(error).lower()
    signs = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "alloc_failed")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(sign in text for sign in signs)


def _refuse(network: object, what: str, calls: int, error: BaseException) -> None:
    """Remember that `vmap` can't do `what`, and warn once for the network and its copies, or for the loss."""
    _refused.setdefault(network, set()).add(what)
    if isinstance(network, nn.Module):
        key: Hashable = type(network), tuple((name, tuple(p.shape)) for name, p in network.named_parameters()), what
        of, this = f"the network {type(network).__name__}", "this network, or the loss"
    else:
        key, of, this = (repr(network), what), f"{network!r}", "it"
    if key not in _warned:
        _warned.add(key)
        logger.warning(
            "The %s of %s are computed one after another, %d calls in place of one, since vmap does not take %s (%s).",
            what, of, calls, this, short(error),
        )  # fmt: skip


def _entries(arguments: tuple[Any, ...], in_dims: Any) -> Iterator[Any]:
    """The arguments of each entry of the stack."""
    sizes: list[int] = []
    _map(lambda axis, tensor: sizes.append(tensor.shape[axis]) if axis is not None else None, in_dims, arguments)
    for number in range(sizes[0]):
        yield _map(partial(_select, number=number), in_dims, arguments)


def _select(axis: int | None, tensor: Tensor, number: int) -> Tensor:
    return tensor if axis is None else tensor.select(axis, number)


def _stack(results: list[Any], out_dims: Any) -> Any:
    """The results of all entries as one tensor, tuple or mapping of tensors."""
    return _map(lambda axis, *tensors: torch.stack(tensors, axis), out_dims, *results)


def _map(function: Callable[..., Any], axes: Any, first: Any, *others: Any) -> Any:
    """`function(axis, tensor, …)` for each tensor of some structures that are alike, in the same structure.

    Args:
        function: of an axis and one tensor from each structure.
        axes: a number or None for all tensors, or a structure of them.
        first: a tensor, or a tuple or mapping of such structures.
        others: structures like it.

    Returns:
        The structure of the function's results.
    """
    if isinstance(first, Tensor):
        return function(axes, first, *others)
    if isinstance(first, Mapping):
        own = axes if isinstance(axes, Mapping) else dict.fromkeys(first, axes)
        return {key: _map(function, own[key], part, *(other[key] for other in others)) for key, part in first.items()}

    in_order = axes if isinstance(axes, (tuple, list)) else (axes,) * len(first)
    return tuple(_map(function, axis, *parts) for axis, *parts in zip(in_order, first, *others, strict=True))
