"""Our own claims on made-up effects whose cosines are known, with errors that are paired by test example."""

import numpy as np
import pandas as pd
import pytest
from made_up import losses, noisy, score

from fimo.comparison.area import agreements, beyond_table, ceiling_at, centred_gold
from fimo.comparison.claims import base_of, claims
from fimo.comparison.own_claims import KEEPS_UP, MOVED, NEAR_CEILING, REACHED, UNROLLED, own_claims
from fimo.comparison.tables import compare
from fimo.report.claims import claims_markdown

TESTS, LEFT_OUT = 12, 20
# Orthonormal, and centred: the first column is constant.
DIRECTIONS = np.linalg.qr(np.c_[np.ones(LEFT_OUT), np.random.default_rng(0).normal(size=(LEFT_OUT, 4))])[0].T[1:]
LABELS = (UNROLLED, "Grad-Dot", "CG (λ = 10 λ0)")
UP_AND_DOWN = (-1.0) ** np.arange(TESTS)
CEILING = 0.9


def effects(cosines, jitter):
    """Losses whose cosine with direction k is `cosines[k, step]`, `jitter[k, step]` more or less on alternate tests."""
    cosines, jitter = np.asarray(cosines, float), np.asarray(jitter, float)
    at = cosines[..., None] + np.multiply.outer(np.broadcast_to(jitter, cosines.shape), UP_AND_DOWN)
    rest = np.sqrt(1 - (at**2).sum(0))
    return losses(np.einsum("ksj,ki->sji", at, DIRECTIONS[: len(at)]) + rest[..., None] * DIRECTIONS[-1])


def table(seed, labels=LABELS, seeds=2, ceiling=CEILING):
    """Our claims where method k's scores are direction k."""
    scores = {label: score(vector, seed) for label, vector in zip(labels, DIRECTIONS, strict=False)}
    reliable = pd.DataFrame({"adjustment": "centred", "step": seed["step"], "ceiling": ceiling})
    return own_claims(scores, [seed] * seeds, reliable).set_index("claim")


@pytest.mark.parametrize(
    "cosines, jitter, epoch, against, estimate, error, verdict",
    [
        # Above both everywhere, by least at the second amount.
        ([[0.7, 0.6, 0.6], [0.5, 0.2, 0.2], [0.1, 0.5, 0.4]], 0, 2, LABELS[2], 0.1, 0, "holds"),
        # Below one of them at a single amount.
        ([[0.7, 0.6, 0.6], [0.5, 0.2, 0.2], [0.1, 0.5, 0.7]], 0, 3, LABELS[2], -0.1, 0, "does not hold"),
        # As far below, within its error.
        (
            [[0.5, 0.5, 0.4], [0.3, 0.3, 0.5], [0.1, 0.1, 0.1]],
            [[0, 0, 0.2], [0, 0, 0], [0, 0, 0]],
            3,
            LABELS[1],
            -0.1,
            0.2 / np.sqrt(TESTS - 1),
            "holds",
        ),
        # Paired: test examples differ by far more than the methods do on any of them.
        ([[0.4], [0.42], [0.1]], [[0.2], [0.2], [0]], 1, LABELS[1], -0.02, 0, "does not hold"),
        # What is further below may be within its error where what is less far below is not.
        (
            [[0.4, 0.5], [0.5, 0.52], [0.1, 0.1]],
            [[0.2, 0], [0, 0], [0, 0]],
            2,
            LABELS[1],
            -0.02,
            0,
            "does not hold",
        ),
    ],
    ids=["above", "below once", "within its error", "paired", "given its error"],
)
def test_keeping_up(cosines, jitter, epoch, against, estimate, error, verdict):
    row = table(effects(cosines, jitter)).loc[KEEPS_UP]
    assert row["verdict"] == verdict
    assert row["estimate"] == pytest.approx(estimate, abs=1e-12)
    assert row["standard_error"] == pytest.approx(error, abs=1e-9)
    assert row["note"].startswith(f"least at epoch {epoch}, against {against}; not run: Grad-Cos, DataInf, LiSSA,")
    assert (row["n_test"], row["n_seeds"]) == (TESTS, 2)


def test_keeping_up_with_oneself_holds_and_one_test_example_decides_nothing():
    seed = effects([[0.5, 0.4]], 0.1)
    same = {label: score(DIRECTIONS[0], seed) for label in (UNROLLED, "Grad-Cos", "TRAK")}
    reliable = pd.DataFrame({"adjustment": "centred", "step": seed["step"], "ceiling": 1.0})
    row = own_claims(same, [seed], reliable).iloc[0]
    assert (row["estimate"], row["standard_error"], row["verdict"]) == (0, 0, "holds")
    alone = effects([[0.5], [0.3], [0.2]], 0).isel(test=[0])
    assert set(table(alone)["verdict"]) == {"not decided", "not measured"}


