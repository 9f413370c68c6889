"""results/benchmark.md: the lines of a benchmark as tables and one plot."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from benchmarks.timing import Line
from fimo.report.figures import STYLE

NOTES = """Medians of several rounds. In each, ours, the plain twin and the matrix products alone that ours consists of
(same shapes and strides) are measured in turn in one process. Ratio: the twin's seconds by ours (where it takes long it
is timed on a part and scaled; in bfloat16 and float32: float64's). Share: the products' seconds by ours. Peak memory is
the whole process's."""


def markdown(lines: Sequence[Line]) -> str:
    """Tables of measurements and of exponents."""
    text = ["# Benchmark", "", _machines(lines), "", *_table([line for line in lines if "points" not in line])]
    text += ["", NOTES.replace("\n", " ")]
    if grown := [line for line in lines if "points" in line]:
        text += ["", "| what | against | amounts and seconds | exponent |", "|---|---|---|--:|"]
        for line in grown:
            points = ", ".join(f"{amount}: {spent}" for amount, spent in line["points"].items())
            text.append(f"| {line['what']} | {line['of']} | {points} | {line['exponent']:.2f} |")
        text += ["", "One thread. ![seconds against work](benchmark.png)"]
    return "\n".join(text) + "\n"


def _machines(lines: Sequence[Line]) -> str:
    machines = dict.fromkeys(f"{line['device']}, {line['date']}" for line in lines)
    return f"Measured on: {'; '.join(machines)}."


def _table(lines: Sequence[Line]) -> list[str]:
    names = ("what", "size", "device", "threads", "seconds", "ratio", "share", "peak MiB")
    rows = [f"| {' | '.join(names)} |", "|---|---|---|--:|--:|--:|--:|--:|"]
    for line in lines:
        size = line["size"] + "".join(f"; {line[key]}" for key in ("rate", "cosines") if key in line)
        cells = [line["what"], size, line["device"], line["threads"], line["seconds"], line.get("ratio") or "–"]
        share = f"{line['share']:.0%}" if line.get("share") else "–"
        rows.append(f"| {' | '.join(map(str, cells))} | {share} | {line.get('peak_MiB', '–')} |")
    return rows


@matplotlib.rc_context({**STYLE, "font.size": 9})
def plot(lines: Sequence[Line]) -> Figure:
    """Seconds against work, each relative to its smallest amount, with the line of proportional cost."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    widest = 1.0
    for number, line in enumerate(lines):
        amounts, spent = np.array([[float(amount), took] for amount, took in line["points"].items()]).T
        label = f"{line['what']}: {line['of']} ({line['exponent']:.2f})"
        marker = "os^"[number // 10]  # as often as the ten colours are through
        axes.loglog(amounts / amounts[0], spent / spent[0], marker=marker, markersize=4, label=label)
        widest = max(widest, amounts[-1] / amounts[0])
    axes.plot([1, widest], [1, widest], "--", color="#555555", label="proportional (1)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
    axes.set_xlabel("work, in multiples of the smallest")
    axes.set_ylabel("time, likewise")
    figure.legend(loc="outside right center", fontsize=8, title="exponents in brackets", title_fontsize=8)
    return figure
