"""Pages of made-up numbers: of a run, a ranking and a removal, with any texts in the user's places."""

import numpy as np
import pandas as pd
import xarray as xr

from fimo.comparison.detection import Detection
from fimo.comparison.tables import compare
from fimo.descriptions import Cell, Picture, Sentence, TableRow, Token
from fimo.effect import gold_standard
from fimo.report.page.page import RANK, RUN, VERIFY, Page

TESTS, LEFT_OUT, STEPS = 5, 12, 4
HOSTILE = (
    "<script>window.hacked = 1</script>",
    '"\'><img src=x onerror="window.hacked = 2">&lt;b&gt;',
    "</script><!-- <b>bold</b> ]]>",
    "\u202ereversed \u2066 text\u202e",
    "x" * 9_990 + "last cells",
    "a\u2028b\u2029c\x00d\ud800e",
)


def describe(split, number):
    """A row of a table, a sentence and a picture in turn."""
    if number % 3 == 0:
        cells = [Cell("age", f"{number + 0.5}", -1.5), Cell("job", "clerk", 2.0, 0.2), Cell("pay", "12", 0.1)]
        return TableRow([("income", "1")], [*cells, *(Cell(f"c{place}", "0", 0.0) for place in range(4))])
    if number % 3 == 1:
        return Sentence(["a film 😀 that is unknowable, cut"], [SENTENCE], "positive")
    return Picture(np.full((8, 8, 1), 20 * number % 256, np.uint8), "seven")


SENTENCE = [
    Token(0, 1, "a"),
    Token(2, 6, "film"),
    Token(7, 8, "😀"),
    Token(17, 27, "[UNK]", known=False),
]


def losses(seed):
    """What further training would give, in float64."""
    random = np.random.default_rng(seed)
    effects = np.random.default_rng(7).normal(size=(STEPS, TESTS, LEFT_OUT))
    effects = effects + 0.2 * random.normal(size=effects.shape)
    full = 1 + random.uniform(size=(STEPS, TESTS))
    return xr.Dataset(
        {
            "loss_before": (("test",), np.ones(TESTS)),
            "loss_full": (("step", "test"), full),
            "loss_left_out": (("step", "test", "left_out"), full[..., None] + 1e-3 * effects),
        },
        coords=axes() | {"step": 10 * np.arange(1, STEPS + 1), "epoch": ("step", np.arange(1.0, STEPS + 1))},
    )


def axes():
    return {"test": np.arange(TESTS), "left_out": 3 * np.arange(LEFT_OUT)}


def scores(labels=("Grad-Dot", "Unrolled-GN")):
    """One method without steps, one with."""
    random, steps = np.random.default_rng(1), 10 * np.arange(1, STEPS + 1)
    gold = np.random.default_rng(7).normal(size=(STEPS, TESTS, LEFT_OUT))
    plain = gold[-1] + random.normal(size=gold[-1].shape)
    stepped = gold + 0.1 * random.normal(size=gold.shape)
    made = [xr.DataArray(plain, axes(), ("test", "left_out"))]
    made.append(xr.DataArray(stepped, axes() | {"step": steps}, ("step", "test", "left_out")))
    return dict(zip(labels, made, strict=True))


def run_page(
    describe=describe, label=lambda split, number: f"{split} {number}", labels=("Grad-Dot", "Unrolled-GN"), **more
):
    """The page of a run of three seeds."""
    seeds = [losses(seed) for seed in range(3)]
    comparison = compare(scores(labels), seeds)
    given = {
        "kind": RUN,
        "title": "made",
        "describe": describe,
        "label": label,
        "record": {"config": {"data": {"name": "made"}}, "methods": {labels[0]: {"seconds": 0.5, "notes": []}}},
        "curves": comparison.curves,
        "ceiling": comparison.reliability,
        "scores": scores(labels),
        "effects": xr.concat([gold_standard(seeds, place, "full") for place in range(STEPS)], "step", coords=["epoch"]),
        "losses": seeds[0]["loss_before"],
        "claims": pd.DataFrame([{"claim": "it holds", "estimate": 0.5, "standard_error": 0.1, "verdict": "holds"}]),
    }
    return Page(**(given | more))


def rank_page(**more):
    """The page of a ranking of 30 training rows by two methods, one of which has steps."""
    random, rows, own = np.random.default_rng(2), [], []
    for method, steps in (("Grad-Dot", [None]), ("Unrolled-GN", [10, 20])):
        for step in steps:
            own += [(method, step, train, float(value)) for train, value in enumerate(random.uniform(size=30))]
            for test in range(TESTS):
                values = random.normal(size=30)
                order = np.argsort(-values)
                ranked = [(int(train), rank + 1) for rank, train in enumerate(order)]
                rows += [(method, step, test, rank, train, values[train]) for train, rank in ranked[:4] + ranked[-4:]]
    ranking = pd.DataFrame(rows, columns=["method", "step", "test", "rank", "train", "score"])
    self_influence = pd.DataFrame(own, columns=["method", "step", "train", "score"])
    given = {"kind": RANK, "title": "made ranking", "describe": describe, "record": {}, "epochs": {10: 0.5, 20: 1.0}}
    given |= {"label": lambda split, number: f"{split} {number}", "ranking": ranking, "self_influence": self_influence}
    return Page(**(given | more))


def flipped_page(**more):
    """The page of a ranking of 30 training rows of which six have a label that was made wrong."""
    random, wrong = np.random.default_rng(4), np.arange(30) % 5 == 1
    suspicion = {
        ("Grad-Dot", "self-influence"): wrong + 2.0 * random.random(30),
        ("Grad-Dot", "mean harm"): random.random(30),
        ("Unrolled-GN", "self-influence"): wrong + 2.0 * random.random(30),
        ("the row itself", "loss"): wrong + 1.5 * random.random(30),
        ("the row itself", "margin"): wrong + 1.6 * random.random(30),
        ("–", "random order"): random.permutation(30),
    }
    given = {"detection": Detection(np.arange(30), wrong, suspicion)}
    given["flipped"] = {int(row): f"right {row}" for row in np.flatnonzero(wrong)}
    given["predicted"] = {"train": {row: f"The final model says {row}." for row in range(30)}}
    return rank_page(**(given | more))


def verify_page(**more):
    """The page of a removal: two methods and random rows, three shares, four test examples."""
    random, rows = np.random.default_rng(3), []
    for method, slope in (("CG", 1.0), ("Grad-Dot", 0.5), ("random rows", 0.0)):
        for test in range(4):
            for share in (0.01, 0.02, 0.05):
                predicted = np.nan if method == "random rows" else share * random.uniform(0.5, 2)
                measured = slope * (0 if np.isnan(predicted) else predicted) + 1e-3 * random.normal()
                rows.append((method, test, share, int(300 * share), predicted, measured, 1e-3))
    columns = ["method", "test", "share", "rows", "predicted", "measured_mean", "measured_sem"]
    claims = pd.DataFrame([{"claim": "CG beats random rows", "verdict": "holds"}])
    given = {"kind": VERIFY, "title": "made removal", "describe": describe, "record": {}, "claims": claims}
    agreement = {"right_sign": 0.75, "correlation_mean": 0.5, "correlation_sem": 0.1, "groups": 9, "tests": 4}
    given |= {
        "agreement": pd.DataFrame([{"method": "CG", **agreement}]),
        "verdicts": {2: "Removing 15 rows raises it."},
    }
    given |= {"label": lambda split, number: f"{split} {number}", "removal": pd.DataFrame(rows, columns=columns)}
    return Page(**(given | more))
