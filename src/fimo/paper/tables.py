"""The numbers of the paper's tables over several data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fimo.comparison.influential import extremes
from fimo.comparison.tables import Comparison, at_moments
from fimo.effect import gold_standard, without_diverged
from fimo.report.influential import Examples

MEASURES = ("cosine", "spearman")


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

    Returns:
        `method`, `measure`, `amount`, `paper`, `ours_mean`, `ours_sem`, `difference`.
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


def influential_table(seeds: Sequence[xr.Dataset], examples: Examples, tests: int = 3) -> pd.DataFrame:
    """The most helpful and most harmful training example of the first test examples, at the first evaluated step.

    Args:
        seeds: the losses of each seed (see `fimo.effect`).
        examples: of the run.
        tests: how many test examples.

    Returns:
        Two rows for each test example, the most helpful and the most harmful.
    """
    gold = gold_standard(without_diverged(seeds), 0)
    rows: list[dict[str, Any]] = []
    for test in gold["test"].values[:tests]:
        ends = extremes(gold.sel(test=test), 1)
        for role, pairs in (("most helpful", ends.helpful), ("most harmful", ends.harmful)):
            for row, score in pairs:
                cells = {
                    "test row": examples.label("test", int(test)),
                    "test example": _readable(examples, "test", test),
                    "training example is": role,
                }
                example = _readable(examples, "train", row)
                named = {"training row": examples.label("train", row), "effect": score, "training example": example}
                rows.append({**cells, **named})
    return pd.DataFrame(rows)


def _readable(examples: Examples, split: str, row: int) -> str:
    example = examples.describe(split, int(row))
    return example if isinstance(example, str) else f"image {row}"
