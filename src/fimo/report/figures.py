"""Figures of the comparison."""

from __future__ import annotations

import io
from itertools import cycle

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fimo.comparison.tables import Comparison
from fimo.labels import Label
from fimo.report.layout import draw_dashed, legend_entries, set_legend, set_title

# A method keeps its colour in every figure: hues of Okabe and Ito and of Tol, told apart without full colour vision.
COLOURS = {
    "Grad-Dot": "#0072B2",
    "Grad-Cos": "#E69F00",
    "DataInf": "#56B4E9",
    "CG": "#D55E00",
    "LiSSA": "#CC79A7",
    "LiSSA-H": "#882255",
    "EK-FAC": "#009E73",
    "TRAK": "#999933",
    "Exact-GN": "#000000",
    "Unrolled-GN": "#332288",
    "Matched-GN": "#AA4499",
    "Unrolled-GN (moved)": "#CC3311",
    "Random": "#999999",
    "Embedding": "#7A5C00",
    "BM25": "#44AA99",
    "Unrolled-GN (path)": "#EE7733",
    "further training, 1 seed": "#444444",
    "tangents, 1 seed": "#88CCEE",
}
MARKERS = dict(zip(COLOURS, cycle("os^Dv<>Ph*X8"), strict=False))
# Of methods of one's own, by their place among them.
OWN_COLOURS, OWN_MARKERS = ("#8B4513", "#117733", "#FF69B4", "#6699CC"), "spDv"
CEILING = "reliability ceiling"
# From one marker of a line to its next, in diagonals of the axes.
MARKED = 0.15
STYLE: dict = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "font.size": 10,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "figure.dpi": 100,
}


@matplotlib.rc_context(STYLE)
def curves_figure(
    comparison: Comparison,
    title: str,
    amount: str = "amount of further training (epochs)",
    watched: str | None = None,
) -> Figure:
    """Cosine similarity against the amount of further training, as in the paper's Figure 2.

    Args:
        comparison: the run's tables.
        title: over the figure, the run's name first; any length.
        amount: label of the horizontal axis.
        watched: what is measured at the test examples; None for their loss.

    Returns:
        One panel with its legend below.
    """
    figure, axes = _figure(title)
    draw_curves(axes, comparison)
    axes.set_xlabel(amount)
    axes.set_ylabel(f"cosine similarity ({_of(watched)}centred)")
    return _finished(figure, axes)


@matplotlib.rc_context(STYLE)
def seeds_figure(comparison: Comparison, title: str, watched: str | None = None) -> Figure:
    """Cosine similarity at the best step against the number of seeds averaged, as in the paper's Figure 3.

    Args:
        comparison: the run's tables.
        title: over the figure, the run's name first; any length.
        watched: what is measured at the test examples; None for their loss.

    Returns:
        One panel with its legend below.
    """
    figure, axes = _figure(title)
    draw_seeds(axes, comparison)
    axes.set_xlabel("seeds averaged")
    axes.set_ylabel(f"cosine, best step ({_of(watched)}centred)")
    return _finished(figure, axes)


def _of(watched: str | None) -> str:
    return "" if watched is None else f"effects on the {watched}, "


def draw_curves(axes: Axes, comparison: Comparison, adjustment: str = "centred", measure: str = "cosine") -> None:
    """A line for each method against the amount of further training, with a band of one standard error over tests.

    Args:
        axes: to draw on.
        comparison: what was measured.
        adjustment: one of `fimo.effect.ADJUSTMENTS`.
        measure: `cosine`, with the reliability ceiling dashed; or `spearman`, for whose ranks there is no such ceiling.
    """
    curves = comparison.curves.query("adjustment == @adjustment")
    lines = list(curves.groupby("method", sort=False))
    for number, (label, curve) in enumerate(lines):
        # Where there are many points, a marker here and there, elsewhere on each line: some lines coincide.
        every = 1 if len(curve) <= 12 else (0.02 + MARKED * number / len(lines), MARKED)
        mean, sem = curve[f"{measure}_mean"], curve[f"{measure}_sem"]
        draw_line(axes, str(label), curve["epoch"], mean, sem, every)
    ceiling = comparison.reliability.query("adjustment == @adjustment")
    if measure == "cosine" and ceiling["ceiling"].notna().any():
        epochs = curves.drop_duplicates("step").set_index("step")["epoch"].loc[ceiling["step"]]
        draw_dashed(axes, CEILING, epochs, ceiling["ceiling"])
    set_scale(axes, curves["epoch"])
    set_limits(axes)


