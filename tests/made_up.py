"""Losses and scores made up, for the comparison."""

import numpy as np
import xarray as xr

STEPS, TESTS, LEFT_OUT = 4, 6, 30


def losses(effects, moved=0.0):
    """One seed with `effects [step, test, left_out]`; further training itself moves the loss by `moved`."""
    effects = np.asarray(effects)
    steps, tests, left_out = effects.shape
    full = np.full((steps, tests), 5 + moved)
    return xr.Dataset(
        {
            "loss_before": ("test", np.full(tests, 5.0)),
            "loss_full": (("step", "test"), full),
            "loss_left_out": (("step", "test", "left_out"), full[..., None] + effects),
        },
        coords={
            "step": np.arange(1, steps + 1),
            "epoch": ("step", np.arange(1.0, steps + 1)),
            "test": np.arange(tests),
            "left_out": np.arange(left_out) * 3,
        },
    )


def score(values, of):
    """One vector for all test examples, or one for each."""
    shape = (of.sizes["test"], of.sizes["left_out"])
    coords = {axis: of[axis] for axis in ("test", "left_out")}
    return xr.DataArray(np.broadcast_to(values, shape), coords, ("test", "left_out"))


def noisy(count, steps, tests, left_out, seed, noise=1.0):
    """Seeds of a made-up truth, and scores that share something with it."""
    random = np.random.default_rng(seed)
    truth = random.normal(size=(steps, tests, left_out)) + 2 * random.normal(size=(1, tests, left_out)) + 0.5
    seeds = [losses(truth + noise * random.normal(size=truth.shape), moved=0.7) for _ in range(count)]
    labels = ("Grad-Dot", "DataInf", "CG (λ = 10 λ0)", "TRAK", "Exact-GN")
    values = {label: truth[0] + (1 + k) * random.normal(size=(tests, left_out)) for k, label in enumerate(labels)}
    return {label: score(value, seeds[0]) for label, value in values.items()}, seeds


def truth(random):
    return random.normal(size=(STEPS, TESTS, LEFT_OUT))


def seed_losses(effects, random):
    """Losses of one seed whose eq. 17 is `effects`, with a further-training effect common to all left-out runs."""
    before, full = random.normal(size=TESTS) + 5, random.normal(size=(STEPS, TESTS)) + 3
    return xr.Dataset(
        {
            "loss_before": ("test", before),
            "loss_full": (("step", "test"), full),
            "loss_left_out": (("step", "test", "left_out"), full[:, :, None] + effects),
        },
        coords={
            "step": np.arange(1, STEPS + 1) * 10,
            "epoch": ("step", np.arange(1.0, STEPS + 1)),
            "test": np.arange(TESTS),
            "left_out": np.arange(LEFT_OUT) * 3,
        },
    )


def simulated(seeds, noise, seed=0):
    random = np.random.default_rng(seed)
    a = truth(random)
    return a, [seed_losses(a + noise * random.normal(size=a.shape), random) for _ in range(seeds)]


def score_of(values, losses):
    return xr.DataArray(values, {k: losses[k] for k in ("test", "left_out")}, ("test", "left_out"))
