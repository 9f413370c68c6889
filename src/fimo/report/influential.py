"""influential.md: which training examples helped and harmed a few test examples most, for people to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from fimo.comparison.influential import GOLD, extremes
from fimo.report.image_grid import image_grid

# Letters of a name that have room below a picture; influential.md has all of it.
CAPTION = 15
# ("train" or "test", row of that split) -> a line of text, or an image [height, width, channel], uint8.
DescribeRow = Callable[[str, int], str | np.ndarray]
# The same -> what people call the row, as `line 12`; None where its position says it all.
NameRow = Callable[[str, int], str | None]


def no_name(split: str, row: int) -> None:
    """Names of rows that have no other than their position.

    Args:
        split: `train` or `test`.
        row: position in that split.
    """


@dataclass(frozen=True)
class Examples:
    """The examples of a run as people know them.

    Attributes:
        describe: an example as people read or see it, from its split and its row.
        name: what people call it beside its position.
        groups: names of the groups that were left out; None where single rows were.
    """

    describe: DescribeRow
    name: NameRow = no_name
    groups: Sequence[str] | None = None

    def label(self, split: str, number: int) -> str:
        """`17`, `17 (line 812)`, or a group's name.

        Args:
            split: `train` or `test`.
            number: of a row in that split, or of a group that was left out.
        """
        if split == "train" and self.groups is not None:
            return self.groups[number]
        name = self.name(split, number)
        return str(number) if name is None else f"{number} ({name})"


def influential_markdown(
    rankings: Mapping[str, xr.DataArray],
    examples: Examples,
    tests: int = 3,
    count: int = 3,
    watched: str | None = None,
) -> str:
    """A section for each of the first test examples: what each ranking puts at its ends, and how these read.

    Args:
        rankings: scores `[test, left_out]` by name.
        examples: of the run.
        tests: how many test examples.
        count: how many training examples at each end.
        watched: what is measured at the test examples; None for their loss, which an example helps to lower.

    Returns:
        The text in Markdown.
    """
    first = next(iter(rankings.values()))
    one, what = ("example", "training row") if examples.groups is None else ("group", "group")
    several = "training examples" if examples.groups is None else "groups of training examples"
    lines = [
        f"# Most helpful and most harmful {several}",
        "",
        f"Among the {first.sizes['left_out']} that were left out. Positive scores: leaving the {one} out raises "
        f"{f'the {watched}' if watched else 'the test loss, so it helped'}. `{GOLD}` is what further training did, "
        "mean over seeds; centred is minus its mean over all that was left out: above or below that mean.",
    ]
    for test in first["test"].values[:tests]:
        lines += ["", f"## Test example {examples.label('test', int(test))}", ""]
        lines += [*quoted(examples.describe("test", int(test)), "influential.png"), ""]
        high, low = ("raises it most", "lowers it most") if watched else ("most helpful", "most harmful")
        lines += [f"| by | {high} ({what}: score) | {low} |", "|---|---|---|"]
        named: dict[int, None] = {}
        for name, scores in rankings.items():
            ends = extremes(scores.sel(test=test), count)
            lines.append(f"| {name} | {rows_cell(ends.helpful, examples)} | {rows_cell(ends.harmful, examples)} |")
            named |= dict.fromkeys(row for row, _ in (*ends.helpful, *ends.harmful))
        lines += described(named, examples)
    return "\n".join(lines) + "\n"


def rows_cell(pairs: Sequence[tuple[int, float]], examples: Examples) -> str:
    """Training rows and their scores within a cell of a table in Markdown.

    Args:
        pairs: positions of rows, and scores.
        examples: of the run.
    """
    return ", ".join(f"{markdown_cell(examples.label('train', row))}: {score:.2g}" for row, score in pairs) or "–"


def markdown_cell(text: str) -> str:
    """Text within a cell of a table in Markdown."""
    return text.replace("|", r"\|")


def quoted(example: str | np.ndarray, picture: str | None = None) -> list[str]:
    """An example as people read it, or, of images, the picture that shows it.

    Args:
        example: as `Examples.describe` gives it.
        picture: name of the file beside the text; None for none.
    """
    if isinstance(example, str):
        return [f"> {example}"]
    return [f"![what helped and what harmed]({picture})"] if picture else []


def described(rows: Iterable[int], examples: Examples) -> list[str]:
    """Lines of the training examples that were named, where they can be read.

    Args:
        rows: which.
        examples: of the run.
    """
    texts = {row: examples.describe("train", row) for row in sorted(rows)}
    listed = {row: text for row, text in texts.items() if isinstance(text, str)}
    lines = [f"- **{markdown_cell(examples.label('train', row))}** {text}" for row, text in listed.items()]
    return ["", *lines] if lines else []


def influential_figure(
    name: str,
    scores: xr.DataArray,
    examples: Examples,
    tests: int = 3,
    count: int = 3,
) -> Figure | None:
    """The same for images, by one ranking `[test, left_out]`; None for examples that are text.

    Args:
        name: of the ranking.
        scores: what is ranked.
        examples: of the run; a group is shown by its first row.
        tests: how many test examples.
        count: how many training examples at each end; where fewer helped or harmed, places stay empty.

    Returns:
        A row of images for each test example, or None.
    """
    chosen = [int(test) for test in scores["test"].values[:tests]]
    if isinstance(examples.describe("test", chosen[0]), str):
        return None
    images: list[list[np.ndarray]] = []
    titles: list[list[str]] = []
    for test in chosen:
        ends, own = extremes(scores.sel(test=test), count), np.asarray(examples.describe("test", test))
        pairs = [pair for end in (ends.helpful, ends.harmful) for pair in (*end, *[None] * (count - len(end)))]
        empty = np.full_like(own, 255)
        others = [empty if pair is None else np.asarray(examples.describe("train", pair[0])) for pair in pairs]
        images.append([own, *others])
        titles.append(["", *("–" if pair is None else _caption(examples, *pair) for pair in pairs)])
    groups = [("test example", 1), (f"most helpful, by {name}", count), ("most harmful", count)]
    return image_grid(images, titles, [str(test) for test in chosen], groups)


def _caption(examples: Examples, row: int, score: float) -> str:
    """Score and name of a training example, or of a group, below its picture."""
    name = None if examples.groups else examples.name("train", row)
    if name is None:
        return f"{examples.label('train', row)}: {score:+.1e}"
    return f"{row}: {score:+.1e}\n{name if len(name) <= CAPTION else name[: CAPTION - 1] + '…'}"
