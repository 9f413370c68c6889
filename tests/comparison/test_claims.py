"""The paper's claims on made-up effects whose cosines are known, and their standard errors on repeated measurements."""

import numpy as np
import pandas as pd
import pytest
from made_up import losses, noisy, score

from fimo.comparison.claims import ADAM, CLAIMS, adam_claim, claims
from fimo.errors import UserError
from fimo.report.claims import claims_markdown

TESTS, LEFT_OUT = 12, 20
NAMES = [claim.name for claim in CLAIMS]
# Orthonormal: the first is constant, so the others are centred.
BASIS = np.linalg.qr(np.c_[np.ones(LEFT_OUT), np.random.default_rng(0).normal(size=(LEFT_OUT, 8))])[0].T
CONSTANT, (U, V, W, *MORE) = abs(BASIS[0]), BASIS[1:]
SIGN = (-1.0) ** np.arange(TESTS)


def measured(scores, seeds):
    return claims(scores, seeds, np.random.default_rng(1)).set_index("claim")


def curved(alpha, beta, jitter_alpha=0.02, jitter_beta=0.02):
    """Effects whose cosine is alpha[step] with U and beta[step] with V, a jitter up and down on alternate tests."""
    alpha = np.asarray(alpha)[:, None] + np.multiply.outer(np.broadcast_to(jitter_alpha, len(alpha)), SIGN)
    beta = np.asarray(beta)[:, None] + np.multiply.outer(np.broadcast_to(jitter_beta, len(beta)), SIGN)
    rest = np.sqrt(1 - alpha**2 - beta**2)
    return losses(alpha[..., None] * U + beta[..., None] * V + rest[..., None] * W)


FAMILIES = {"Grad-Dot": U, "Grad-Cos": 3 * U, "CG (λ = 10 λ0)": V, "EK-FAC": 1e-9 * V}


@pytest.mark.parametrize(
    "alpha, beta, jitter, estimates, verdict",
    [
        ((0.9, 0.6, 0.3), (0.2, 0.25, 0.3), 0.02, (0.4, 0.6, 0.5, 0.6), "holds"),
        ((0.3, 0.35, 0.4), (0.2, 0.5, 0.8), 0.02, (-0.2, -0.1, -0.5, -0.4), "does not hold"),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), (0.2, 0, -0.2), (0, 0, 0, 0), "not decided"),
    ],
    ids=["as in the paper", "the reverse", "within the error"],
)
def test_claims_about_the_two_families(alpha, beta, jitter, estimates, verdict):
    seed = curved(alpha, beta, jitter, np.multiply(jitter, 0.5))
    scores = {label: score(vector, seed) for label, vector in FAMILIES.items()}
    table = measured(scores, [seed])
    np.testing.assert_allclose(table["estimate"].iloc[:4], estimates, atol=1e-12)
    assert table["verdict"].iloc[:4].tolist() == [verdict] * 4
    assert (table["n_test"] == TESTS).all() and (table["n_seeds"] == 1).all()
    # The error of a mean over test examples, from 200 replicates.
    error = np.broadcast_to(jitter, 3)[0] / np.sqrt(TESTS - 1)
    assert table["standard_error"].iloc[0] == pytest.approx(error, rel=0.2)
    np.testing.assert_allclose(table["high"] - table["low"], 4 * table["standard_error"], atol=1e-12)
    # Methods of neither family change nothing.
    more = measured({**scores, "Exact-GN": score(W, seed), "Mine": score(W, seed)}, [seed])
    pd.testing.assert_frame_equal(more.iloc[:4], table.iloc[:4])


PLAIN, RAISED = U, U + CONSTANT
MIXED = np.where(SIGN[:, None] > 0, PLAIN, RAISED)
GAIN = 1 - np.sqrt(0.5)


@pytest.mark.parametrize(
    "claim, vector, constant, moved, estimate, verdict",
    [
        (4, PLAIN, 0, 1, GAIN, "holds"),
        (4, RAISED, 0, 1, -GAIN, "does not hold"),
        (4, MIXED, 0, 1, 0, "not decided"),
        (5, PLAIN, 1, 1, GAIN, "holds"),
        (5, RAISED, 1, 1, -GAIN, "does not hold"),
        (5, MIXED, 1, 1, 0, "not decided"),
    ],
)
def test_claims_about_the_adjustments(claim, vector, constant, moved, estimate, verdict):
    """Effects `U + constant`, and further training itself moves every loss by `moved`, in units of `CONSTANT`."""
    seed = losses(np.broadcast_to(U + constant * CONSTANT, (2, TESTS, LEFT_OUT)), moved * CONSTANT[0])
    row = measured({"Mine": score(vector, seed)}, [seed]).loc[NAMES[claim]]
    assert row["estimate"] == pytest.approx(estimate, abs=1e-12) and row["verdict"] == verdict


def test_averaging_seeds():
    noise = 2.0
    seeds = [losses(np.broadcast_to(U + noise * direction, (2, TESTS, LEFT_OUT))) for direction in MORE[:5]]
    row = measured({"Mine": score(U, seeds[0])}, seeds).loc[NAMES[6]]
    assert row["estimate"] == pytest.approx(1 / np.sqrt(1 + noise**2 / 5) - 1 / np.sqrt(1 + noise**2))
    assert row["verdict"] == "holds" and row["note"] == "resampled: test examples and seeds"
    # Small effects that agree are drowned by large ones that don't.
    opposed = [losses(np.broadcast_to(vector, (2, TESTS, LEFT_OUT))) for vector in (U, 1e3 * W)]
    for copies, verdict in ((1, "not decided"), (5, "does not hold")):
        row = measured({"Mine": score(U, seeds[0])}, opposed * copies).loc[NAMES[6]]
        assert row["estimate"] == pytest.approx(-0.5, abs=2e-3) and row["verdict"] == verdict


