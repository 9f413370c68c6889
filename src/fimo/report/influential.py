"""influential.md: which training examples helped and harmed a few test examples most, for people to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from fimo.comparison.influential import GOLD, extremes
from fimo.report.image_grid import image_grid

# ("train" or "test", row of that split) -> a line of text, or an image [height, width, channel], uint8.
DescribeRow = Callable[[str, int], str | np.ndarray]


def influential_markdown(
    rankings: Mapping[str, xr.DataArray],
    describe_row: DescribeRow,
    tests: int = 3,
    count: int = 3,
    watched: str | None = None,
    names: Sequence[str] | None = None,
) -> str:
    """A section for each of the first test examples: what each ranking puts at its ends, and how these read.

    Args:
        rankings: scores `[test, left_out]` by name.
        describe_row: an example as people read it, from its split and its row.
        tests: how many test examples.
        count: how many training examples at each end.
        watched: what is measured at the test examples; None for their loss, which an example helps to lower.
        names: of the groups that were left out; None where single rows were.

    Returns:
        The text in Markdown.
    """
    first = next(iter(rankings.values()))
    one, what = ("example", "training row") if names is None else ("group", "group")
    lines = [
        f"# Most helpful and most harmful {'training examples' if names is None else 'groups of training examples'}",
        "",
        f"Among the {first.sizes['left_out']} that were left out. Positive scores: leaving the {one} out raises "
        f"{f'the {watched}' if watched else 'the test loss, so it helped'}. `{GOLD}` is what further training did, "
        "mean over seeds; centred is minus its mean over all that was left out: above or below that mean.",
    ]
    for test in first["test"].values[:tests]:
        lines += ["", f"## Test example {test}", "", *_quoted(describe_row("test", int(test))), ""]
        high, low = ("raises it most", "lowers it most") if watched else ("most helpful", "most harmful")
        lines += [f"| by | {high}: {what} (score) | {low} |", "|---|---|---|"]
        named: dict[int, None] = {}
        for name, scores in rankings.items():
            ends = extremes(scores.sel(test=test), count)
            lines.append(f"| {name} | {_cell(ends.helpful, names)} | {_cell(ends.harmful, names)} |")
            named |= dict.fromkeys(row for row, _ in (*ends.helpful, *ends.harmful))
        lines += _listed(named, describe_row, names)
    return "\n".join(lines) + "\n"


def _cell(pairs: Sequence[tuple[int, float]], names: Sequence[str] | None) -> str:
    return ", ".join(f"{_name(row, names)} ({score:.2g})" for row, score in pairs) or "–"


def _name(number: int, names: Sequence[str] | None) -> str:
    return str(number) if names is None else names[number].replace("|", r"\|")


def _quoted(example: str | np.ndarray) -> list[str]:
    return [f"> {example}"] if isinstance(example, str) else ["![what helped and what harmed](influential.png)"]


def _listed(rows: Mapping[int, None], describe_row: DescribeRow, names: Sequence[str] | None) -> list[str]:
    """The training examples that were named, where they can be read."""
    texts = {row: describe_row("train", row) for row in sorted(rows)}
    return ["", *(f"- **{_name(row, names)}** {text}" for row, text in texts.items() if isinstance(text, str))]


def influential_figure(
    name: str,
    scores: xr.DataArray,
    describe_row: DescribeRow,
    tests: int = 3,
    count: int = 3,
    names: Sequence[str] | None = None,
) -> Figure | None:
    """The same for images, by one ranking `[test, left_out]`; None for examples that are text.

    Args:
        name: of the ranking.
        scores: what is ranked.
        describe_row: an example as people see it, from its split and its row.
        tests: how many test examples.
        count: how many training examples at each end; where fewer helped or harmed, places stay empty.
        names: of the groups that were left out, each shown by its first row; None where single rows were.

    Returns:
        A row of images for each test example, or None.
    """
    chosen = [int(test) for test in scores["test"].values[:tests]]
    if isinstance(describe_row("test", chosen[0]), str):
        return None
    images: list[list[np.ndarray]] = []
    titles: list[list[str]] = []
    for test in chosen:
        ends, own = extremes(scores.sel(test=test), count), np.asarray(describe_row("test", test))
        pairs = [pair for end in (ends.helpful, ends.harmful) for pair in (*end, *[None] * (count - len(end)))]
        empty = np.full_like(own, 255)
        images.append([own, *(empty if pair is None else np.asarray(describe_row("train", pair[0])) for pair in pairs)])
        titles.append(["", *("–" if pair is None else f"{_name(pair[0], names)}: {pair[1]:+.1e}" for pair in pairs)])
    groups = [("test example", 1), (f"most helpful, by {name}", count), ("most harmful", count)]
    return image_grid(images, titles, [str(test) for test in chosen], groups)
