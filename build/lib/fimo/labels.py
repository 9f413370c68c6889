"""What a method is called in legends and files: a base, and a variant of it in brackets."""

from __future__ import annotations

from typing import NamedTuple, Self


class Label(NamedTuple):
    """A method's name: `CG`, or `CG (λ = 10 λ0)`.

    Attributes:
        base: the method.
        variant: in what its settings differ from the method's own; empty where they don't.
    """

    base: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.base} ({self.variant})" if self.variant else self.base

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str`."""
        base, _, variant = text.partition(" (")
        return cls(base, variant.removesuffix(")"))
