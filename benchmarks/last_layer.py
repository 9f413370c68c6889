"""The last layer alone as θ: what is frozen below it computed once per row, against anew in each pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from benchmarks.timing import Line, measured, seconds
from benchmarks.training import lockstep
from fimo.gradients.source import GradientSource
from fimo.models import frozen_part
from fimo.pipeline.run import Run
from fimo.problem import Problem

# By experiment: overrides. With dropout in the frozen part it is drawn, and computed, in each pass.
QUIET = "facts.tiny.hidden_dropout_prob=0", "facts.tiny.attention_probs_dropout_prob=0"
SIZES: dict[str, tuple[str, ...]] = {"diabetes": (), "digits": (), "reviews": QUIET}
EPOCHS, ROUNDS = 10, 3


def last_layer(make_run: Callable[..., Run]) -> Iterator[Line]:
    """Two lines for each network: some epochs of further training, and the gradients of all training rows."""
    for experiment, overrides in SIZES.items():
        run = make_run(f"experiment={experiment}", "final.epochs=1", "parameters=last_layer", *overrides)
        problem, training = run.problem, replace(run.training, epochs=EPOCHS)
        anew = partial(seconds, partial(_anew, partial(lockstep, problem, training)))
        size = (
            f"{experiment}: {problem.size} parameters of θ, {1 + len(problem.left_out)} runs, {EPOCHS} epochs, float32"
        )
        yield measured("the last layer", size, partial(lockstep, problem, training), anew, limit=False, rounds=ROUNDS)
        stored, rows = problem.precomputed, len(problem.train)
        twin = partial(seconds, partial(_gradients, problem))
        size = f"{experiment}: gradients of {rows} rows, what is frozen stored before"
        yield measured("the last layer", size, partial(_gradients, stored), twin, limit=False, rounds=ROUNDS)


def _gradients(problem: Problem) -> None:
    for _ in GradientSource(problem).blocks(problem.train):
        pass


def _anew(work: Callable[[], None]) -> None:
    with _budget(0):
        work()


@contextmanager
def _budget(stored_bytes: int) -> Iterator[None]:
    before, frozen_part.STORED_OUTPUT_BYTES = frozen_part.STORED_OUTPUT_BYTES, stored_bytes
    try:
        yield
    finally:
        frozen_part.STORED_OUTPUT_BYTES = before
