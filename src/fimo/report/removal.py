"""removal.md and removal.png: what leaving out the rows that rankings name does, beside what they predict."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fimo.comparison.removal import HARMFUL, HELPFUL, RANDOM_ROWS, Verification
from fimo.report.figures import STYLE, draw_line
from fimo.report.influential import Examples
from fimo.report.layout import draw_dashed, legend_entries, set_legend, set_title
from fimo.report.markdown import decimals_for, small_with_error, with_error

# Effects below this have a power of ten of their own in sentences: the decimals of tables end before them.
SMALL = 1e-3
NOTHING = "Nothing was measured: further training left the finite numbers. A smaller learning rate may help."
SCORE_AXES = {
    HELPFUL: "share of the training rows that leave, highest scores first",
    HARMFUL: "share of the training rows that leave, lowest scores first",
}


def removal_markdown(
    verified: Verification, examples: Examples, notes: Sequence[str] = (), watched: str | None = None
) -> str:
    """A verdict in words, the table of methods, and a sentence for each test example.

    Args:
        verified: the tables.
        examples: of the run, for what people call test examples.
        notes: sentences under the tables.
        watched: what is measured at the test examples; None for their loss.

    Returns:
        The text in Markdown.
    """
    what, best, count = watched or "loss", verified.best, verified.table["test"].nunique()
    change = "raises" if verified.end == HELPFUL else "lowers"
    absence = f"whose absence {change} the {what} most by a method's scores"
    chosen = f"that a method holds most {verified.end}" if what == "loss" else absence
    lines = [
        "# Are the rankings true for this model?",
        "",
        f"For {'' if count == 1 else 'each of '}{_examples(count)} the training rows {chosen} "
        "leave together, and the final model is trained on without them. Predicted is the sum of their scores, "
        f"measured how much higher the {what} is than after training on with all rows, mean over seeds. Random rows "
        "show what leaving out any rows does.",
        "",
        *_methods(verified),
        "",
        *([NOTHING] if best is None else [f"## Test example by test example, by {best}", ""]),
        *(f"- {sentence}" for sentence in verdicts(verified, best, examples, what).values()),
    ]
    return "\n".join([*lines, *(f"\n{note}" for note in notes)]) + "\n"


def _methods(verified: Verification) -> list[str]:
    """A row for each method: how often the sign is right, rank correlation, and the mean effect for each share."""
    means, agreement = verified.shares(), verified.agreement.set_index("method")
    sizes = means.drop_duplicates("share")
    columns = [f"{share:.3g} of the rows ({rows})" for share, rows in zip(sizes["share"], sizes["rows"], strict=True)]
    head = ["method", "right sign", "rank correlation", *(f"{column}: measured | predicted" for column in columns)]
    lines = [f"| {' | '.join(head)} |", f"|---{(len(head) - 1 + len(columns)) * '|--:'}|"]
    decimals = decimals_for(means["measured_sem"])
    for method, rows in means.groupby("method", sort=False):
        cells = ["–", "–"]
        if method in agreement.index:
            own = agreement.loc[method]
            sign = "–" if np.isnan(own["right_sign"]) else f"{own['right_sign']:.0%}"
            cells = [sign, with_error(own["correlation_mean"], own["correlation_sem"])]
        for _, row in rows.set_index("share").reindex(sizes["share"]).iterrows():
            cells += [with_error(row["measured_mean"], row["measured_sem"], decimals)]
            cells += ["–" if np.isnan(row["predicted"]) else f"{row['predicted']:.{decimals}f}"]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    first, groups = verified.agreement.iloc[0], verified.agreement["groups"]
    over = "all" if groups.nunique() == 1 else "those that a method has scores for, of at most"
    if not groups.max():
        correlation = (
            "No rank correlation: a ranking has scores of the rows at its ends only, and no two groups are of these. "
        )
    elif first["tests"]:
        correlation = (
            f"Rank correlation: Spearman's, between predicted and measured over {over} {groups.max()} groups, also the "
            f"other methods' and random ones, mean ± standard error over {_examples(int(first['tests']))}. "
        )
    else:
        correlation = ""
    return [
        *lines,
        "",
        f"Right sign: of the groups that the method named itself. {correlation}Effects: mean ± standard error over "
        "test examples.",
    ]


def _examples(count: int) -> str:
    return "one test example" if count == 1 else f"{count} test examples"


def verdicts(verified: Verification, method: str | None, examples: Examples, what: str = "loss") -> dict[int, str]:
    """A sentence for each test example, about the largest share: what the rows do that a method names.

    Args:
        verified: the tables.
        method: its label; None for no sentence.
        examples: for what people call the test examples.
        what: is measured there.

    Returns:
        The sentences, by position in the test split.
    """
    share = verified.table["share"].max()
    table = verified.table[verified.table["share"] == share]
    own, random = table[table["method"] == method], table[table["method"] == RANDOM_ROWS].set_index("test")
    decimals = decimals_for([*own["measured_sem"], *random["measured_sem"]])
    is_small = own["measured_mean"].abs().max() < SMALL

    def measured(row: pd.Series, sign: int = 1) -> str:
        value, error = sign * row["measured_mean"], row["measured_sem"]
        return small_with_error(value, error) if is_small else with_error(value, error, decimals)

    sentences = {}
    for _, row in own[own["measured_mean"].notna()].iterrows():
        sign = 1 if row["measured_mean"] > 0 else -1
        predicted = f"{sign * row['predicted']:{'.3g' if is_small else f'.{decimals}f'}}"
        sentences[int(row["test"])] = (
            f"Removing the {_rows(row['rows'])} that {method} names {'raises' if sign > 0 else 'lowers'} the {what} at "
            f"test {examples.label('test', int(row['test']))} from {row['loss_full']:.3g} by {measured(row, sign)}, "
            f"predicted {predicted}; random rows: {measured(random.loc[row['test']])}."
        )
    return sentences


def _rows(count: int) -> str:
    return "row" if count == 1 else f"{count} rows"


def draw_removal(axes: Axes, verified: Verification) -> None:
    """Mean effect over the share removed, a line for each method, random rows dashed; bands are standard errors.

    Args:
        axes: to draw on.
        verified: the tables.
    """
    for method, rows in verified.shares().groupby("method", sort=False):
        if method == RANDOM_ROWS:
            draw_dashed(axes, RANDOM_ROWS, rows["share"], rows["measured_mean"])
            low, high = (rows["measured_mean"] + sign * rows["measured_sem"] for sign in (-1, 1))
            axes.fill_between(rows["share"], low, high, color="#555555", alpha=0.12, linewidth=0)
        else:
            draw_line(axes, str(method), rows["share"], rows["measured_mean"], rows["measured_sem"], 1)
    shares = sorted(verified.table["share"].unique())
    axes.set_xticks(shares, [f"{share:.3g}" for share in shares])


def removal_axes(end: str, what: str = "loss") -> tuple[str, str]:
    """What stands at the axes: which rows leave, and what is measured.

    Args:
        end: of the rankings whose rows leave, `helpful` or `harmful`.
        what: is measured at the test examples.
    """
    shares = f"share of the training rows that leave, most {end} first" if what == "loss" else SCORE_AXES[end]
    return shares, f"rise of the {what} at the test example"


@matplotlib.rc_context(STYLE)
def removal_figure(verified: Verification, title: str, what: str = "loss") -> Figure:
    """The effect over the share removed.

    Args:
        verified: the tables.
        title: over the figure, the run's name first; any length.
        what: is measured at the test examples.

    Returns:
        One panel with its legend below.
    """
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    set_title(figure, title)
    axes = figure.subplots()
    draw_removal(axes, verified)
    shares, rise = removal_axes(verified.end, what)
    axes.set_xlabel(shares)
    axes.set_ylabel(f"{rise}, mean")
    set_legend(figure, legend_entries(axes))
    return figure
