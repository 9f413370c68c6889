"""Labelled sentences, before they are tokens: what text sources give, and their labels as a task wants them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fimo.data.classes import class_numbers
from fimo.errors import UserError

TASKS = ("classification", "multilabel", "regression")
# Where labels are looked for by themselves, and what names another place.
OTHER = "name the column of labels by data.source.label (without it the last one)"
TRUTH = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0}


@dataclass(frozen=True)
class Sentences:
    """Sentences, or pairs of sentences, of one split.

    Attributes:
        text: the sentences as they are, of pairs the first ones.
        labels: `[row]`, class numbers; `[row, label]`, numbers; or `[row, label]`, text as it stands in a file.
        names: what people call each row, as `line 12`; None where the position says it all.
        second: the other sentence of each pair; None for single sentences.
    """

    text: list[str]
    labels: np.ndarray
    names: list[str] | None = None
    second: list[str] | None = None

    def __len__(self) -> int:
        return len(self.text)

    def at(self, index: np.ndarray) -> Sentences:
        """The sentences at `index`."""
        names, second = (None if of is None else [of[row] for row in index] for of in (self.names, self.second))
        return Sentences([self.text[row] for row in index], self.labels[index], names, second)

    def display(self, row: int) -> str:
        """The sentence of a row, or both of its pair."""
        first = self.text[row].strip()
        return first if self.second is None else f"{first} / {self.second[row].strip()}"


@dataclass(frozen=True)
class Corpus:
    """Labelled sentences.

    Attributes:
        classes: names of the classes, by number; none where labels are something else.
        train: the training split, or all sentences where there is one split only.
        test: the test split, or None: rows are drawn from `train` then.
        labels: what the columns of labels are called, where they are no classes.
    """

    classes: tuple[str, ...]
    train: Sentences
    test: Sentences | None = None
    labels: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """Outputs of a network: one for each class, or for each label."""
        return len(self.classes or self.labels)

    def display(self, sentences: Sentences, row: int, label: str | None = None) -> str:
        """A row as people read it: sentence and labels.

        Args:
            sentences: of one of the splits.
            row: position in that split.
            label: in place of the row's own; None for this.
        """
        return f"{sentences.display(row)} ({label or self.label_of(sentences.labels[row])})"

    def columns(self) -> dict[str, np.ndarray]:
        """What the training rows can be grouped by: `label`, or each label by its name, `[row]`."""
        labels = self.train.labels
        if self.classes:
            return {"label": np.array(self.classes)[labels]}
        return {name: labels[:, place] for place, name in enumerate(self.labels)}

    def label_of(self, label: np.ndarray) -> str:
        """A row's label as people read it: a class, the labels that are 1, or numbers with their names."""
        if self.classes:
            return self.classes[int(label)]
        if set(label.tolist()) <= {0.0, 1.0} and len(label) > 1:
            return ", ".join(name for name, value in zip(self.labels, label, strict=True) if value) or "no label"
        return ", ".join(f"{name} {value:g}" for name, value in zip(self.labels, label, strict=True))

    def for_task(self, task: str, where: object) -> Corpus:
        """The same with labels that are numbers.

        Args:
            task: `classification`, `multilabel` (labels of 0 and 1) or `regression` (numbers, which stay as they are).
            where: the sentences come from, for errors.

        Raises:
            UserError: where the labels are not what the task needs.
        """
        if task not in TASKS:
            raise UserError(f"data.task must be one of {', '.join(TASKS)} for text, found {task!r}.")
        if self.classes:
            if task != "classification":
                raise UserError(f"{where} has classes, which are for data.task=classification, found {task!r}.")
            return self
        texts, names = self.train.labels, self.train.names or []
        if task == "classification":
            if len(self.labels) > 1:
                raise UserError(
                    f"data.task=classification needs one column of labels, found {', '.join(self.labels)}: choose "
                    "data.task=multilabel for labels of 0 and 1, or data.task=regression for numbers."
                )
            numbers, classes = class_numbers(texts[:, 0], f"The labels in {where}", OTHER)
            return replace(self, classes=classes, train=replace(self.train, labels=numbers))
        read = TRUTH.get if task == "multilabel" else _number
        values = [[read(text.strip().lower()) for text in row] for row in texts]
        if wrong := [(row, place) for row, line in enumerate(values) for place, v in enumerate(line) if v is None]:
            row, place = wrong[0]
            raise UserError(
                f"data.task={task} needs {'0 or 1' if task == 'multilabel' else 'numbers'} as labels, found "
                f"{str(texts[row, place])!r} in {names[row]} of {where} ({len(wrong)} such cells): mend them, or "
                "choose another data.task."
            )
        return replace(self, train=replace(self.train, labels=np.array(values, dtype="float32")))


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
