"""What rankings predict beside what is measured, against loops written out."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

from fimo.comparison.removal import RANDOM_ROWS, groups_of, named_groups, removals, verification, without_scores
from fimo.effect import with_diverged_as_nan
from fimo.report.influential import Examples
from fimo.report.removal import removal_markdown

SIZES = {0.1: 2, 0.2: 4}


def scores(seed, rows=20, tests=(3, 7)):
    values = np.random.default_rng(seed).normal(size=(len(tests), rows))
    return xr.DataArray(values, {"test": list(tests), "left_out": range(rows)}, ["test", "left_out"])


def losses(groups, seed, truth, tests=(3, 7)):
    """One seed of further training: the effect of a group is the sum of its rows' true effects, and noise."""
    noise = np.random.default_rng(seed).normal(size=(len(tests), len(groups))) * 0.01
    effects = np.stack([truth.values[:, list(group)].sum(1) for group in groups], 1) + noise
    full = np.full((1, len(tests)), 0.5)
    return xr.Dataset(
        {
            "loss_before": ("test", np.ones(len(tests))),
            "loss_full": (("step", "test"), full),
            "loss_left_out": (("step", "test", "left_out"), full[..., None] + effects[None]),
        },
        {"step": [9], "test": list(tests), "left_out": range(len(groups)), "epoch": ("step", [3.0])},
    )


@pytest.fixture
def methods():
    return {"Good": (good := scores(0)), "Bad": scores(1), "Opposite": -good}


def test_each_method_names_its_most_helpful_rows(methods):
    removed = removals(methods, SIZES, 3, seed=0)
    assert [removal.method for removal in removed[:6]] == [RANDOM_ROWS] * 6 and len(removed) == 6 + 3 * 2 * 2
    for removal in removed[6:]:
        ranked = sorted(range(20), key=lambda row: -methods[removal.method].sel(test=removal.test).values[row])
        assert removal.rows == tuple(sorted(ranked[: SIZES[removal.share]]))
    assert removed == removals(methods, SIZES, 3, seed=0)
    assert removed[:6] != removals(methods, SIZES, 3, seed=1)[:6]


def test_each_method_names_its_most_harmful_rows(methods):
    """Rows without a score leave last, at either end."""
    methods["Good"][0, 5] = np.nan
    for removal in removals(methods, SIZES, 3, seed=0, end="harmful")[6:]:
        values = np.nan_to_num(methods[removal.method].sel(test=removal.test).values, nan=np.inf)
        ranked = sorted(range(20), key=lambda row, values=values: values[row])
        assert removal.rows == tuple(sorted(ranked[: SIZES[removal.share]]))


def test_a_group_that_several_methods_name_is_trained_on_once(methods):
    removed = removals({"One": methods["Good"], "Two": 2 * methods["Good"]}, SIZES, 2, seed=0)
    assert len(groups_of(removed)) == 4 + 4 and list(named_groups(removed))[0] == "removal 0"


def test_tables_are_those_of_loops(methods):
    removed = removals(methods, SIZES, 3, seed=0)
    groups = groups_of(removed)
    seeds = [losses(groups, seed, methods["Good"]) for seed in range(4)]
    verified = verification(methods, removed, seeds)
    effects = np.stack([(seed["loss_left_out"] - seed["loss_full"]).values[0] for seed in seeds])
    table = verified.table.set_index(["method", "test", "share"])
    for removal in removed[6:]:
        row, place = table.loc[(removal.method, removal.test, removal.share)], groups.index(removal.rows)
        test = [3, 7].index(removal.test)
        assert row["rows"] == len(removal.rows)
        assert np.isclose(row["predicted"], sum(methods[removal.method].values[test, list(removal.rows)]))
        assert np.isclose(row["measured_mean"], effects[:, test, place].mean()) and np.isclose(row["loss_full"], 0.5)
        assert np.isclose(row["measured_sem"], effects[:, test, place].std(ddof=1) / 2)
    random = [effects[:, 0, groups.index(removal.rows)].mean() for removal in removed[:3]]
    row = table.loc[(RANDOM_ROWS, 3, 0.1)]
    assert np.isnan(row["predicted"]) and np.isclose(row["measured_mean"], np.mean(random))
    assert np.isclose(row["measured_sem"], np.std(random, ddof=1) / np.sqrt(3))
    agreement = verified.agreement.set_index("method")
    sums = {label: [score.values[0, list(group)].sum() for group in groups] for label, score in methods.items()}
    other = {label: [score.values[1, list(group)].sum() for group in groups] for label, score in methods.items()}
    for label in methods:
        both = [spearmanr(guess[label], effects.mean(0)[test])[0] for test, guess in enumerate((sums, other))]
        assert np.isclose(agreement.loc[label, "correlation_mean"], np.mean(both))
    assert agreement.loc["Good", "right_sign"] == 1 and agreement.loc["Opposite", "right_sign"] == 1 - 1
    assert agreement.loc["Good", "correlation_mean"] > 0.99 and agreement.loc["Opposite", "correlation_mean"] < -0.99
    assert (agreement["groups"] == len(groups)).all() and (agreement["tests"] == 2).all()


