"""Effects, reliability and the tables on made-up losses with known answers."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from made_up import STEPS, TESTS, score_of, simulated
from made_up import losses as made_up_losses

from fimo.comparison import tables
from fimo.comparison.agreement import cosine
from fimo.comparison.live import LiveAgreement
from fimo.comparison.reliability import reliability
from fimo.comparison.seed_products import SeedProducts
from fimo.effect import ADJUSTMENTS, average, diverged, effect, with_diverged_as_nan
from fimo.reference import comparison as reference
from fimo.report.figures import curves_figure, seeds_figure, to_bytes
from fimo.report.markdown import markdown_table


def test_the_three_adjustments_by_hand():
    _, (losses, other) = simulated(2, 0.1)
    both = xr.concat([losses, other], "seed")
    for adjustment in ADJUSTMENTS:
        gold = average(effect(both, adjustment), adjustment)
        assert gold.dims == ("step", "test", "left_out")
        t, j = 2, 3
        base = losses["loss_before"][j] if adjustment == "none" else losses["loss_full"][t, j]
        again = other["loss_before"][j] if adjustment == "none" else other["loss_full"][t, j]
        by_hand = (losses["loss_left_out"][t, j] - base + other["loss_left_out"][t, j] - again).values / 2
        if adjustment == "centred":
            by_hand = by_hand - by_hand.mean()
        np.testing.assert_allclose(gold[t, j], by_hand, rtol=1e-12)


def test_equal_effects_are_centred_to_zero_exactly():
    _, (losses,) = simulated(1, 0)
    losses["loss_left_out"][:] = 0.1 + 0.2
    assert (average(effect(losses.expand_dims("seed"), "centred"), "centred") == 0).all()


def test_curves_of_a_perfect_and_of_a_useless_score():
    a, seeds = simulated(3, 0.0)
    scores = {"Grad-Dot": score_of(a[1], seeds[0]), "Grad-Cos": score_of(np.ones_like(a[1]), seeds[0])}
    curves = tables.compare(scores, seeds).curves.set_index(["method", "adjustment", "step"])
    perfect = curves.loc[("Grad-Dot", "full", 20)]
    assert perfect["cosine_mean"] == pytest.approx(1) and perfect["pearson_mean"] == pytest.approx(1)
    assert perfect["spearman_mean"] == pytest.approx(1) and perfect["epoch"] == 2 and perfect["n_seeds"] == 3
    assert abs(curves.loc[("Grad-Dot", "full", 30), "cosine_mean"]) < 0.3
    assert curves.loc[("Grad-Cos", "full", 20), "n_test"] == TESTS
    assert np.isnan(curves.loc[("Grad-Cos", "full", 20), "pearson_mean"])
    assert (curves["cosine_sem"] >= 0).all() and curves.index.is_unique


def products_of(effects):
    """Of the seeds' `effects [seed, step, test, left_out]`, further training itself changing nothing."""
    seeds = [made_up_losses(each) for each in effects]
    return SeedProducts.of(xr.concat(seeds, "seed"), np.ones((1, effects.shape[2], 1, effects.shape[3])))


def test_reliability_equals_the_loops():
    _, seeds = simulated(5, 1.0)
    losses = xr.concat(seeds, "seed")
    products = SeedProducts.of(losses, np.ones((1, TESTS, 1, losses.sizes["left_out"])))
    for adjustment, fast in reliability(products, np.random.default_rng(3), splits=7).items():
        slow = reference.reliability(effect(losses, adjustment).values, adjustment, 7, np.random.default_rng(3))
        np.testing.assert_allclose(fast, slow, rtol=1e-10)


@pytest.mark.parametrize("noise, seeds", [(0.5, 4), (2.0, 10), (2.0, 11), (4.0, 16)])
def test_a_perfect_score_reaches_the_ceiling(noise, seeds):
    """Simulated truth plus noise: the cosine of the truth with the measured mean is √r, within .01."""
    reached, ceilings = [], []
    for seed in range(12):
        random = np.random.default_rng(seed)
        a = random.normal(size=(1, 100, 200))
        effects = a + noise * random.normal(size=(seeds, 1, 100, 200))
        reached.append(cosine(a, effects.mean(0)).mean())
        ceilings.append(np.sqrt(reliability(products_of(effects), random)["full"])[0])
    assert np.mean(reached) == pytest.approx(np.mean(ceilings), abs=0.01)
    assert np.mean(reached) < 0.99


def test_one_seed_has_no_reliability():
    a, seeds = simulated(1, 1.0)
    comparison = tables.compare({"Grad-Dot": score_of(a[0], seeds[0])}, seeds)
    assert comparison.reliability["reliability"].isna().all()
    assert comparison.seeds["n_seeds"].unique().tolist() == [1]


