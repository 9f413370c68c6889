"""Tables as Markdown, CSV and LaTeX files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from fimo.report.markdown import decimals_for, with_error

# LaTeX of what its escaping leaves alone.
LATEX = {"±": r"$\\pm$", "–": "--", "λ0": r"$\\lambda_0$", "λ": r"$\\lambda$", r"−|(?<!\S)-(?=\d)": "$-$"}
BAR = r"\|"  # of a cell, not between cells
SENTENCE = 40  # characters: a longer cell is broken into lines


def table_files(table: pd.DataFrame, readable: pd.DataFrame, notes: Sequence[str]) -> dict[str, bytes]:
    """The table as files, by their ending.

    Args:
        table: all numbers, for `csv`.
        readable: what people read, for `md` and `tex`; columns `x_mean` and `x_sem` become `x`.
        notes: sentences under the Markdown table, and comments in the LaTeX one.

    Returns:
        The content of `csv`, `md` and `tex`.
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
    """Numbers as text, in one way of writing for each column, with standard errors; – for NaN."""
    cells = {}
    for name in table:
        if name.endswith("_sem"):
            continue
        base = name.removesuffix("_mean")
        if base != name:
            errors = table[f"{base}_sem"]
            decimals = decimals_for(errors)
            cells[base] = [with_error(*pair, decimals) for pair in zip(table[name], errors, strict=True)]
        elif pd.api.types.is_float_dtype(table[name]):
            style = _style(table[name].dropna().abs())
            cells[base] = ["–" if np.isnan(value) else f"{value:{style}}" for value in table[name]]
        else:
            cells[base] = ["–" if pd.isna(value) else str(value) for value in table[name]]
    return pd.DataFrame(cells, columns=list(cells))


def _style(sizes: pd.Series) -> str:
    """Format of a column: integers, three decimals, or powers of ten where three decimals show little."""
    if (sizes >= 1e6).any() or sizes.between(0, 1e-3, "neither").any():
        return ".2e"
    return ".0f" if (sizes == sizes.round()).all() else ".3f"