def test_golds_are_compared_on_the_same_test_examples():
    """Effects that are all equal have a direction until they are centred."""
    scores, seeds = noisy(2, 2, 6, 10, seed=0)
    for each in seeds:
        each["loss_left_out"][:, 0] = 9.0
    table = measured(scores, seeds)
    alone = {label: each.isel(test=slice(1, None)) for label, each in scores.items()}
    alone = measured(alone, [each.isel(test=slice(1, None)) for each in seeds])
    np.testing.assert_allclose(table["estimate"], alone["estimate"], rtol=1e-12)
    assert set(table["n_test"]) == set(alone["n_test"]) == {5}


def test_what_was_not_measured_says_why():
    seed = curved((0.9, 0.6, 0.3), (0.2, 0.25, 0.3))
    own = {label: score(vector, seed) for label, vector in FAMILIES.items()}

    def notes(scores, seeds):
        table = measured(scores, seeds)
        missing = table[table["verdict"] == "not measured"]
        assert missing[["estimate", "standard_error", "low", "high"]].isna().all(axis=None)
        return {NAMES.index(claim): note for claim, note in missing["note"].items()}

    one = {6: "no second seed"}
    assert notes(own, [seed]) == one
    assert notes({"Grad-Dot": own["Grad-Dot"]}, [seed]) == dict.fromkeys((2, 3), "no influence-function method") | one
    neither = "no first-order method and no influence-function method"
    expected = {0: "no first-order method", 1: "no first-order method", 2: neither, 3: neither}
    assert notes({"Exact-GN": own["Grad-Dot"]}, [seed, seed]) == expected
    step = "no second evaluated step"
    assert notes(own, [seed.isel(step=[0])]) == {1: step, 2: step} | one
    assert notes(own, [seed * np.nan]) == dict.fromkeys(range(6), "no cosine") | one


def test_one_test_example_and_one_seed_have_no_error():
    seed = curved((0.9, 0.6, 0.3), (0.2, 0.25, 0.3)).isel(test=[0])
    table = measured({label: score(vector, seed) for label, vector in FAMILIES.items()}, [seed])
    assert table["standard_error"].isna().all() and set(table["note"]) == {"resampled: nothing", "no second seed"}
    assert set(table["verdict"]) == {"not decided", "not measured"}


@pytest.mark.parametrize(
    "more, verdict", [(0.1, "holds"), (-0.1, "does not hold"), (0.0, "not decided")], ids=["Adam", "SGD", "equal"]
)
def test_adam_and_sgd_are_paired_where_they_have_the_same(more, verdict):
    """Test examples differ more than the optimizers do; Adam's run has more epochs, of more steps, other methods."""
    sgd = curved((0.5, 0.4), (0.3, 0.3), (0.3, 0.3))
    adam = curved((0.5 + more, 0.4 + more, 0.0), (0.3, 0.3, 0.3), (0.31, 0.31, 0.0))
    adam = adam.assign_coords(step=[6, 12, 18]).isel(test=slice(None, None, -1))
    scores = {label: score(U, sgd) for label in ("Grad-Dot", "CG")}
    row = adam_claim((scores, [sgd]), ({**scores, "TRAK": score(V, sgd)}, [adam]), np.random.default_rng(0)).iloc[0]
    assert row["estimate"] == pytest.approx(more, abs=1e-12)
    assert row["standard_error"] < 0.01 and row["verdict"] == verdict


def test_runs_with_nothing_in_common():
    seed = curved((0.5, 0.4), (0.4, 0.4))
    own = {"CG": score(U, seed)}
    changes = {
        "method": ({"TRAK": own["CG"]}, seed),
        "test": (own, seed.assign_coords(test=seed["test"] + 100)),
        "left_out": (own, seed.assign_coords(left_out=seed["left_out"] + 1)),
        "epoch": (own, seed.assign_coords(epoch=seed["epoch"] / 3)),
    }
    for name, (scores, other) in changes.items():
        with pytest.raises(UserError, match=f"Adam can't be compared: they have no {name} in common"):
            adam_claim((own, [seed]), (scores, [other]), np.random.default_rng(0))


def test_claims_for_people():
    scores, seeds = noisy(1, 2, 6, 10, seed=0)
    table = claims(scores, seeds, np.random.default_rng(0))
    text = claims_markdown(table)
    row = table.iloc[0]
    cells = f"{row['estimate']:.3f} ± {row['standard_error']:.3f} | {row['verdict']} | 6 | 1 |"
    assert f"| first-order methods start high | {cells}" in text
    assert "| averaging seeds raises agreement | – | not measured: no second seed | 6 | 1 |" in text
    for claim in CLAIMS:
        assert f"\n- {claim.name}: {claim.words}.\n" in text
    assert "more than two standard errors above zero" in text and f"\n- {ADAM.name}: takes two runs" in text
    both = pd.concat(
        [table.assign(**{"data set": "energy"}), adam_claim((scores, seeds), (scores, seeds), np.random.default_rng(0))]
    )
    text = claims_markdown(both.fillna({"data set": "diabetes"}))
    assert (
        "| data set | claim |" in text and f"| energy | {NAMES[0]} |" in text and f"| diabetes | {ADAM.name} |" in text
    )
    assert text.count(f"\n- {ADAM.name}: ") == 1 and "takes two runs" not in text