def draw_seeds(axes: Axes, comparison: Comparison, adjustment: str = "centred") -> None:
    """A line for each method: cosine similarity at the best step against the number of seeds averaged.

    Args:
        axes: to draw on.
        comparison: the run's tables.
        adjustment: one of `fimo.effect.ADJUSTMENTS`.
    """
    for label, rows in comparison.seeds.query("adjustment == @adjustment").groupby("method", sort=False):
        draw_line(axes, str(label), rows["n_seeds"], rows["cosine_mean"], rows["cosine_sem"], 1)
    sizes = sorted(comparison.seeds["n_seeds"].unique())
    if sizes[-1] >= 20:
        axes.set_xscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    set_limits(axes)


def set_scale(axes: Axes, x: pd.Series) -> None:
    """A logarithmic horizontal axis where the largest value is 20 times the smallest or more; no parts of integers.

    Args:
        axes: whose axis it is.
        x: the values along it.
    """
    if x.nunique() == 1:
        axes.set_xticks([x.iloc[0]], [f"{x.iloc[0]:g}"])
    elif 0 < 20 * x.min() <= x.max():
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
    elif (x == x.round()).all():
        axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))


def set_limits(*panels: Axes) -> None:
    """From 0, or from below the lowest line of all panels, to 1."""
    lowest = min((np.nanmin(line.get_ydata(), initial=0.0) for axes in panels for line in axes.lines), default=0.0)
    for axes in panels:
        axes.set_ylim(lowest - 0.05 if lowest < 0 else 0.0, 1.02)


def to_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as a file; the same figure gives the same bytes.

    Args:
        figure: the figure.
        kind: `png` or `pdf`.

    Returns:
        The file's content.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=200, metadata={"CreationDate": None} if kind == "pdf" else None)
    return buffer.getvalue()


def figure_files(figure: Figure) -> dict[str, bytes]:
    """The figure as files, by their ending."""
    return {kind: to_bytes(figure, kind) for kind in ("png", "pdf")}


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    set_title(figure, title)
    return figure, figure.subplots()


def look(label: str, others: int) -> tuple[str, str]:
    """Colour and marker of a method in every figure.

    Args:
        label: of the method; a variant has its method's.
        others: how many methods without a colour of their own come before it.

    Returns:
        Both, as matplotlib writes them.
    """
    base = label if label in COLOURS else Label.parse(label).base
    own = others % len(OWN_COLOURS)
    return COLOURS.get(base, OWN_COLOURS[own]), MARKERS.get(base, OWN_MARKERS[own])


def draw_line(
    axes: Axes,
    label: str,
    x: pd.Series,
    mean: pd.Series,
    sem: pd.Series,
    every: int | tuple[float, float],
    size: float = 5,
    style: str = "-",
) -> None:
    """A method's line in its colour with a band of one standard error.

    Args:
        axes: to draw on.
        label: of the method; a variant has its method's colour.
        x: the horizontal axis.
        mean: the line.
        sem: half the height of the band, at each point.
        every: which points have a marker, as matplotlib's `markevery`.
        size: of the markers, in points.
        style: of the line.
    """
    colour, marker = look(label, len({line.get_label() for line in axes.lines} - set(COLOURS)))
    axes.plot(x, mean, style, color=colour, marker=marker, markevery=every, markersize=size, label=label)
    if len(x) == 1:
        axes.errorbar(x, mean, sem, fmt="none", ecolor=colour)
    axes.fill_between(x, mean - sem, mean + sem, color=colour, alpha=0.12, linewidth=0)


def _finished(figure: Figure, axes: Axes) -> Figure:
    set_legend(figure, legend_entries(axes))
    return figure
