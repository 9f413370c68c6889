"""The code that a user brings, which is part of the address of whatever is computed with it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from fimo.pipeline.content import Contents
from fimo.pipeline.files import digest, short_hash

# Packages whose code has no part in an address: ours and torch's have versions.
VERSIONED = ("builtins", "abc", "typing", "torch", "fimo", "collections")


def own_code(*things: Any) -> str | None:
    """Hash of the files that classes, with those that they build on, and functions are written in.

    A function in a notebook or at a prompt has no file: its compiled code stands in its place; of a class there nothing
    is known.

    Args:
        things: classes and functions.

    Returns:
        The hash, or None where nothing of it is a user's own.
    """
    parts = [part for thing in things for part in (inspect.getmro(thing) if inspect.isclass(thing) else [thing])]
    owned = [part for part in parts if (part.__module__ or "builtins").partition(".")[0] not in VERSIONED]
    hashes = list(dict.fromkeys(filter(None, map(_hash, owned))))
    return short_hash({str(number): known for number, known in enumerate(hashes)}) if hashes else None


def _hash(thing: Any) -> str | None:
    try:
        written = digest(Path(inspect.getfile(thing)))
    except (TypeError, OSError):
        written = None
    code = getattr(thing, "__code__", None)
    return written or (code and Contents().digest(code))
