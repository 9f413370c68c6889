"""Equality of objectives that stand around another one."""

from __future__ import annotations

from typing import Any


class EqualByParts:
    """Equal to another of its class with equal parts.

    What methods make of the same rows, whose targets hold weights and draws, is made once for all of them.
    """

    shape: tuple[int, ...]

    def _parts(self) -> tuple[Any, ...]:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self.shape)  # a caller's loss needn't have a hash
