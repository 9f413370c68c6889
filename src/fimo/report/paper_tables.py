"""Tables over several data sets, as Markdown, CSV and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fimo.comparison.influential import Shown, extremes
from fimo.comparison.tables import Comparison, at_moments
from fimo.effect import gold_standard, without_diverged
from fimo.report.markdown import with_error

# LaTeX of what its escaping leaves alone.
LATEX = {"±": r"$\\pm$", "–": "--", "λ0": r"$\\lambda_0$", "λ": r"$\\lambda$", r"−|(?<!\S)-(?=\d)": "$-$"}
MEASURES = ("cosine", "spearman")
BAR = r"\|"  # of a cell, not between cells
SENTENCE = 40  # characters: a longer cell is broken into lines


def methods_table(runs: Mapping[str, Comparison]) -> pd.DataFrame:
    """Cosine (centred) of every method on every data set at the first, the best and the last evaluated step.

    Args:
        runs: by data set.
    """
    rows = []
    for data, comparison in runs.items():
        centred = comparison.curves.query("adjustment == 'centred'")
        ceiling = comparison.reliability.query("adjustment == 'centred'")["ceiling"].iloc[-1]
        for label, curve in centred.groupby("method", sort=False):
            row = {"data set": data, "method": label, **at_moments(curve)}
            rows.append(row | {"ceiling": ceiling, "seeds": int(curve["n_seeds"].iloc[0])})
    return pd.DataFrame(rows)


def cost_table(runs: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> pd.DataFrame:
    """Seconds and peak memory of the scores of every method on every data set.

    Args:
        runs: by data set and label, what is known of the scores: `seconds`, and the whole process's
            `start_bytes` and `peak_bytes`.
    """
    return pd.DataFrame(
        {
            "data set": data,
            "method": label,
            "seconds": facts.get("seconds", np.nan),
            "memory at its start [GiB]": facts.get("start_bytes", np.nan) / 2**30,
            "peak memory [GiB]": facts.get("peak_bytes", np.nan) / 2**30,
        }
        for data, methods in runs.items()
        for label, facts in methods.items()
    )


def published_table(published: Mapping[str, Any], comparison: Comparison) -> pd.DataFrame:
    """The paper's printed numbers beside ours, wherever both were measured: method, measure and amount.

    Args:
        published: their `unit` (`epoch` or `step`), the `amounts`, for each measure and method a number for each, and
            `seeds`: the `counts` of seeds averaged and, by method, the `cosine` at the best step with each.
        comparison: ours.
    """
    unit = published["unit"]
    curves = comparison.curves.query("adjustment == 'centred'").set_index(["method", unit])
    rows = []
    for measure in MEASURES:
        for method, values in published[measure].items():
            for amount, paper in zip(published["amounts"], values, strict=True):
                if (method, amount) in curves.index:
                    ours = curves.loc[(method, amount)]
                    row = {"method": method, "measure": measure, "amount": amount, "paper": paper}
                    row |= {"ours_mean": ours[f"{measure}_mean"], "ours_sem": ours[f"{measure}_sem"]}
                    rows.append(row | {"difference": ours[f"{measure}_mean"] - paper})
    averaged = comparison.seeds.query("adjustment == 'centred'").set_index(["method", "n_seeds"])
    for method, values in published["seeds"]["cosine"].items():
        for count, paper in zip(published["seeds"]["counts"], values, strict=True):
            if (method, count) in averaged.index:
                ours = averaged.loc[(method, count)]
                row = {"method": method, "measure": "best cosine, by seeds", "amount": count, "paper": paper}
                row |= {"ours_mean": ours["cosine_mean"], "ours_sem": ours["cosine_sem"]}
                rows.append(row | {"difference": ours["cosine_mean"] - paper})
    return pd.DataFrame(rows, columns=["method", "measure", "amount", "paper", "ours_mean", "ours_sem", "difference"])


def at_few_amounts(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a published table at each measure's first amount, its last, and their geometric mean, for reading."""
    kept = []
    for _, rows in table.groupby("measure", sort=False):
        amounts = np.sort(rows["amount"].unique())
        middle = amounts[np.abs(np.log(amounts / np.sqrt(amounts[0] * amounts[-1]))).argmin()]
        kept.append(rows[rows["amount"].isin([amounts[0], middle, amounts[-1]])])
    return pd.concat([table[:0], *kept])