def test_scores_that_are_missing_and_runs_that_diverged(methods):
    """A stored ranking knows few rows: its correlation is over the groups that it can predict."""
    partial = methods["Good"].where(methods["Good"] > -0.5)
    removed = removals({**methods, "Partial": partial}, SIZES, 3, seed=0)
    groups = groups_of(removed)
    seeds = [losses(groups, seed, methods["Good"]) for seed in range(2)]
    seeds[0]["loss_left_out"][..., 0] = np.nan  # the first random group
    verified = verification({**methods, "Partial": partial}, removed, seeds)
    agreement = verified.agreement.set_index("method")
    known = [[np.isfinite(partial.values[test, list(group)]).all() for group in groups[1:]] for test in (0, 1)]
    assert agreement.loc["Partial", "groups"] == min(map(sum, known)) < agreement.loc["Good", "groups"]
    assert agreement.loc["Good", "groups"] == len(groups) - 1 and agreement.loc["Partial", "correlation_mean"] > 0.9


def test_means_over_test_examples(methods):
    removed = removals(methods, SIZES, 3, seed=0)
    verified = verification(methods, removed, [losses(groups_of(removed), 0, methods["Good"])])
    assert verified.table.query("method == 'Good'")["measured_sem"].isna().all()  # one seed
    shares = verified.shares().set_index(["method", "share"])
    own = verified.table.query("method == 'Bad' and share == 0.2")["measured_mean"]
    assert np.isclose(shares.loc[("Bad", 0.2), "measured_mean"], own.mean())
    assert np.isclose(shares.loc[("Bad", 0.2), "measured_sem"], own.std(ddof=1) / np.sqrt(2))
    assert shares.loc[(RANDOM_ROWS, 0.2), "rows"] == 4
    random = verified.table.query("method == @RANDOM_ROWS and share == 0.2")  # the same groups for both test examples
    assert np.isclose(shares.loc[(RANDOM_ROWS, 0.2), "measured_sem"], random["measured_sem"].mean())


def test_rows_without_a_score_are_named_by_nobody(methods):
    """A recursion that diverged, at all test examples or at one, names no rows: not those that stand first."""
    nowhere, once = methods["Good"] * np.nan, methods["Good"].where(methods["Good"]["test"] != 3)
    chosen = {"Nowhere": nowhere, "Once": once, "Good": methods["Good"]}
    removed = removals(chosen, SIZES, 3, seed=0)
    assert {(removal.method, removal.test) for removal in removed[6:]} == {("Once", 7), ("Good", 3), ("Good", 7)}
    reason = "its scores are not finite for 20 of 20 training rows at every test example."
    assert without_scores(chosen, 2) == {"Nowhere": reason}
    usable = {label: chosen[label] for label in ("Once", "Good")}
    verified = verification(usable, removed, [losses(groups_of(removed), 0, methods["Good"])])
    agreement = verified.agreement.set_index("method")
    assert agreement.loc["Once", "right_sign"] == 1 and agreement.loc["Once", "tests"] == 1


def test_a_sign_is_right_or_wrong_only_where_something_was_measured(methods):
    removed = removals(methods, SIZES, 3, seed=0)
    one = losses(groups_of(removed), 0, methods["Good"])
    one["loss_full"][:] = np.nan
    verified = verification(methods, removed, [one])
    assert verified.agreement["right_sign"].isna().all() and verified.table["measured_mean"].isna().all()


def test_no_method_is_best_where_every_run_diverged(methods):
    removed = removals(methods, SIZES, 3, seed=0)
    one = losses(groups_of(removed), 0, methods["Good"])
    diverged = with_diverged_as_nan(one.assign(loss_full=one["loss_full"] * np.inf))
    tables = verification(methods, removed, [diverged])
    assert tables.best is None
    text = removal_markdown(tables, Examples(lambda split, row: ""))
    assert "Nothing was measured" in text and "Test example by test example" not in text and "over 0" not in text
    assert verification(methods, removed, [one]).best == "Good"