def test_agreement_grows_with_the_seeds_averaged():
    a, seeds = simulated(20, 3.0)
    table = tables.compare({"Grad-Dot": score_of(a[2], seeds[0])}, seeds).seeds.query("adjustment == 'full'")
    assert table["n_seeds"].tolist() == [1, 2, 3, 5, 7, 10, 15, 20]
    assert table["cosine_mean"].is_monotonic_increasing
    one = [cosine(a[2], effect(s, "full").values[2]) for s in seeds]
    assert table["cosine_mean"].iloc[0] == pytest.approx(np.mean(one))


def test_blocks_of_steps_change_nothing(monkeypatch):
    a, seeds = simulated(5, 1.0)
    scores = {"Grad-Dot": score_of(a[2], seeds[0]), "Grad-Cos": score_of(a[1], seeds[0])}
    whole = tables.compare(scores, seeds)
    monkeypatch.setattr(tables, "SEED_READ_BYTES", 1)
    monkeypatch.setattr(tables, "SEED_COMPARISON_BYTES", 1)
    blocks = tables.compare(scores, seeds)
    for name in ("curves", "seeds", "reliability"):
        parts = (getattr(comparison, name).select_dtypes("number") for comparison in (whole, blocks))
        np.testing.assert_allclose(*parts, rtol=1e-12)


@pytest.mark.parametrize("common", [0.0, 1.0, 1e6], ids="common {}".format)
def test_the_tables_equal_the_loops(common):
    """Every number, against cosines and ranks of explicit means; `common` is an effect that all left-out runs share."""
    a, seeds = simulated(7, 1.0)
    random = np.random.default_rng(5)
    for losses in seeds:
        losses["loss_left_out"] += common * random.normal(size=(STEPS, TESTS, 1))
    stepwise = xr.DataArray(
        a + 0.3, {k: seeds[0][k] for k in ("step", "test", "left_out")}, ("step", "test", "left_out")
    )
    scores = {"Grad-Dot": score_of(a[2], seeds[0]), "Unrolled-GN": stepwise}
    comparison = tables.compare(scores, seeds)
    near = {"rtol": 1e-10, "atol": 1e-10 * max(1, common)}
    for adjustment in ADJUSTMENTS:
        effects = [effect(losses, adjustment).values for losses in seeds]
        for label, score in scores.items():
            values = np.broadcast_to(score.values, a.shape)
            curve, groups = reference.comparison(values, effects, adjustment, [1, 2, 3, 5, 7])
            curves, seeds_table = (
                table[(table["method"] == label) & (table["adjustment"] == adjustment)]
                for table in (comparison.curves, comparison.seeds)
            )
            for name, means in curve.items():
                np.testing.assert_allclose(curves[name], means, **near)
            np.testing.assert_allclose(seeds_table[["cosine_mean", "cosine_sem"]], groups, **near)


def test_scores_with_steps_are_compared_step_by_step():
    a, seeds = simulated(2, 0.0)
    score = xr.DataArray(a, {k: seeds[0][k] for k in ("step", "test", "left_out")}, ("step", "test", "left_out"))
    curves = tables.compare({"Unrolled-GN": score.isel(step=[3, 1, 0, 2])}, seeds).curves
    np.testing.assert_allclose(curves.query("adjustment == 'full'")["cosine_mean"], 1)


def test_diverged_runs_are_named_and_left_out():
    a, seeds = simulated(3, 0.0)
    seeds[1]["loss_left_out"][2:, :, 7] = np.inf
    seeds[2]["loss_full"][3, 0] = np.nan
    marked = [with_diverged_as_nan(losses) for losses in seeds]
    assert [diverged(losses) for losses in marked] == [[], ["left-out 21"], ["the full run"]]
    assert np.isnan(marked[1]["loss_left_out"][0, :, 7]).all()
    comparison = tables.compare({"Grad-Dot": score_of(a[1], seeds[0])}, marked)
    assert comparison.curves.query("adjustment == 'full' and step == 20")["cosine_mean"].item() == pytest.approx(1)
    assert comparison.seeds["cosine_mean"].notna().all() and set(comparison.curves["n_seeds"]) == {2}


def test_a_diverged_run_does_not_skew_its_example():
    """What is common to all examples of one seed must not fall on the example that lacks that seed."""
    a, seeds = simulated(5, 0.0)
    seeds[1]["loss_left_out"] = seeds[1]["loss_left_out"] + 100.0
    seeds[1]["loss_left_out"][:, :, 7] = np.nan
    comparison = tables.compare({"Grad-Dot": score_of(a[1], seeds[0])}, seeds)
    centred = comparison.curves.query("adjustment == 'centred' and step == 20")
    assert centred["pearson_mean"].item() == pytest.approx(1)


