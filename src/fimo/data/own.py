"""Rows of one's own: a function that returns both splits as they are to be used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fimo.data.base import Choice, Data, DataInfo, RowNames
from fimo.errors import UserError
from fimo.rows import Rows, by_name

# What the targets of each task are.
EXPECTED = {
    "regression": "numbers [row] or [row, target]",
    "classification": "class numbers 0, 1, … [row]",
    "multilabel": "0 or 1 [row, label]",
}
PARTS, OPTIONAL = ("inputs", "targets"), ("weights", "names")
# Numbers of an example that are shown to people.
NUMBERS = 12


@dataclass(frozen=True, kw_only=True)
class OwnData(Choice):
    """Both splits from a function of one's own. Nothing is done to them.

    Attributes:
        name: of the folder that results on these data go to.
        batch_size: of further training.
        task: `regression`, `classification` or `multilabel`.
        make: returns `(train, test)`. Each is a torch `Dataset`, a pair of arrays (for training rows possibly a triple
            with weights), or a mapping with `inputs` and `targets`, and possibly `weights` and `names` of the rows.
        function: what errors call it.
    """

    name: str
    batch_size: int
    task: str
    make: Callable[[], Any]
    function: str = "data._target_"

    def load(self) -> Data:
        """The chosen rows.

        Raises:
            UserError: where the function returns something else, or its rows don't fit the task.
        """
        (train, train_names), (test, test_names) = self.splits
        info = DataInfo(
            inputs=_width(train),
            outputs=self._outputs(),
            display=lambda split, row, label=None: _display({"train": train, "test": test}[split], row, label),
            names=RowNames(train_names, test_names),
            columns={"label": train.plain.targets.numpy()} if self.task == "classification" else {},
        )
        return self.of(train, test, info)

    @cached_property
    def splits(self) -> list[tuple[Rows, list[str] | None]]:
        """Rows of both splits, and their names where they have some.

        Raises:
            UserError: where the function returns something else, or its rows don't fit the task.
        """
        if self.task not in EXPECTED:
            raise UserError(f"data.task must be one of {', '.join(EXPECTED)}, found {self.task!r}.")
        made = self.make()
        if not isinstance(made, (tuple, list)) or len(made) != 2:
            raise UserError(
                f"{self.function} must return (train, test), found {type(made).__name__}"
                f"{f' of {len(made)}' if isinstance(made, (tuple, list, Mapping)) else ''}."
            )
        return [self._rows(split, which) for split, which in zip(made, ("train", "test"), strict=True)]

    @cached_property
    def content_digest(self) -> str:
        """SHA-256 of all that the function returned, which results depend on."""
        content = hashlib.sha256()
        for rows, names in self.splits:
            inputs = by_name(rows.inputs, "")
            for key, tensor in {**inputs, "targets": rows.targets}.items():
                content.update(f"{key} {tensor.dtype} {list(tensor.shape)} {names}\n".encode())
                content.update(tensor.contiguous().numpy().tobytes())
        return content.hexdigest()

    def _rows(self, split: Any, which: str) -> tuple[Rows, list[str] | None]:
        what, names = f"{which} of {self.function}", None
        if isinstance(split, Mapping):
            if not set(PARTS) <= set(split) <= {*PARTS, *OPTIONAL}:
                raise UserError(
                    f"{what} must be a Dataset, a pair of arrays, or a mapping with inputs and targets (and weights or "
                    f"names of rows), found a mapping with {', '.join(map(str, split)) or 'nothing'}."
                )
            names = split.get("names")
            split = tuple(split[part] for part in (*PARTS, "weights") if split.get(part) is not None)
        rows = Rows.of(split, what).to(dtype=torch.float32)
        rows = self._with_targets(rows if which == "train" else rows.plain, what)
        if names is not None and (different := len({str(name) for name in names})) < len(rows):
            raise UserError(
                f"{what} must have a name of its own for each of its {len(rows)} rows, found {different} different "
                f"among {len(names)} names: give each row another one."
            )
        return rows, None if names is None else [str(name) for name in names]

    def _with_targets(self, rows: Rows, what: str) -> Rows:
        """The rows with targets as the task wants them."""
        targets = rows.plain.targets
        expected = f"data.task={self.task} needs {EXPECTED[self.task]} as the targets of {what}"
        if self.task == "classification":
            if targets.is_floating_point() or targets.dim() != 1 or bool((targets < 0).any()):
                raise UserError(f"{expected}, found {list(targets.shape)} of {targets.dtype}: choose another task?")
            return rows
        targets = targets.float()
        targets = targets[:, None] if targets.dim() == 1 else targets
        if targets.dim() != 2 or self.task == "multilabel" and not bool(((targets == 0) | (targets == 1)).all()):
            raise UserError(f"{expected}, found {list(targets.shape)} from {targets.min():g} to {targets.max():g}.")
        return replace(rows.plain, targets=targets).weighted_by(rows.weights)

    def _outputs(self) -> int:
        train, test = (rows.plain.targets for rows, _ in self.splits)
        if self.task == "classification":
            return int(torch.cat([train, test]).max()) + 1
        if train.shape[1] != test.shape[1]:
            raise UserError(
                f"{self.function} must give all rows as many targets, found {train.shape[1]} and {test.shape[1]}."
            )
        return int(train.shape[1])


def _width(rows: Rows) -> int:
    """What a network's first layer is as wide as: features or channels, or numbers of tokens."""
    first = next(iter(by_name(rows.inputs).values()))
    if first.is_floating_point():
        return int(first.shape[1]) if first.dim() > 1 else 1
    return int(first.max()) + 1


def _display(rows: Rows, row: int, label: str | None) -> str | np.ndarray:
    """An example as people read it: an image, or the first numbers of each input, and the targets."""
    inputs = by_name(rows.inputs)
    parts = {**inputs, "targets": rows.plain.targets}
    first = next(iter(inputs.values()))[row]
    if len(inputs) == 1 and first.is_floating_point() and first.dim() == 3 and len(first) in (1, 3):
        darkest, brightest = first.min(), first.max()
        scaled = (first - darkest) * (255 / (brightest - darkest).clamp(min=1e-12))
        return scaled.permute(1, 2, 0).round().to(torch.uint8).numpy()
    texts = {name: _numbers(tensor[row]) for name, tensor in parts.items()}
    return "; ".join(f"{name} {text}" for name, text in {**texts, **({"targets": label} if label else {})}.items())


def _numbers(tensor: Tensor) -> str:
    values = tensor.flatten()
    return " ".join(f"{value:.4g}" for value in values[:NUMBERS].tolist()) + (" …" if len(values) > NUMBERS else "")
