"""The exceptions that are meant for the user and not for the programmer."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Names in a sentence; the others are counted.
MOST_NAMED = 6


class UserError(Exception):
    """Something the user can put right: the message says what was expected, what was found and what to do."""


class Unavailable(UserError):
    """What is wanted can't be had for this data set, or not on this machine; for others it may be."""


class MethodFailed(UserError):
    """A method can't be applied to this network and data: its own failure, the other methods have scores."""


class MethodWarning(UserWarning):
    """A method has scores, but they are not what its settings ask for."""


class Diverged(UserError):
    """Training the final model left the finite numbers: in a search for its settings, the worst that can be."""


def short(reason: BaseException, length: int = 160) -> str:
    """Another library's error in one line, to stand inside a sentence: without its final full stop, and its pleas.

    Args:
        reason: the error.
        length: characters at most.

    Returns:
        Its text, or the name of its type where it has none.
    """
    line = " ".join(str(reason).split())
    text = re.split(r"\W+please (?:file|submit|open) (?:an?|us)\b", line, flags=re.IGNORECASE)[0]
    return text[:length].rstrip(".") or type(reason).__name__


def some_of(names: Sequence[str], separator: str = ", ") -> str:
    """A few names, and how many more there are, to stand inside a sentence.

    Args:
        names: all of them.
        separator: between two.
    """
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return separator.join(names[:MOST_NAMED]) + more


def lacks_derivative(reason: BaseException) -> bool:
    """Whether an error of torch says that an operation has no derivative: forward ones say it by the type alone.

    Args:
        reason: the error.
    """
    text = str(reason)
    return isinstance(reason, NotImplementedError) or ("derivative for " in text and "not implemented" in text)