def test_nothing_left_to_compare_is_nan_everywhere():
    a, seeds = simulated(2, 0.0)
    for losses in seeds:
        losses["loss_left_out"][:] = np.nan
    comparison = tables.compare({"Grad-Dot": score_of(a[1], seeds[0])}, seeds)
    for table, column in ((comparison.curves, "cosine_mean"), (comparison.reliability, "ceiling")):
        assert len(table) and table[column].isna().all()
    live = LiveAgreement({"Grad-Dot": score_of(a[1], seeds[0])}).update(seeds[0].expand_dims("seed").isel(step=[0]))
    assert live["live/epoch"] == float(seeds[0]["epoch"][0]) and np.isnan(live["live/cosine/Grad-Dot"])


def test_groups_that_disagree_have_no_reliability():
    """A negative agreement of the halves is none: the formula would turn it into a perfect one."""
    effects = np.array([[1, 0], [-0.5, 0.8], [-0.5, -0.8]])[:, None, None]
    assert reliability(products_of(effects), np.random.default_rng(0))["full"] == 0


def test_live_agreement_is_that_of_the_table_once_all_seeds_are_in():
    a, seeds = simulated(3, 1.0)
    scores = {"Grad-Dot": score_of(a[1], seeds[0])}
    live = LiveAgreement(scores, finished=seeds[:1])  # one was there before
    for losses in seeds[1:]:
        for t in range(STEPS):
            metrics = live.update(losses.expand_dims("seed").isel(step=[t]))
    table = tables.compare(scores, seeds).curves.query("adjustment == 'centred' and step == 40")
    assert metrics == pytest.approx(
        {"live/epoch": 4.0, "live/seeds": 3.0, "live/cosine/Grad-Dot": table["cosine_mean"].item()}
    )


def test_effects_in_place_of_losses_are_compared_alike():
    """The seeds of tangents have no losses of left-out runs."""
    a, seeds = simulated(3, 1.0)
    seeds[1]["loss_left_out"][2:, :, 7] = np.inf
    tangents = [losses.assign(effect=effect(losses, "full")).drop_vars("loss_left_out") for losses in seeds]
    scores = {"Grad-Dot": score_of(a[1], seeds[0])}
    for adjustment in ADJUSTMENTS:
        pair = [effect(losses[0], adjustment) for losses in (seeds, tangents)]
        assert pair[0].dims == pair[1].dims
        np.testing.assert_allclose(*pair, rtol=1e-12, atol=1e-12)
    marked, others = ([with_diverged_as_nan(losses) for losses in each] for each in (seeds, tangents))
    assert [diverged(losses) for losses in others] == [diverged(losses) for losses in marked] != [[], [], []]
    one, other = (tables.compare(scores, each) for each in (marked, others))
    for name in ("curves", "seeds", "reliability"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    at_once = [xr.concat(each, "seed").isel(step=[0]) for each in (marked, others)]
    live = [LiveAgreement(scores).update(losses) for losses in at_once]
    assert live[0] == pytest.approx(live[1])
    others[0]["loss_full"][:] = np.inf
    assert np.isnan(with_diverged_as_nan(others[0])["effect"]).all()  # they belong to the run on all examples


def test_figures_and_table_are_repeatable_and_complete():
    a, seeds = simulated(3, 1.0)
    scores = {"Grad-Dot": score_of(a[1], seeds[0]), "CG (λ = 10 λ0)": score_of(a[2], seeds[0])}
    comparison = tables.compare(scores, seeds)
    for draw in (curves_figure, seeds_figure):
        figure = draw(comparison, "title")
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels[:2] == ["Grad-Dot", "CG (λ = 10 λ0)"]
        assert ("reliability ceiling" in labels) == (draw is curves_figure)
        for kind in ("png", "pdf"):
            assert to_bytes(draw(comparison, "title"), kind) == to_bytes(draw(comparison, "title"), kind)
    lost = markdown_table(tables.compare({**scores, "Lost": scores["Grad-Dot"] * np.nan}, seeds), {})
    assert "| Lost | 1 | – | – | " in lost and "6 test examples (Lost: 0);" in lost
    facts = {"seconds": 0.5, "damping": "10 λ0", "notes": ["one column is late", "scale 10"]}
    table = markdown_table(comparison, {"Grad-Dot": facts}, ["A note."])
    assert "| Grad-Dot | 2 | " in table and "| 10 λ0 | 0.50 |" in table and table.endswith("A note.\n")
    assert "Grad-Dot: one column is late.\n\nGrad-Dot: scale 10.\n" in table
    assert "Reliability ceiling at the last step: 0." in table
