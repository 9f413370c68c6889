"""results/index.md on made-up runs."""

import numpy as np
import pandas as pd

from fimo.report.index import RunEntry, index_markdown


def curves(**cosines):
    rows = [
        {"method": method, "adjustment": adjustment, "epoch": epoch, "cosine_mean": value * (adjustment == "centred")}
        for method, values in cosines.items()
        for adjustment in ("none", "centred")
        for epoch, value in zip((0.5, 1.0), values, strict=True)
    ]
    return pd.DataFrame(rows)


def rows_of(runs):
    table = [line for line in index_markdown(runs).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]


def test_a_row_for_each_run_the_latest_first():
    old = {"overrides": ["optimizer=adam", "size=smoke"], "finished": "2026-01-02T03:04:05+00:00", "diverged": []}
    new = {"overrides": [], "finished": "2026-02-03T10:00:00+00:00", "diverged": ["left-out 3", "left-out 9"]}
    runs = [
        RunEntry("energy", old, curves(CG=[0.1, 0.4], TRAK=[0.3, 0.2])),
        RunEntry("mine", new, curves(CG=[-0.5, -0.6])),
    ]
    assert rows_of(runs) == [
        ["[mine](mine/)", "run", "–", "2026-02-03 10:00", "CG", "-0.500", "0.5", "2 runs"],
        ["[energy](energy/)", "run", "`optimizer=adam`, `size=smoke`", "2026-01-02 03:04", "CG", "0.400", "1", "no"],
    ]


def test_what_is_not_known_is_a_dash():
    runs = [RunEntry("lost", {}, curves(CG=[np.nan, np.nan])), RunEntry("a|b", {"overrides": ["x=a|b"]})]
    text = index_markdown(runs)
    assert "| [lost](lost/) | run | – | – | – | – | – | no |" in text
    assert "`x=a\\|b`" in text and index_markdown([]).endswith("|---|\n")


def test_a_row_says_what_it_is_of():
    """A ranking has trained nothing on that could have diverged."""
    ranking = RunEntry("ranks", {"inputs": {"final": "a", "rankings": {"CG": "b"}}})
    removal = RunEntry("proof", {"inputs": {"removal": {"CG": "b"}}, "diverged": []})
    assert [(row[1], row[-1]) for row in rows_of([ranking, removal])] == [("ranking", "–"), ("verification", "no")]
