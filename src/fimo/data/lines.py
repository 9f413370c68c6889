"""Lines of text for language models, before they are tokens: what sources give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Lines:
    """Texts of one split.

    Attributes:
        text: what is predicted, of each row: a line, or the completion of a prompt.
        names: what people call each row, as `line 12`.
        prompt: what stands in front of each text and carries no loss; None where all of a row does.
        other: another answer to each prompt, which the text is compared with; None for none.
        columns: what rows can be grouped by, a value for each row, by name.
    """

    text: Sequence[str]
    names: Sequence[str]
    prompt: Sequence[str] | None = None
    other: Sequence[str] | None = None
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.text)

    def at(self, index: np.ndarray) -> Lines:
        """The rows at `index`."""

        def some(values: Sequence[str] | None) -> list[str] | None:
            return None if values is None else [values[row] for row in index]

        columns = {name: [values[row] for row in index] for name, values in self.columns.items()}
        text, names = [self.text[row] for row in index], [self.names[row] for row in index]
        return Lines(text, names, some(self.prompt), some(self.other), columns)


class LineSource(Protocol):
    """Where lines come from."""

    def read(self, data_dir: Path) -> tuple[Lines, Lines | None]:
        """The training lines and the test lines; None for these where they are drawn from the first."""
        ...
