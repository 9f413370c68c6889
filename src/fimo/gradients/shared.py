"""Duals and eigendecompositions that several methods have in common: made once, and held while all of them run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import nn

from fimo.elapsed import Elapsed
from fimo.gradients.cotangents import Cotangents
from fimo.gradients.source import GradientSource
from fimo.rows import Rows

Result = TypeVar("Result")
# Of each kind: over all training rows, and over fewer for self-influence.
MOST_HELD = 2


@dataclass(frozen=True)
class Held:
    """Something that was made, and all that it depends on.

    Attributes:
        network: at θ_f; networks of problems are copies that nobody changes.
        rows: training rows.
        settings: everything else.
        value: what was made.
        elapsed: what it takes from nothing.
    """

    network: nn.Module
    rows: Rows
    settings: tuple[Any, ...]
    value: Any
    elapsed: Elapsed


@dataclass
class Shared:
    """What is held.

    Attributes:
        held: by kind, the latest last.
        saved: what those would have taken which were found; a method's cost by itself is that much higher.
    """

    held: dict[str, list[Held]] = field(default_factory=dict)
    saved: Elapsed = Elapsed()


_shared: ContextVar[Shared | None] = ContextVar("shared", default=None)


@contextmanager
def shared_curvature() -> Iterator[Shared]:
    """Inside, what methods of one problem have in common is made once; without it each makes its own."""
    shared = Shared()
    token = _shared.set(shared)
    try:
        yield shared
    finally:
        _shared.reset(token)


def made_once(
    kind: str, source: GradientSource, root: Cotangents, make: Callable[[], Result], *settings: Any
) -> Result:
    """What is made of the gradients of all training rows, or the same from before.

    Args:
        kind: of thing.
        source: of gradients, with the training rows.
        root: of the curvature.
        make: makes it.
        settings: what else it depends on.

    Returns:
        It; nobody may change it.
    """
    if (shared := _shared.get()) is None:
        return make()
    network, rows, objective = source.problem.network, source.problem.train, source.problem.objective
    settings = (source.factored, source.coordinates, root, objective, *settings)
    held = shared.held.setdefault(kind, [])
    for one in held:
        if one.network is network and one.settings == settings and one.rows.equal(rows):
            shared.saved += one.elapsed
            return one.value
    del held[: len(held) - MOST_HELD + 1]  # before another one needs memory
    start, before = Elapsed.now(), shared.saved
    value = make()
    # What it is made of may be there, and would have taken its time too.
    held.append(Held(network, rows, settings, value, Elapsed.now() - start + (shared.saved - before)))
    return value
