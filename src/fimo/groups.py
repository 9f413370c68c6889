"""What is left out of training: groups of training rows, each as one. A single row is a group of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fimo.errors import UserError

# Fills the places of a group that has fewer members than the largest; a group of nothing else is the full run.
NOBODY = -1


@dataclass(frozen=True)
class Groups:
    """Groups of training rows, which may overlap and differ in size.

    Attributes:
        members: `[left_out, member]`, 64-bit integers, positions in the training rows, ascending; smaller groups are
            filled with `NOBODY` at their end.
        names: of each group, for people; None for single rows, which are called by their position.
    """

    members: Tensor
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.members)

    @property
    def sizes(self) -> Tensor:
        """Rows of each group, `[left_out]`."""
        return self.members.ne(NOBODY).sum(1)

    @property
    def largest(self) -> int:
        """Rows of the largest group."""
        return self.members.shape[1]

    @property
    def rows(self) -> Tensor:
        """Positions of all rows that are in any group: single rows as they are listed, else each once, ascending."""
        if self.names is None:
            return self.members[:, 0]
        return self.members[self.members.ne(NOBODY)].unique()

    @property
    def lists(self) -> list[list[int]]:
        """The members of each group."""
        return [[row for row in group if row != NOBODY] for group in self.members.tolist()]

    def summed(self, values: Tensor) -> Tensor:
        """Sums over each group.

        Args:
            values: of each of `rows`, `[…, row]`.

        Returns:
            `[…, left_out]`; of single rows the values themselves.
        """
        if self.names is None:
            return values
        places = torch.searchsorted(self.rows, self.members)
        sums = [values[..., of[:size].to(values.device)].sum(-1) for of, size in zip(places, self.sizes, strict=True)]
        return torch.stack(sums, -1)

    def at(self, positions: Tensor) -> Groups:
        """The same rows where only some training rows are kept.

        Args:
            positions: of the kept rows, ascending, `[kept]`; all members are among them.
        """
        members = torch.searchsorted(positions, self.members).where(self.members.ne(NOBODY), NOBODY)
        return Groups(members, self.names)

    def labels(self, index: Tensor) -> np.ndarray:
        """What the axis `left_out` of results is labelled with.

        Args:
            index: position of each training row in its entire split, `[row]`.

        Returns:
            Positions in the entire split for single rows, else the groups' numbers from 0.
        """
        return np.arange(len(self)) if self.names is not None else index[self.members[:, 0]].numpy()

    def described(self, index: Tensor) -> list[dict[str, Any]] | None:
        """Which rows each group is, for `groups.json`: a name, and positions in the entire split; None for single rows.

        Args:
            index: position of each training row in its entire split, `[row]`.
        """
        if self.names is None:
            return None
        groups = zip(self.names, self.lists, strict=True)
        return [{"name": name, "rows": index[torch.tensor(members)].tolist()} for name, members in groups]

    @classmethod
    def of(cls, left_out: Any, rows: int) -> Groups:
        """Groups of what a caller has.

        Args:
            left_out: `Groups`; row numbers, each left out by itself (a range, list, array or tensor of integers, or
                "all"); a list of lists of row numbers; or a mapping of such lists by name.
            rows: number of training rows.

        Returns:
            The groups.

        Raises:
            UserError: for what is no row number, rows that there are not, a row that is named twice, by itself or in a
                group, and a group that is empty or all rows.
        """
        if isinstance(left_out, Groups):
            return left_out
        if isinstance(left_out, str) and left_out == "all":
            left_out = range(rows)
        if getattr(left_out, "ndim", 1) == 2:
            left_out = left_out.tolist()
        if isinstance(left_out, (list, tuple)) and any(map(_is_list, left_out)):
            left_out = {f"group {number}": group for number, group in enumerate(left_out)}
        if isinstance(left_out, Mapping) and {"by", "random"} & set(left_out):
            raise UserError("left_out by a column or at random is for the command line: give a list for each group.")
        if isinstance(left_out, Mapping):
            if len(set(map(str, left_out))) < len(left_out) or not left_out:
                names = ", ".join(map(repr, left_out)) or "none"
                raise UserError(f"left_out must have groups, each with a name of its own, found {names}.")
            return cls._named({str(name): _numbers(group, rows, str(name)) for name, group in left_out.items()}, rows)
        single = _numbers(left_out, rows)
        if twice := _twice(single.tolist()):
            raise UserError(f"left_out must name each training row once, found {twice[0]} twice.")
        return cls(single[:, None])

    @classmethod
    def _named(cls, groups: Mapping[str, Tensor], rows: int) -> Groups:
        for name, members in groups.items():
            _check_group(name, members.tolist(), rows)
        filled = torch.full((len(groups), max(map(len, groups.values()))), NOBODY)
        for place, members in enumerate(groups.values()):
            filled[place, : len(members)] = members.sort().values
        return cls(filled, tuple(groups))


def _check_group(name: str, members: Sequence[int], rows: int) -> None:
    if twice := _twice(members):
        raise UserError(f"left_out must name each training row of {name} once, found {twice[0]} twice.")
    if len(members) == rows:
        raise UserError(f"left_out must leave some training rows, found all {rows} of them in '{name}'.")


def _twice(members: Sequence[int]) -> list[int]:
    """The rows that are named more than once."""
    return [] if len(set(members)) == len(members) else [row for row in members if members.count(row) > 1]


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, range)) or getattr(value, "ndim", 0) == 1


def _numbers(left_out: Any, rows: int, group: str | None = None) -> Tensor:
    """Row numbers as a tensor, 64-bit integers."""
    of_group = "" if group is None else f" in {group}"
    expected = f"left_out must be whole numbers from 0 to {rows - 1}{of_group} in a list, or lists of them for groups"
    try:
        numbers = torch.as_tensor(list(left_out) if isinstance(left_out, range) else left_out)
    except (TypeError, ValueError, RuntimeError) as reason:
        raise UserError(f"{expected}, found {left_out!r}.") from reason
    if numbers.dim() == 0:
        raise UserError(f"{expected}, found the single number {numbers}: write [{numbers}] for this row.")
    if numbers.dtype == torch.bool:
        raise UserError(
            f"{expected}, found a mask of shape {list(numbers.shape)}: give the numbers of its rows, "
            "numpy.flatnonzero(mask), or of a tensor mask.nonzero().flatten()."
        )
    if numbers.dim() != 1 or numbers.is_floating_point() and len(numbers):
        raise UserError(f"{expected}, found {list(numbers.shape)} numbers of {numbers.dtype}.")
    if len(numbers) == 0 or not 0 <= int(numbers.min()) <= int(numbers.max()) < rows:
        raise UserError(
            f"left_out must name training rows from 0 to {rows - 1}{of_group}, found {_few(numbers.tolist(), rows)}."
        )
    return numbers.to(torch.int64)


def _few(numbers: list[int], rows: int) -> str:
    """What is wrong with row numbers."""
    return str(next((number for number in numbers if not 0 <= number < rows), "none"))