@pytest.mark.parametrize(
    "share, jitter, verdict",
    [(0.98, 0.01, "holds"), (0.9, 0.01, "does not hold"), (0.96, 0.1, "not decided"), (0.94, 0.1, "not decided")],
)
def test_reaching_the_ceiling(share, jitter, verdict):
    """Linear in the logarithm of the amount, 1, 2 and 4, about the share; the error is that of the mean of tests."""
    seed = effects([CEILING * share + np.array([-0.02, 0, 0.02])], jitter)
    seed = seed.assign_coords(epoch=("step", [1.0, 2, 4]))
    row = table(seed, (MOVED,)).loc[NEAR_CEILING]
    assert row["estimate"] == pytest.approx(share - REACHED, abs=1e-12) and row["verdict"] == verdict
    assert row["standard_error"] == pytest.approx(jitter / CEILING / np.sqrt(TESTS - 1))
    assert row["note"] == f"a share of {share:.3f}"


def test_numbers_are_those_of_the_table_and_of_the_curves():
    scores, seeds = noisy(3, 4, 6, 20, seed=1)
    scores |= {UNROLLED: scores["DataInf"] + scores["Grad-Dot"], MOVED: scores["TRAK"] + scores["Exact-GN"]}
    reliable, gold = compare(scores, seeds).reliability, centred_gold(seeds)
    rows = own_claims(scores, seeds, reliable).set_index("claim")
    damped = scores["TRAK"].expand_dims(damping=[1.0])
    beyond = beyond_table(scores, damped, gold, ceiling_at(reliable, gold)).set_index("method").loc[MOVED]
    assert rows.loc[NEAR_CEILING, "estimate"] == pytest.approx(beyond["cosine area_mean"] - REACHED)
    assert rows.loc[NEAR_CEILING, "standard_error"] == pytest.approx(beyond["cosine area_sem"])
    found = {label: agreements(each, gold).values for label, each in scores.items()}  # [step, test]
    slow = []
    for step in range(4):
        means = {label: found[label][step].mean() for label in ("Grad-Dot", "DataInf", "CG (λ = 10 λ0)", "TRAK")}
        paired = found[UNROLLED][step] - found[max(means, key=means.get)][step]
        slow.append((paired.mean(), paired.std(ddof=1) / np.sqrt(6)))
    worst = min(slow, key=lambda pair: pair[0] + 2 * pair[1])
    np.testing.assert_allclose(rows.loc[KEEPS_UP, ["estimate", "standard_error"]].astype(float), worst)


def test_what_was_not_measured_says_why():
    seed = effects([[0.5, 0.4], [0.3, 0.3], [0.2, 0.2]], 0)

    def notes(*labels, **more):
        rows = table(seed * more.pop("times", 1), labels, **more)
        missing = rows[rows["verdict"] == "not measured"]
        assert missing[["estimate", "standard_error", "low", "high"]].isna().all(axis=None)
        return missing["note"].to_dict()

    assert notes("Grad-Dot", "CG") == {KEEPS_UP: "no Unrolled-GN", NEAR_CEILING: "no Unrolled-GN (moved)"}
    assert notes(UNROLLED, MOVED) == {KEEPS_UP: "no first-order method and no influence-function method"}
    assert notes(UNROLLED, MOVED, "Grad-Dot") == {KEEPS_UP: "no influence-function method"}  # no best of the eight
    # The moved method is not the unmoved one, nor is a variant of it.
    assert notes(MOVED, "CG", "DataInf", "Unrolled-GN (moved = train)") == {KEEPS_UP: "no Unrolled-GN"}
    every = (*LABELS, MOVED)
    assert notes(*every, seeds=1) == {NEAR_CEILING: "no second seed"}
    assert notes(*every, ceiling=0.0) == {NEAR_CEILING: "no agreement between seeds"}
    assert notes(*every, times=np.nan) == dict.fromkeys((KEEPS_UP, NEAR_CEILING), "no cosine")


def test_they_are_told_apart_from_the_papers():
    seed = effects([[0.6, 0.6], [0.3, 0.3], [0.5, 0.4]], [[0.02, 0.02], [0, 0], [0, 0]])
    rows = table(seed).reset_index()
    text = claims_markdown(rows)
    assert text.startswith("# The paper's claims, and ours\n")
    told = "holds: least at epoch 1, against CG (λ = 10 λ0); not run: Grad-Cos, DataInf, LiSSA, LiSSA-H, EK-FAC, TRAK"
    assert f"| {KEEPS_UP} | 0.100 ± 0.006 |" in text and told in text
    assert f"| {NEAR_CEILING} | – | not measured: no Unrolled-GN (moved) | {TESTS} | 2 |" in text
    assert "Claims marked as ours are this project's, not the paper's." in text
    scores, seeds = noisy(2, 2, 6, 10, seed=0)
    papers = claims_markdown(claims(scores, seeds, np.random.default_rng(0)))
    assert papers.startswith("# The paper's claims\n") and "ours" not in papers


def test_moved_gradients_make_a_method_of_their_own():
    assert base_of("CG (λ = 10 λ0)") == "CG" and base_of("Unrolled-GN (path)") == UNROLLED
    assert base_of("CG (moved = both)") == "CG (moved = both)" and base_of(MOVED) == MOVED
