"""Agreement over all amounts of further training, against explicit loops and cases whose answer is known."""

import numpy as np
import pytest
import xarray as xr
from made_up import noisy
from matplotlib.figure import Figure

from fimo.comparison.agreement import cosine, pearson
from fimo.comparison.area import (
    BY_AMOUNT,
    BY_ONE,
    agreements,
    area,
    beyond_table,
    centred_gold,
    cross_validated_damping,
)
from fimo.comparison.tables import compare
from fimo.effect import average, effect
from fimo.report.damping_map import draw_dampings

EPOCHS = [1.0, 2.0, 4.0, 16.0]


def curve(values, epochs):
    values = np.asarray(values, dtype=float)
    axes = ("damping", "step", "test")[-values.ndim :]
    return xr.DataArray(values, dims=axes).assign_coords(epoch=("step", epochs))


@pytest.fixture
def measured():
    scores, seeds = noisy(3, 4, 6, 20, seed=1)
    seeds = [each.assign_coords(epoch=("step", EPOCHS)) for each in seeds]
    return scores, seeds, centred_gold(seeds)


def test_the_gold_standard_is_that_of_all_seeds(measured):
    _, seeds, gold = measured
    xr.testing.assert_allclose(gold, average(effect(xr.concat(seeds, "seed"), "centred"), "centred"))
    assert gold["epoch"].values.tolist() == EPOCHS
    alone = centred_gold([each.isel(step=[1]) for each in seeds])  # evaluated once only
    xr.testing.assert_allclose(alone, gold.isel(step=[1]))


@pytest.mark.parametrize("measure", [cosine, pearson])
def test_agreements_are_those_of_each_step_and_example(measured, measure):
    scores, _, gold = measured
    found = agreements(scores["DataInf"], gold, measure)
    moving = xr.concat([scores["DataInf"], scores["TRAK"]], "step").assign_coords(step=gold["step"][:2])
    later = agreements(moving, gold.isel(step=slice(2)), measure)
    for j in range(6):
        for step in range(4):
            expected = measure(scores["DataInf"].values[j], gold.values[step, j])
            np.testing.assert_allclose(found[step, j], expected)
        np.testing.assert_allclose(later[1, j], measure(scores["TRAK"].values[j], gold.values[1, j]))


def test_agreements_take_examples_by_their_name(measured):
    scores, _, gold = measured
    shuffled = scores["CG (λ = 10 λ0)"].isel(test=[3, 1, 0, 2, 5, 4], left_out=slice(None, None, -1))
    xr.testing.assert_allclose(agreements(shuffled, gold), agreements(scores["CG (λ = 10 λ0)"], gold))


def test_their_means_are_those_of_the_curves(measured):
    scores, seeds, gold = measured
    curves = compare(scores, seeds).curves.query("adjustment == 'centred' and method == 'TRAK'")
    np.testing.assert_allclose(agreements(scores["TRAK"], gold).mean("test"), curves["cosine_mean"])


def test_areas():
    np.testing.assert_allclose(area(curve(np.full((4, 2), 0.3), EPOCHS)), 0.3)
    # Linear in log₂ of the amount: from 0 over 1 and 2 to 4.
    np.testing.assert_allclose(area(curve(np.array([[0.0], [1], [2], [4]]), EPOCHS)), 2)
    np.testing.assert_allclose(area(curve([[0.7, 0.2]], [3.0])), [0.7, 0.2])


def test_a_damping_is_chosen_on_the_other_half():
    """Even test examples like the first damping at first, odd ones the second: each half gets the other's choice."""
    random = np.random.default_rng(0)
    values = random.uniform(0.4, 0.5, size=(2, 3, 4))
    values[0, 0, ::2], values[1, 0, 1::2] = 0.9, 0.9
    values[1, 1:] = 0.8
    found = cross_validated_damping(curve(values, [1.0, 2, 4]).assign_coords(damping=[0.1, 10.0]))
    by_amount = found[BY_AMOUNT].transpose("step", "test").values
    assert (by_amount[0] < 0.5).all() and (by_amount[1:] == 0.8).all()
    np.testing.assert_array_equal(found[BY_ONE].transpose("step", "test").values[:, :2], values[1][:, ::2])


def test_the_table_of_a_perfect_and_of_a_useless_score(measured):
    _, _, gold = measured
    random = np.random.default_rng(2)
    scores = {"perfect": 3 * gold, "useless": gold.copy(data=random.normal(size=gold.shape))}
    damped = xr.concat([gold.isel(step=0, drop=True), -gold.isel(step=0, drop=True)], "damping")
    damped = damped.drop_vars("epoch", errors="ignore").assign_coords(damping=[1.0, 2.0])
    table = beyond_table(scores, damped, gold, gold["epoch"].copy(data=np.full(4, 0.5))).set_index("method")
    assert list(table.index) == ["perfect", "useless", BY_AMOUNT, BY_ONE]
    np.testing.assert_allclose(table.loc["perfect", ["cosine area_mean", "Pearson area_mean", "lowest share"]], 2)
    assert abs(table.loc["useless", "cosine area_mean"]) < 0.5
    np.testing.assert_allclose(table.loc[[BY_AMOUNT, BY_ONE], "first cosine_mean"], 1)


def test_the_map_has_the_matched_damping_on_it():
    axes = Figure().subplots()
    cosines = curve(np.random.default_rng(0).uniform(size=(5, 4, 3)), [1.0, 2, 5, 30])
    cosines = cosines.assign_coords(damping=np.logspace(-2, 2, 5))
    draw_dampings(axes, (cosines.mean("test"), xr.DataArray([10, 5, 2, 0.3], dims="step")))
    assert axes.get_xscale() == axes.get_yscale() == "log"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [10, 5, 2, 0.3])
    np.testing.assert_allclose(axes.collections[0].get_array().reshape(5, 4), cosines.mean("test"))
