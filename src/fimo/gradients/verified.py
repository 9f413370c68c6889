"""Gradients in factors are taken only where they are right for every row: what a computation knows of that.

Each block of rows is looked at when its gradients are made, see `fimo.gradients.checks`. A computation that meets a
block for which factors aren't right begins anew with gradients as they are, see `factors_or_dense`: it never uses both
forms.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from torch import Tensor, nn

from fimo.errors import UserError
from fimo.gradients.cotangents import Cotangents
from fimo.models.objective import Objective
from fimo.rows import Rows, by_name

if TYPE_CHECKING:
    from fimo.gradients.factored import Factorisation

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
# What says which scalars are differentiated: the cotangent function and the objective.
Scalars = tuple[Cotangents, Objective]
# Names of layers, and the identities of the cotangent function and the objective.
Looked = tuple[tuple[str, ...], tuple[int, ...]]

# Networks whose gradients are taken as they are; and what a warning was written for.
_dense: WeakSet[nn.Module] = WeakSet()
_warned: set[tuple[type[nn.Module], str]] = set()


@dataclass
class Computation:
    """What the sources of gradients of one computation have in common.

    Attributes:
        factorisations: by the names of a network's parameters; None for gradients as they are.
        verified: for each network the rows for which the factors of some layers are right, by the layers' names, by
            which scalars were differentiated, and by the places of the rows in memory.
        held: what has these places, so that nothing else takes them.
    """

    factorisations: dict[tuple[str, ...], Factorisation | None] = field(default_factory=dict)
    verified: WeakKeyDictionary[nn.Module, dict[Looked, set[tuple[int, ...]]]] = field(
        default_factory=WeakKeyDictionary
    )
    held: list[object] = field(default_factory=list)

    def verify_once(
        self, network: nn.Module, layers: tuple[str, ...], scalars: Scalars, rows: Rows, verify: Callable[[], None]
    ) -> None:
        """Verify rows, unless all of them were verified before with the network and these layers.

        A sequence that is cut to another length has the same gradients, and the same place.

        Args:
            network: whose gradients are taken.
            layers: names of the layers that have factors.
            scalars: which are differentiated.
            rows: the examples.
            verify: raises where factors aren't right for them.
        """
        inputs = by_name(rows.inputs).values()
        places = set(zip(*map(_places, (*inputs, rows.targets)), strict=True))
        before, objects = self.verified.setdefault(network, {}), tuple(map(id, scalars))
        if any(places <= known for (names, of), known in before.items() if set(layers) <= set(names) and of == objects):
            return
        verify()
        before.setdefault((layers, objects), set()).update(places)
        self.held += [rows, scalars]


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
            warn_of_dense_gradients(network, reason)
        finally:
            _computation.reset(token)
    token = _computation.set(Computation({_names(network): None}))
    try:
        return compute()
    finally:
        _computation.reset(token)


def warn_of_dense_gradients(network: nn.Module, reason: FactorsDiffer) -> None:
    """Say once for each kind of network that its gradients are taken as they are, which takes more time and memory.

    Args:
        network: whose gradients they are; copies of it are met as well.
        reason: what is wrong with the factors.
    """
    if (key := (type(network), reason.what)) not in _warned:
        _warned.add(key)
        logger.warning("Gradients of the network %s are taken as they are and not in factors: %s.",
                       type(network).__name__, reason.what)  # fmt: skip


def verify_once(
    network: nn.Module, layers: tuple[str, ...], scalars: Scalars, rows: Rows, verify: Callable[[], None]
) -> None:
    """Verify rows, unless all of them were verified before in this computation, see `Computation`.

    Args:
        network: whose gradients are taken.
        layers: names of the layers that have factors.
        scalars: which are differentiated.
        rows: the examples.
        verify: raises where factors aren't right for them.
    """
    if (computation := _computation.get()) is None:
        verify()
    else:
        computation.verify_once(network, layers, scalars, rows, verify)


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
