"""Claims against explicit loops, their standard errors against repeated measurements, and what is read for them."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from made_up import noisy

from fimo.comparison import claims as module
from fimo.comparison import seed_products
from fimo.comparison.claims import ADAM, CLAIMS, adam_claim, claims
from fimo.pipeline.formats import from_dataset, open_dataset
from fimo.reference import comparison as reference

NAMES = [claim.name for claim in CLAIMS]


def broken(scores, seeds):
    """A score that depends on the step, one that is NaN for a test example, a diverged run."""
    at_step = xr.concat([scores["CG (λ = 10 λ0)"], scores["TRAK"]] * 2, "step").assign_coords(step=seeds[0]["step"])
    lost = scores["TRAK"].where(scores["TRAK"]["test"] != 1)
    seeds[-1]["loss_left_out"][:, :, 3] = np.nan
    return {**scores, "Exact-GN": at_step.isel(step=[3, 1, 0, 2]), "TRAK": lost}


def as_arrays(scores, seeds, kept):
    """For the slow twin: scores `[step, test, left_out]`, and losses with the axis of seeds in front."""
    steps = seeds[0].sizes["step"]
    plain = {
        label: (each.sortby("step") if "step" in each.dims else each.expand_dims(step=steps)).values[..., kept]
        for label, each in scores.items()
    }
    before, full, left_out = (np.stack([s[name] for s in seeds]) for name in seeds[0].data_vars)
    return plain, before, full, left_out[..., kept]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_claims_equal_the_loops(count, monkeypatch):
    monkeypatch.setattr(module, "REPLICATES", 8)
    scores, seeds = noisy(count, 4, 5, 8, seed=count)
    scores = broken(scores, seeds)
    fast = claims(scores, seeds, np.random.default_rng(3))
    random, arrays = np.random.default_rng(3), as_arrays(scores, seeds, kept=np.arange(8) != 3)
    tests, draws = (reference.resampling_weights(n, 8, 0.1, random) for n in (5, count))
    values = np.array(
        [
            reference.claim_statistics(reference.claim_curves(*arrays, w, v), list(scores), 4)
            for v, w in zip(tests, draws, strict=True)
        ]
    )
    error = np.sqrt(np.mean((values[1:] - values[0]) ** 2, 0)) / 0.1
    measurable = slice(None) if count > 1 else slice(-1)
    np.testing.assert_allclose(fast["estimate"][measurable], values[0][measurable], rtol=0, atol=1e-12)
    np.testing.assert_allclose(fast["standard_error"][measurable], error[measurable], rtol=0, atol=1e-12)
    assert (fast["verdict"].iloc[-1] == "not measured") == (count == 1)


def test_adam_claim_equals_the_loops(monkeypatch):
    monkeypatch.setattr(module, "REPLICATES", 8)
    (scores, sgd), (_, adam) = noisy(3, 4, 5, 8, seed=0), noisy(2, 4, 5, 8, seed=1)
    scores = broken(scores, adam)
    table = adam_claim((scores, sgd), (scores, adam), np.random.default_rng(3))
    random, kept = np.random.default_rng(3), np.arange(8) != 3
    tests = reference.resampling_weights(5, 8, 0.1, random)
    values = []
    for seeds in (sgd, adam):
        draws, arrays = reference.resampling_weights(len(seeds), 8, 0.1, random), as_arrays(scores, seeds, kept)
        curves = [reference.claim_curves(*arrays, w, v) for v, w in zip(tests, draws, strict=True)]
        values.append(
            [np.mean([value for key, value in curve.items() if key[0] == "centred"]) for curve in curves],
        )
    difference = np.subtract(values[1], values[0])
    assert table["estimate"].item() == pytest.approx(difference[0], abs=1e-12)
    error = np.sqrt(np.mean((difference[1:] - difference[0]) ** 2)) / 0.1
    assert table["standard_error"].item() == pytest.approx(error, abs=1e-12)
    assert table[["claim", "n_test", "n_seeds"]].values.tolist() == [[ADAM.name, 5, 2]]


@pytest.mark.parametrize("count, noise", [(2, 1.0), pytest.param(3, 1.0, marks=pytest.mark.slow), (8, 2.0)])
def test_standard_errors_are_the_spread_of_repeated_measurements(count, noise):
    """Of estimates over 25 made-up truths; the plain bootstrap tells 2 to 3 times the first, 7 to 15 times the last."""
    tables = []
    for seed in range(25):
        scores, seeds = noisy(count, 2, 15, 30, seed=100 + seed, noise=noise)
        tables.append(claims(scores, seeds, np.random.default_rng(seed)))
    spread = np.std([table["estimate"] for table in tables], axis=0, ddof=1)
    told = np.sqrt(np.mean([table["standard_error"] ** 2 for table in tables], axis=0))
    assert ((told / spread > 0.7) & (told / spread < [*[1.6] * 6, 2.4])).all(), told / spread


def test_few_steps_are_read_one_at_a_time(tmp_path, monkeypatch):
    scores, seeds = noisy(3, 60, 6, 10, seed=0)
    for number, seed in enumerate(seeds):
        (tmp_path / f"{number}.nc").write_bytes(from_dataset(seed))
    opened, read, inner = [open_dataset(tmp_path / f"{number}.nc") for number in range(3)], [], xr.Dataset.load

    def spy(dataset):
        read.append(inner(dataset))
        return read[-1]

    monkeypatch.setattr(xr.Dataset, "load", spy)
    table = claims(scores, opened, np.random.default_rng(0))
    steps = [int(losses["step"][0]) for losses in read]
    assert {losses["loss_left_out"].shape for losses in read} == {(1, 6, 10)} and len(steps) <= 3 * module.STEPS
    assert steps[0] == 1 and steps[-1] == 60 and len(set(steps)) >= module.STEPS - 3
    assert not any(losses["loss_left_out"].variable._in_memory for losses in opened)
    # The steps themselves, in memory and without a choice.
    alone = [losses.sel(step=sorted(set(steps))) for losses in seeds]
    pd.testing.assert_frame_equal(table, claims(scores, alone, np.random.default_rng(0)))


def test_blocks_of_weights_change_nothing(monkeypatch):
    scores, seeds = noisy(5, 2, 6, 10, seed=0)
    whole = claims(scores, seeds, np.random.default_rng(0))
    monkeypatch.setattr(seed_products, "WEIGHTS_AT_ONCE", 7)
    pd.testing.assert_frame_equal(claims(scores, seeds, np.random.default_rng(0)), whole, rtol=1e-9)
