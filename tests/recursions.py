"""Further training as methods know it that depend on it, and the problems that they are tried on."""

import numpy as np

from fimo.optimizers import LinearisedSGD

PROBLEMS = [
    ("regression", "mlp"),
    ("classification", "mlp"),
    ("classification", "convolutional"),
    ("classification", "transformer"),
    ("classification", "tied"),
]
STEPS, RATE = [1, 2, 7, 40], 0.05
SGD = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "dampening and decay": {"momentum": 0.7, "dampening": 0.3, "weight_decay": 0.1},
    "Nesterov": {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
}
PATHS = {"dual": 2**30, "polynomials": 0}


def recursion(steps=STEPS, rate=RATE, **options):
    return LinearisedSGD(np.full(max(steps), rate), steps, **options)


def close(scores, expected, rtol=1e-8):
    np.testing.assert_allclose(scores, expected, rtol=rtol, atol=rtol * np.abs(expected).max())
