"""Whether the effect of a left-out example survives matrix products in bfloat16."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch

from benchmarks.timing import Line, machine
from fimo.comparison.agreement import Mean, cosine
from fimo.effect import gold_standard
from fimo.further_training.seeds import train_seeds
from fimo.further_training.settings import FurtherTraining
from fimo.pipeline.run import Run
from fimo.problem import Problem

EXPERIMENTS: dict[str, tuple[str, ...]] = {"energy": ("further.epochs=10",), "reviews": ("further.epochs=2",)}
# Of the parameters, and of the matrix products.
KINDS = {
    "float64": (torch.float64, None),
    "float32": (torch.float32, None),
    "bfloat16": (torch.float32, torch.bfloat16),
}


def precision(make_run: Callable[..., Run]) -> Iterator[Line]:
    """A line for each experiment and precision below float64: mean cosine of centred effects with those of float64."""
    for experiment, overrides in EXPERIMENTS.items():
        run = make_run(f"experiment={experiment}", *overrides)
        problem, training = run.problem, run.training
        measured = {
            kind: _effects(problem, replace(training, dtype=dtype, autocast=cast))
            for kind, (dtype, cast) in KINDS.items()
        }
        truth, spent = measured.pop("float64")
        for kind, (effects, seconds) in measured.items():
            cosines = [float(Mean.of(cosine(a, b)).mean) for a, b in zip(effects, truth, strict=True)]
            size = f"{experiment}: centred effects at the first and last step, cosine with float64's"
            line = {"what": f"further training in {kind}", "size": size, "cosines": np.round(cosines, 4).tolist()}
            yield {**line, "seconds": round(seconds, 1), "ratio": round(spent / seconds, 2), **machine(problem.device)}


def _effects(problem: Problem, training: FurtherTraining) -> tuple[list[np.ndarray], float]:
    """Centred effects `[test, left_out]` of one seed at the first and the last evaluated step, and seconds."""
    start = time.perf_counter()
    ((_, losses, _),) = train_seeds(problem, training, [0])
    seconds = time.perf_counter() - start
    return [gold_standard([losses], place).values for place in (0, -1)], seconds
