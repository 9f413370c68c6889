"""What a page shows, and the page itself: one HTML file with its data, its drawing library and its pictures in it."""

from __future__ import annotations

import base64
import gzip
import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from string import Template
from typing import Any

import pandas as pd
import xarray as xr

from fimo.comparison.detection import Detection
from fimo.descriptions import Description
from fimo.errors import UserError

RUN, RANK, VERIFY = KINDS = "run", "rank", "verify"
# What a browser opens within a second; gigabytes of a paper's run are for the files beside the page.
MOST_BYTES = 6_000_000
# Rows at each end of a ranking that can be looked at: fewer where the page would be too large.
ENDS = (10, 5, 3)
# What makes a page of each kind smaller.
TO_LOWER = {
    RUN: "data.test_count, data.left_out (further.evaluate_every where the curves have thousands of points)",
    RANK: "data.test_count, rank.top",
    VERIFY: "verify.tests, verify.shares",
}
SCRIPTS = (
    "core", "theme", "rows", "chart", "controls", "state", "dialog", "curves", "scatter", "example", "removal",
    "self_influence", "wrong_labels", "about", "main",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page shows; a view without data is absent.

    Attributes:
        kind: `run`, `rank` or `verify`.
        title: over the page, the run's name first.
        describe: an example from its split (`train` or `test`) and its number there; of groups that were left out the
            split `train` has the groups' numbers.
        label: what people call it, from the same: `17 (line 812)`.
        record: what `run.json` says.
        subtitle: what was run, in a line.
        curves: the columns of curves.csv.
        ceiling: the columns of reliability.csv.
        scores: by label, `[test, left_out]`, or `[step, test, left_out]`.
        effects: the gold standard with its sign, not centred, `[step, test, left_out]` with `epoch`, mean over seeds,
            in units of what is measured, after the amounts that can be looked at (see `choose_steps`).
        losses: of the final model at the test examples, `[test]`, in the same unit.
        claims: the columns of claims.csv; `claim` and `verdict` are enough.
        ranking: the columns of ranking.csv.
        self_influence: the columns of self_influence.csv.
        removal: the columns of removal.csv.
        agreement: of a removal, the columns of agreement.csv.
        verdicts: of a removal, a sentence by the test example's number.
        notes: sentences on what to be aware of.
        watched: what is measured at the test examples; None for their loss, which an example helps to lower.
        amount: what the amounts are.
        epochs: the amount of each step, for rankings and removals; None where steps say it themselves.
        predicted: what the final model says of an example, a sentence by its split and number.
        flipped: of training rows whose label was made wrong the right one, by their number.
        detection: what finds them.
        several: what one unit of `left_out` is called: rows or groups.
    """

    kind: str
    title: str
    describe: Callable[[str, int], Description]
    label: Callable[[str, int], str]
    record: Mapping[str, Any]
    subtitle: str = ""
    curves: pd.DataFrame | None = None
    ceiling: pd.DataFrame | None = None
    scores: Mapping[str, xr.DataArray] = field(default_factory=dict)
    effects: xr.DataArray | None = None
    losses: xr.DataArray | None = None
    claims: pd.DataFrame | None = None
    ranking: pd.DataFrame | None = None
    self_influence: pd.DataFrame | None = None
    removal: pd.DataFrame | None = None
    agreement: pd.DataFrame | None = None
    verdicts: Mapping[int, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    watched: str | None = None
    amount: str = "amount of further training (epochs)"
    epochs: Mapping[int, float] | None = None
    several: str = "rows"
    predicted: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    flipped: Mapping[int, str] = field(default_factory=dict)
    detection: Detection | None = None

    def __post_init__(self) -> None:
        assert self.kind in KINDS

    def html(self) -> bytes:
        """The page as a file.

        Raises:
            UserError: where it would be too large to open at once.
        """
        for end in ENDS if self.ranking is not None else ENDS[:1]:
            content = self._html(end)
            if len(content) <= MOST_BYTES:
                return content
        raise UserError(
            f"report.html must have less than {MOST_BYTES / 1e6:g} MB to open at once, found "
            f"{len(content) / 1e6:.1f} MB: lower {TO_LOWER[self.kind]}."
        )

    def _html(self, end: int) -> bytes:
        """The page with so many rows at each end of a ranking."""
        from fimo.report.page.payload import payload

        text = Template(_asset("page.html")).substitute(
            title=html.escape(self.title),
            style=_asset("style.css"),
            data=as_json(payload(self, end)),
            plotly=_plotly(),
            script="\n".join(_asset(f"{name}.js") for name in SCRIPTS),
        )
        return text.encode("utf-8", "replace")


def as_json(value: object) -> str:
    """A value as JSON that can stand inside a script element: nothing in it ends the element or begins another."""
    import json

    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    # A lone surrogate, as a file with a broken encoding may have it, is no UTF-8.
    return text.encode("utf-8", "backslashreplace").decode()


def _asset(name: str) -> str:
    return (resources.files("fimo.report.page") / name).read_text("utf-8")


@cache
def _plotly() -> str:
    """Plotly's offline bundle, compressed and as letters: 2 MB in place of 4.8."""
    bundle = (resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(bundle, 6, mtime=0)).decode()