def influential_table(seeds: Sequence[xr.Dataset], shown: Shown, tests: int = 3) -> pd.DataFrame:
    """The most helpful and most harmful training example of the first test examples, at the first evaluated step.

    Args:
        seeds: the losses of each seed (see `fimo.effect`).
        shown: examples as people read them.
        tests: how many test examples.
    """
    gold = gold_standard(without_diverged(seeds), 0)
    rows: list[dict[str, Any]] = []
    for test in gold["test"].values[:tests]:
        ends = extremes(gold.sel(test=test), 1)
        for role, pairs in (("most helpful", ends.helpful), ("most harmful", ends.harmful)):
            for row, score in pairs:
                cells = {"test row": int(test), "test example": _told(shown, "test", test), "training example is": role}
                example = _told(shown, "train", row)
                rows.append({**cells, "training row": row, "effect": score, "training example": example})
    return pd.DataFrame(rows)


def _told(shown: Shown, split: str, row: int) -> str:
    example = shown(split, int(row))
    return example if isinstance(example, str) else f"image {row}"


def table_files(table: pd.DataFrame, readable: pd.DataFrame, notes: Sequence[str]) -> dict[str, bytes]:
    """The table as files, by their ending.

    Args:
        table: all numbers, for `csv`.
        readable: what people read, for `md` and `tex`; columns `x_mean` and `x_sem` become `x`.
        notes: sentences under the Markdown table, and comments in the LaTeX one.
    """
    if table.empty:  # no rows, no table
        parts = table.to_csv(index=False), "\n\n".join(notes) + "\n", "".join(f"% {note}\n" for note in notes)
        return dict(zip(("csv", "md", "tex"), (part.encode() for part in parts), strict=True))
    text = readable_cells(readable)
    words = {name for name in text if name in readable and pd.api.types.is_string_dtype(readable[name])}
    rows = [f"| {' | '.join(cell.replace('|', BAR) for cell in row)} |" for row in (text.columns, *text.values)]
    rows.insert(1, f"|{'|'.join('---' if name in words else '--:' for name in text)}|")
    markdown = "\n".join([*rows, *(f"\n{note}" for note in notes)]) + "\n"
    latex = text.to_latex(index=False, escape=True, column_format="".join(_latex_columns(text, words)))
    for sign, command in LATEX.items():
        latex = re.sub(sign, command, latex)
    comments = "".join(f"% {note}\n" for note in notes)
    return {"csv": table.to_csv(index=False).encode(), "md": markdown.encode(), "tex": (comments + latex).encode()}


def _latex_columns(text: pd.DataFrame, words: set[str]) -> Iterator[str]:
    """Numbers to the right, words to the left, and where those are sentences, broken into lines within the page."""
    sentences = [name for name in text if name in words and text[name].str.len().max() > SENTENCE]
    for name in text:
        if name in sentences:
            yield rf"p{{{0.5 / len(sentences):.2f}\linewidth}}"
        else:
            yield "l" if name in words else "r"


def readable_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as text: three decimals, three digits where a column has small ones; standard errors; – for NaN."""
    cells = {}
    for name in table:
        if name.endswith("_sem"):
            continue
        base = name.removesuffix("_mean")
        small = pd.api.types.is_float_dtype(table[name]) and table[name].abs().between(0, 1e-3, "neither").any()
        values = [_cell(value, bool(small)) for value in table[name]]
        if base != name:
            pairs = zip(table[name], table[f"{base}_sem"], values, strict=True)
            values = [with_error(value, error) if pd.notna(error) else text for value, error, text in pairs]
        cells[base] = values
    return pd.DataFrame(cells, columns=list(cells))


def _cell(value: object, small: bool) -> str:
    if not isinstance(value, float):
        return str(value)
    if np.isnan(value):
        return "–"
    if abs(value) < 1e6 and value == int(value):
        return str(int(value))
    return f"{value:.3f}" if 1e-3 <= abs(value) < 1e3 and not small else f"{value:.3g}"
