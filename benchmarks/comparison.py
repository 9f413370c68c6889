"""The comparison of many seeds, from their files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks.timing import Line, measured, seconds
from fimo.comparison.claims import claims
from fimo.comparison.tables import GROUP_SIZES, compare
from fimo.effect import ADJUSTMENTS, effect
from fimo.pipeline import formats
from fimo.reference import comparison as reference

# As many as energy at size=paper has, but for the steps: 50 in place of 500, to which time is proportional.
SEEDS, STEPS, TESTS, LEFT_OUT, METHODS = 100, 50, 77, 100, 8


def comparison() -> Iterator[Line]:
    """One line."""
    with made_up(SEEDS, STEPS) as (scores, seeds):
        size = f"{SEEDS} seeds × {STEPS} steps × {TESTS} test × {LEFT_OUT} left-out examples, {METHODS} methods, files"
        yield measured(
            "comparison", size, partial(_all, scores, seeds), partial(_loops, scores, seeds), False, rounds=3
        )


def _all(scores: dict[str, xr.DataArray], seeds: list[xr.Dataset]) -> None:
    compare(scores, seeds)
    claims(scores, seeds, np.random.default_rng(0))


def _loops(scores: dict[str, xr.DataArray], seeds: list[xr.Dataset]) -> float:
    """Seconds of explicit loops for all steps, test examples, methods and adjustments, from one of each kind."""
    few = [each.isel(step=[0], test=slice(0, 2)).load() for each in seeds]
    effects = [effect(each, "centred").values for each in few]
    score = scores["0"].values[None, :2]
    groups = [size for size in GROUP_SIZES if size <= len(seeds)]
    spent = seconds(lambda: reference.comparison(score, effects, "centred", groups))
    return spent * seeds[0].sizes["step"] * TESTS / 2 * len(scores) * len(ADJUSTMENTS)


@contextmanager
def made_up(count: int, steps: int) -> Iterator[tuple[dict[str, xr.DataArray], list[xr.Dataset]]]:
    """Scores, and open files of seeds of a made-up truth with noise."""
    random = np.random.default_rng(0)
    axes = {"test": np.arange(TESTS), "left_out": np.arange(LEFT_OUT)}
    epochs = {"step": np.arange(1, steps + 1), "epoch": ("step", np.arange(1.0, steps + 1))}
    truth = random.normal(size=(steps, TESTS, LEFT_OUT))
    scores = {
        str(k): xr.DataArray(truth[0] + random.normal(size=truth[0].shape), axes, ("test", "left_out"))
        for k in range(METHODS)
    }
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(count):
            full = random.random((steps, TESTS))
            losses = xr.Dataset(
                {
                    "loss_before": ("test", random.random(TESTS)),
                    "loss_full": (("step", "test"), full),
                    "loss_left_out": (
                        ("step", "test", "left_out"),
                        full[..., None] + 1e-4 * (truth + random.normal(size=truth.shape)),
                    ),
                },
                coords={**epochs, **axes},
            )
            (Path(folder) / f"{seed}.nc").write_bytes(formats.from_dataset(losses))
        seeds = [formats.open_dataset(Path(folder) / f"{seed}.nc") for seed in range(count)]
        yield scores, seeds
        for losses in seeds:
            losses.close()
