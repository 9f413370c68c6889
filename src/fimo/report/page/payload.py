"""The data of a page: tables and arrays as its scripts read them."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from fimo.comparison.amounts import log_spaced
from fimo.comparison.removal import RANDOM_ROWS
from fimo.comparison.tables import MEASURES
from fimo.effect import ADJUSTMENTS
from fimo.report.figures import COLOURS, look
from fimo.report.page.examples import PageExamples
from fimo.report.page.page import Page
from fimo.report.page.rankings import ranking_payload, self_influence_payload
from fimo.report.page.wrong_labels import wrong_labels_payload

# Markers of the figures as Plotly calls them.
SYMBOLS = {
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "<": "triangle-left",
    ">": "triangle-right", "P": "cross", "h": "hexagon", "*": "star", "X": "x", "8": "octagon", "p": "pentagon",
    "d": "diamond-tall",
}  # fmt: skip
# Of the rows that nobody named, as in removal.png.
RANDOM_LOOK = {"colour": "#555555", "symbol": "circle-open", "dash": "dash"}
# Amounts of further training that can be looked at test example by test example: at most so many, and at most so many
# bytes of arrays.
MOST_AMOUNTS, ARRAY_BYTES = 12, 1_500_000


def choose_steps(epochs: np.ndarray, scores: Mapping[str, xr.DataArray]) -> np.ndarray:
    """Places of the amounts that a page shows example by example: the first, the last, and log-spaced between.

    Args:
        epochs: of each evaluated step, `[step]`, ascending.
        scores: by label, `[test, left_out]` or `[step, test, left_out]`.

    Returns:
        Places in `epochs`, ascending; as many as fit into the page.
    """
    stepped = 1 + sum("step" in score.dims for score in scores.values())
    one = next(iter(scores.values()))
    cells = one.sizes["test"] * one.sizes["left_out"]
    count = int(np.clip(ARRAY_BYTES // (4 * cells * stepped), 2, MOST_AMOUNTS))
    return log_spaced(epochs, count)


def payload(page: Page, end: int = 10) -> dict[str, Any]:
    """All that the page's scripts read, as plain values for JSON.

    Args:
        page: what is shown.
        end: rows at each end of a ranking.
    """
    methods = _methods(page)
    examples = PageExamples(page)
    data = {
        "kind": page.kind,
        "title": page.title,
        "subtitle": page.subtitle,
        "watched": page.watched,
        "amount": page.amount,
        "several": page.several,
        "methods": _looks(methods),
        "notes": list(page.notes),
        "record": plain(page.record),
        "claims": None if page.claims is None else records(page.claims),
        "curves": None if page.curves is None else _curves(page, methods),
        "effects": None if page.effects is None else _effects(page, methods, examples),
        "ranking": None if page.ranking is None else ranking_payload(page, methods, examples, end),
        "wrongLabels": None if page.detection is None else wrong_labels_payload(page.detection, methods, examples, end),
        "selfInfluence": None if page.self_influence is None else self_influence_payload(page, methods, examples),
        "removal": None if page.removal is None else _removal(page, methods, examples),
    }
    return data | examples.payload()


def _methods(page: Page) -> list[str]:
    """Labels of all methods that the page has something of, in their order."""
    tables = (page.curves, page.ranking, page.self_influence, page.removal)
    labels = [label for table in tables if table is not None for label in table["method"].unique()]
    return [str(label) for label in dict.fromkeys([*page.scores, *labels])]


def _looks(methods: Sequence[str]) -> list[dict[str, str]]:
    """Label, colour and marker of each method as in the figures."""
    looks, others = [], 0
    for label in methods:
        if label == RANDOM_ROWS:
            looks.append({"label": label, **RANDOM_LOOK})
            continue
        colour, marker = look(label, others)
        others += label not in COLOURS
        looks.append({"label": label, "colour": colour, "symbol": SYMBOLS[marker], "dash": "solid"})
    return looks


def _curves(page: Page, methods: Sequence[str]) -> dict[str, Any]:
    """Curves as arrays `[method, adjustment, step]`, and the ceiling `[adjustment, step]`."""
    curves = page.curves
    assert curves is not None
    steps = np.sort(curves["step"].unique())
    epochs = curves.drop_duplicates("step").set_index("step")["epoch"].loc[steps]
    index = pd.MultiIndex.from_product([methods, ADJUSTMENTS, steps])
    cells = curves.set_index(["method", "adjustment", "step"]).reindex(index)
    shape = len(methods), len(ADJUSTMENTS), len(steps)
    columns = [f"{measure}_{part}" for measure in MEASURES for part in ("mean", "sem")]
    arrays = {name: array(cells[name].to_numpy("float64").reshape(shape)) for name in (*columns, "n_test")}
    ceiling = None
    if page.ceiling is not None:
        wanted = pd.MultiIndex.from_product([ADJUSTMENTS, steps])
        ceiling = page.ceiling.set_index(["adjustment", "step"])["ceiling"].reindex(wanted)
        ceiling = array(ceiling.to_numpy("float64").reshape(shape[1:]))
    seeds = int(curves["n_seeds"].iloc[0])
    return {"steps": steps.tolist(), "epochs": [float(epoch) for epoch in epochs], "seeds": seeds,
            "adjustments": ADJUSTMENTS, "ceiling": ceiling, **arrays}  # fmt: skip


def _effects(page: Page, methods: Sequence[str], examples: PageExamples) -> dict[str, Any]:
    """Effects `[step, test, left_out]` and each method's scores of the same examples."""
    effects = page.effects
    assert effects is not None
    first = next(iter(page.scores.values()), effects)
    tests, left_out = first["test"].values, first["left_out"].values
    # Runs that diverged are missing among the effects: NaN is what they measured.
    effects = effects.reindex(test=tests, left_out=left_out).transpose("step", "test", "left_out")
    scores = [_aligned(page.scores[label], effects) if label in page.scores else None for label in methods]
    losses = None if page.losses is None else array(page.losses.reindex(test=tests).values)
    return {
        "steps": effects["step"].values.tolist(),
        "epochs": effects["epoch"].values.astype(float).tolist(),
        "tests": examples.add("test", tests),
        "trains": examples.add("train", left_out),
        "values": array(effects.values),
        "scores": scores,
        "losses": losses,
    }


