"""results/benchmark.md: the lines of a benchmark as tables."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.timing import Line

NOTES = """Medians of several rounds. In each, ours, the plain twin and the matrix products alone that ours consists of
(same shapes and strides) are measured in turn in one process. Ratio: the twin's seconds by ours (where it takes long it
is timed on a part and scaled; in bfloat16 and float32: float64's). Share: the products' seconds by ours. Peak memory is
the whole process's."""
GROWTH = """Exponents of power laws through four amounts, each twice the one before, with one thread. An exponent below
1 means that a fixed part remains. Memory is what the work takes beyond the network and the rows, in a process of its
own; flat: below 64 MiB throughout."""
FEW_MIB = 64


def markdown(lines: Sequence[Line]) -> str:
    """Tables of measurements and of exponents."""
    text = ["# Benchmark", "", measured_on(lines), "", *_table([line for line in lines if "points" not in line])]
    text += ["", NOTES.replace("\n", " ")]
    if grown := [line for line in lines if "points" in line]:
        text += ["", *_growth(grown), "", GROWTH.replace("\n", " ")]
        text += ["", "| what | against | amounts and seconds | memory in MiB |", "|---|---|---|---|"]
        for line in grown:
            cells = (", ".join(f"{amount}: {taken}" for amount, taken in line[of].items()) for of in ("points", "MiB"))
            text.append(f"| {line['what']} | {line['of']} | {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


def _growth(lines: Sequence[Line]) -> list[str]:
    """Exponents of time, those of memory behind them: a row for what is done, a column for what the amounts count."""
    kinds, whats = (list(dict.fromkeys(line[of] for line in lines)) for of in ("of", "what"))
    cells = {(line["what"], line["of"]): _exponents(line) for line in lines}
    rows = [f"| exponent of time, and of memory | {' | '.join(kinds)} |", "|---|" + "--:|" * len(kinds)]
    return rows + [f"| {what} | {' | '.join(cells.get((what, kind), '') for kind in kinds)} |" for what in whats]


def _exponents(line: Line) -> str:
    memory = "flat" if max(line["MiB"].values()) < FEW_MIB else f"{line['memory_exponent']:.2f}"
    return f"{line['exponent']:.2f}, {memory}"


def measured_on(lines: Sequence[Line]) -> str:
    """On which machines, and when."""
    machines = dict.fromkeys(f"{line['device']}, {line['date']}" for line in lines if "device" in line)
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
