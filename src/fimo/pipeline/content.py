"""What a user's function or object is made of, as a digest that is the same in every process."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Set
from functools import partial
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import nn

from fimo.pipeline.files import bytes_digest
from fimo.pipeline.formats import from_weights

PLAIN = (bool, int, float, complex, str, bytes, type(None))


class Contents:
    """Digests of code, closures and defaults of functions, and of the attributes of objects, down to numbers and texts.

    What is neither (a lock, an open file) counts by the name of its type.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, str]] = {}  # by identity, which is another's only once it is gone

    def digest(self, thing: Any, inside: tuple[int, ...] = ()) -> str:
        """The digest of one thing.

        Args:
            thing: a function, an object, or a value in one.
            inside: identities of what it is a part of: a part that is one of these is not gone through again.
        """
        if isinstance(thing, PLAIN):
            return repr(thing)
        if id(thing) in inside:
            return "itself"
        if id(thing) not in self._known:
            within = (*inside, id(thing))
            parts = [f"{key}: {self.digest(part, within)}" for key, part in _parts(thing)]
            if isinstance(thing, (Mapping, Set)):
                parts.sort()
            self._known[id(thing)] = thing, bytes_digest("\n".join([_name(thing), *parts]).encode())
        return self._known[id(thing)][1]


def _parts(thing: Any) -> Iterable[tuple[str, Any]]:
    """What something is made of, with what each part is called."""
    if isinstance(thing, torch.Tensor):
        return _named(from_weights({"": thing.detach()}))
    if isinstance(thing, np.ndarray):
        return _named(str(thing.dtype), thing.shape, thing.tolist() if thing.dtype == object else thing.tobytes())
    if isinstance(thing, nn.Module):
        public = {key: part for key, part in vars(thing).items() if key[:1] != "_" and key != "training"}
        return {**public, **thing._parameters, **thing._buffers, **thing._modules}.items()
    if isinstance(thing, Mapping):
        return ((str(key), part) for key, part in thing.items())
    if isinstance(thing, (list, tuple)):
        return _named(*thing)
    if isinstance(thing, Set):
        return (("", part) for part in thing)
    if isinstance(thing, partial):
        return _named(thing.func, thing.args, thing.keywords)
    if isinstance(thing, CodeType):
        return _named(thing.co_code, thing.co_names, thing.co_consts)
    if inspect.ismethod(thing):
        return _named(thing.__self__, thing.__func__)
    if inspect.isfunction(thing):
        return _named(thing.__code__, thing.__defaults__, thing.__kwdefaults__, [*map(_held, thing.__closure__ or ())])
    return () if hasattr(thing, "__qualname__") or inspect.ismodule(thing) else getattr(thing, "__dict__", {}).items()


def _named(*parts: Any) -> Iterable[tuple[str, Any]]:
    return ((str(place), part) for place, part in enumerate(parts))


def _held(cell: Any) -> Any:
    """What a cell of a closure holds; one that is not filled yet holds nothing."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _name(thing: Any) -> str:
    if inspect.ismodule(thing):
        return thing.__name__
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"