def _aligned(score: xr.DataArray, effects: xr.DataArray) -> dict[str, Any]:
    """One method's scores of the same examples, and at the same steps where it has steps."""
    score = score.reindex(test=effects["test"], left_out=effects["left_out"])
    if "step" in score.dims:
        score = score.reindex(step=effects["step"].values).transpose("step", "test", "left_out")
    return array(score.values)


def _removal(page: Page, methods: Sequence[str], examples: PageExamples) -> dict[str, Any]:
    """The rows of removal.csv in columns; methods and test examples by their places on the page."""
    removal = page.removal
    assert removal is not None
    columns = {name: plain(removal[name].tolist()) for name in ("share", "rows", "predicted", "measured_mean")}
    places = {label: place for place, label in enumerate(methods)}
    return {
        **columns,
        "measured_sem": plain(removal["measured_sem"].tolist()),
        "method": [places[str(label)] for label in removal["method"]],
        "test": examples.add("test", removal["test"].to_numpy()),
        "agreement": {} if page.agreement is None else {row["method"]: row for row in records(page.agreement)},
        "verdicts": list(zip(examples.add("test", page.verdicts), page.verdicts.values(), strict=True)),
    }


def array(values: np.ndarray) -> dict[str, Any]:
    """An array of numbers in single precision as letters, with its shape."""
    content = np.ascontiguousarray(values, "<f4")
    return {"shape": list(content.shape), "float32": base64.b64encode(content.tobytes()).decode()}


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain values."""
    return plain(table.to_dict("records"))


def plain(value: Any) -> Any:
    """The same as values that JSON has: None for numbers that are not finite, text for what is unknown to it."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, range)):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
