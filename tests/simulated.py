"""Made-up losses of further training whose effects are known."""

import numpy as np
import xarray as xr

STEPS, TESTS, LEFT_OUT = 4, 6, 30


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
