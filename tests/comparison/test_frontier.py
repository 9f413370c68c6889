"""What quality costs: against explicit loops, and cases whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from made_up import noisy, score_of, simulated
from matplotlib.figure import Figure

from fimo.comparison.area import agreements, area, ceiling_at, centred_gold
from fimo.comparison.frontier import Estimate, on_frontier, quality_table, reliability_of_fewer
from fimo.comparison.tables import compare
from fimo.effect import average, effect
from fimo.report.frontier import FRONTIER, draw_frontier


def reliability_of(seeds):
    return compare({"truth": score_of(np.zeros((6, 30)) + np.arange(30), seeds[0])}, seeds).reliability


def test_the_spearman_brown_formula_of_fewer_seeds():
    table = pd.DataFrame({"reliability": [0.0, 0.6, 1.0], "ceiling": np.sqrt([0.0, 0.6, 1.0])})
    single = reliability_of_fewer(table, 4, 1)["reliability"]
    # The variance of the truth is 1, that of the noise of one seed v: r(m) = 1/(1 + v/m).
    v = 4 * (1 / 0.6 - 1)
    np.testing.assert_allclose(single, [0, 1 / (1 + v), 1])
    np.testing.assert_allclose(reliability_of_fewer(table, 4, 3)["ceiling"], np.sqrt([0, 1 / (1 + v / 3), 1]))
    pd.testing.assert_frame_equal(reliability_of_fewer(table, 4, 4), table)


def test_shares_are_those_of_the_area_table():
    scores, seeds = noisy(3, 4, 6, 20, seed=1)
    reliability = compare(scores, seeds).reliability
    estimates = [Estimate(label, each, 10.0 - number) for number, (label, each) in enumerate(scores.items())]
    table = quality_table(estimates, dict(enumerate(seeds)), reliability).set_index("method")
    assert table["processor_seconds"].is_monotonic_increasing
    gold = centred_gold(seeds)
    top = area(ceiling_at(reliability, gold))
    for label, each in scores.items():
        shares = area(agreements(each, gold)) / top
        assert table.loc[label, "share_mean"] == pytest.approx(float(shares.mean()))
        assert table.loc[label, "share_sem"] == pytest.approx(float(shares.std("test", ddof=1)) / 6**0.5)


def test_one_seed_reaches_the_root_of_its_own_reliability():
    """Truth with variance 1 and noise with variance v: one seed's cosine with the truth is √(1/(1 + v))."""
    _, seeds = simulated(8, noise=1.0)
    alone = average(effect(seeds[2].expand_dims("seed"), "centred"), "centred")
    own = Estimate("one seed", alone, 1.0, 2)
    table = quality_table([own], dict(enumerate(seeds)), reliability_of(seeds))
    assert table["share_mean"][0] == pytest.approx(0.5**0.5, abs=0.06)
    # Held against a mean that it is a part of it would reach more.
    shared = quality_table([Estimate("one seed", alone, 1.0)], dict(enumerate(seeds)), reliability_of(seeds))
    assert shared["share_mean"][0] > table["share_mean"][0] + 0.03


def test_a_seed_without_others_reaches_nothing_that_is_known():
    _, seeds = simulated(2, noise=0.1)
    estimate = Estimate("one seed", score_of(np.ones((6, 30)), seeds[0]), 1.0, 0)
    table = quality_table([estimate], {0: seeds[0]}, reliability_of(seeds))
    assert table["share_mean"].isna().all() and not table["on_frontier"].any()


def test_what_diverged_is_left_out():
    """A seed whose full run diverged is none, and a left-out example that diverged once is left out of all."""
    scores, seeds = noisy(4, 4, 6, 20, seed=1)
    lost = seeds[1].assign(loss_full=seeds[1]["loss_full"] * np.nan)
    column = seeds[2].copy(deep=True)
    column["loss_left_out"][..., 5] = np.nan
    given = {3: seeds[0], 4: lost, 5: column, 6: seeds[3]}
    reliability = compare(scores, [*given.values()]).reliability
    alone = centred_gold([seeds[3]])
    estimates = [Estimate("DataInf", scores["DataInf"], 1.0), Estimate("one seed", alone, 2.0, 6)]
    table = quality_table(estimates, given, reliability).set_index("method")
    without = [losses.isel(left_out=np.arange(20) != 5) for losses in (seeds[0], seeds[2], seeds[3])]
    expected = quality_table(estimates, dict(zip([3, 5, 6], without, strict=True)), reliability).set_index("method")
    np.testing.assert_allclose(table["share_mean"], expected["share_mean"])
    assert table["share_mean"].notna().all()


@pytest.mark.parametrize(
    ("costs", "shares", "expected"),
    [
        ([1, 2, 3], [0.1, 0.5, 0.9], [True, True, True]),
        ([1, 2, 3], [0.5, 0.5, 0.4], [True, False, False]),
        ([2, 2, 1], [0.5, 0.6, -0.1], [False, True, True]),
        ([1, np.nan, 3], [np.nan, 0.9, 0.4], [False, False, True]),
    ],
)
def test_the_frontier(costs, shares, expected):
    table = pd.DataFrame({"processor_seconds": costs, "share_mean": shares})
    assert on_frontier(table).tolist() == expected


def test_a_panel_has_a_marker_for_each_and_the_frontier():
    table = pd.DataFrame(
        {
            "method": ["Random", "CG", "mine"],
            "share_mean": [-0.02, 0.7, 0.6],
            "share_sem": [0.01, 0.02, 0.02],
            "processor_seconds": [0.001, 3.0, 40.0],
        }
    )
    axes = Figure().subplots()
    draw_frontier(axes, table.assign(on_frontier=on_frontier(table)))
    assert axes.get_legend_handles_labels()[1] == [FRONTIER, "Random", "CG", "mine"]
    (line,) = [line for line in axes.lines if line.get_label() == FRONTIER]
    assert line.get_xdata().tolist() == [0.001, 3.0, 40.0] and line.get_ydata().tolist() == [-0.02, 0.7, 0.7]
    assert axes.get_xscale() == "log" and axes.get_ylim()[0] < -0.02
