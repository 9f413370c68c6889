"""claims.md: what was claimed, with its numbers and verdicts."""

from __future__ import annotations

import pandas as pd

from fimo.comparison.claims import ADAM, FAMILIES, FIRST, INFLUENCE, STEPS
from fimo.comparison.own_claims import OWN_CLAIMS
from fimo.report.markdown import decimals_for, with_error

EXPLANATION = f"""A claim holds where its statistic is more than two standard errors above zero, does not hold where it
is as far below, and is not decided between. Standard errors come from resampling test examples and, where there are
several, seeds; from few seeds they are rough. Cosines are centred unless a line says otherwise; at most {STEPS} of the
evaluated steps are looked at, log-spaced. First-order methods are {", ".join(FAMILIES[FIRST])}, influence functions
{", ".join(FAMILIES[INFLUENCE])}; the mean is over those that were run."""
OWN_EXPLANATION = """Claims marked as ours are this project's, not the paper's. They are about every evaluated amount,
and their standard errors are over test examples alone, with seeds and ceiling as they are. Among many amounts and
several methods, falling short by little more than two errors somewhere may be chance."""


def claims_markdown(table: pd.DataFrame) -> str:
    """The rows of claims.csv for people; a column `data set`, where there is one, comes first."""
    counts = {"n_test": "test examples", "n_seeds": "seeds"}
    numbers = ("statistic ± error", *counts.values())
    names = [*table.columns.intersection(["data set"]), "claim", "statistic ± error", "verdict", *counts.values()]
    ours = table["claim"].isin(OWN_CLAIMS).any()
    lines = [
        f"# The paper's claims{', and ours' if ours else ''}",
        "",
        f"| {' | '.join(names)} |",
        "|" + "".join("--:|" if name in numbers else "---|" for name in names),
    ]
    decimals = decimals_for(table["standard_error"])
    for row in table.rename(columns=counts).to_dict("records"):
        number = with_error(row["estimate"], row["standard_error"], decimals)
        if number == "–" or row["claim"] in OWN_CLAIMS:
            row["verdict"] = f"{row['verdict']}: {row['note']}"
        row["statistic ± error"] = number
        lines.append(f"| {' | '.join(str(row[name]) for name in names)} |")
    words = [f"- {name}: {statistic}." for name, statistic in zip(table["claim"], table["statistic"], strict=True)]
    if ADAM.name not in set(table["claim"]):
        words.append(f"- {ADAM.name}: takes two runs, and is not measured in one.")
    explained = [EXPLANATION, *([OWN_EXPLANATION] if ours else [])]
    return "\n".join([*lines, "", "\n\n".join(explained), "", *dict.fromkeys(words)]) + "\n"
