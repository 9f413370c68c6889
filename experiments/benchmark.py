"""Speed and memory, as ratios measured in one process: `python experiments/benchmark.py`, a JSON object a line.

`python experiments/benchmark.py methods` measures the methods alone, `further_training` and `memory` the others.
"""

from __future__ import annotations

import importlib
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from hydra import compose, initialize_config_dir

from experiments.app import quiet
from experiments.errors import CONFIG_DIR
from experiments.question import Question
from fimo.attribution import attribute
from fimo.further_training.plan import Plan
from fimo.further_training.sweep import further_train
from fimo.gradients.source import GradientSource
from fimo.preconditioners.conjugate_gradients import ConjugateGradients
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.exact_gauss_newton import ExactGaussNewton
from fimo.preconditioners.kronecker_factors import KroneckerFactors
from fimo.preconditioners.mean_of_inverses import MeanOfInverses
from fimo.preconditioners.neumann_series import NeumannSeries
from fimo.problem import Problem

ROUNDS = 7
EPOCHS = 10
DEPTH, BATCH = 5000, 128
LISSA_STEPS = 100  # of the plain recursion, scaled to its depth
FOUR = (1, 10, 100, 1000)
MOST = 300  # iterations of the plain conjugate gradients: a lower bound on their time where they need more
LOOP_RUNS = 5  # of the 101: a loop's time per run doesn't depend on how many there are


def main() -> None:
    """The methods, further training with one and two threads, the memory of a whole run; or those that are named."""
    quiet()
    parts = sys.argv[1:] or ["methods", "further_training", "memory"]
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"paths.output_dir={folder}/outputs", f"paths.results_dir={folder}/results"]
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            cfg = compose(
                "config", ["experiment=energy", *paths, *(["final.epochs=1"] if "methods" not in parts else [])]
            )
        problem = Question(cfg).problem
        if "methods" in parts:
            torch.set_num_threads(1)
            for measured in methods(problem.to(dtype=torch.float64)):
                report(measured, threads=1)
        if "further_training" in parts:
            for threads in (1, 2):
                torch.set_num_threads(threads)
                report(further_training(problem), threads=threads)
        if "memory" in parts:
            report(whole_run(["experiment=energy", "size=laptop", *paths]), threads=torch.get_num_threads())


def report(measured: dict, threads: int) -> None:
    """Print one measurement with the machine it was made on."""
    print(json.dumps({**measured, "threads": threads, "device": f"{platform.machine()} CPU"}), flush=True)


def methods(problem: Problem) -> Iterator[dict]:
    """Scores of each method, against plain loops for one test example, scaled to all of them."""
    λ0, tests = GradientSource(problem).lambda_0, len(problem.test)
    damping, share = Damping(1000 * λ0), Damping(0.1, "mean_eigenvalue")
    lissa = NeumannSeries("LiSSA", "gauss_newton", damping, DEPTH, BATCH, [10])
    compared: dict[str, tuple[Callable[[], object], Callable[[], float]]] = {
        "Exact-GN, 1, 10, 100 and 1000 λ0": (
            partial(exact, problem, FOUR),
            partial(loop_cg, problem, [s * λ0 for s in FOUR]),
        ),
        f"LiSSA, depth {DEPTH}": (partial(attribute, problem, lissa), partial(loop_lissa, problem, damping.scale)),
        "DataInf": (partial(attribute, problem, MeanOfInverses("DataInf", share)), partial(loop_datainf, problem)),
        "EK-FAC": (partial(attribute, problem, KroneckerFactors("EK-FAC", share)), partial(loop_ekfac, problem)),
        "CG, 1000 λ0, 1e-5": (
            partial(attribute, problem, ConjugateGradients("CG", damping)),
            partial(loop_cg, problem, [damping.scale]),
        ),
    }
    for what, (fast, slow) in compared.items():
        fast()  # once to warm up
        spent, loop = statistics.median(seconds(fast) for _ in range(ROUNDS)), slow()
        size = f"energy, {tests} × {len(problem.train)}, float64; the loop: one test example, scaled to {tests}"
        yield {
            "what": what,
            "size": size,
            "seconds": round(spent, 3),
            "loop": round(loop, 1),
            "ratio": round(loop / spent),
        }


def first_gradient(problem: Problem) -> torch.Tensor:
    """The first test example's, flat."""
    return load("naive").gradient(problem, *problem.test[torch.tensor(0)])


def loop_cg(problem: Problem, dampings: Sequence[float]) -> float:
    """Seconds of plain conjugate gradients for all test examples, from one."""
    solve, g = load("naive_solvers").conjugate_gradients, first_gradient(problem)
    return len(problem.test) * seconds(lambda: [solve(problem, g, damping, 1e-5, MOST) for damping in dampings])


def loop_lissa(problem: Problem, damping: float) -> float:
    """Seconds of the plain recursion for all test examples and its whole depth, from one and some steps."""
    batches = list(torch.randint(len(problem.train), (LISSA_STEPS, BATCH)))
    recursion, g = load("naive_methods").influence_by_batches, first_gradient(problem)
    spent = seconds(lambda: recursion(problem, g, batches, damping, 10.0))
    return len(problem.test) * spent * DEPTH / LISSA_STEPS


def loop_datainf(problem: Problem) -> float:
    """Seconds of all training gradients and, from one test example, of P times each test gradient."""
    plain, g = load("naive_solvers"), first_gradient(problem)
    gradients: list = []
    once = seconds(lambda: gradients.extend(plain.training_gradients(problem)))
    return once + len(problem.test) * seconds(lambda: plain.mean_of_inverses(problem, g, gradients, 0.1))


def loop_ekfac(problem: Problem) -> float:
    """Seconds of the bases and, from one test example, of P times each test gradient."""
    plain, g = load("naive_solvers"), first_gradient(problem)
    bases: list = []
    once = seconds(lambda: bases.extend(plain.kronecker_bases(problem)))
    return once + len(problem.test) * seconds(lambda: plain.kronecker_factors(problem, g, bases, 0.1))


def exact(problem: Problem, scales: Sequence[float]) -> None:
    """Scores with several dampings from one fit."""
    method = ExactGaussNewton("Exact-GN", Damping(1)).fit(problem)
    source = GradientSource(problem)
    test, left_out = source(problem.test), source(problem.train.keep(problem.left_out))
    for scale in scales:
        (method.damped(Damping(scale, "lambda_0")) @ test).products(left_out)


def further_training(problem: Problem) -> dict:
    """All runs of one seed in lockstep, against a plain loop over single runs with a DataLoader, in turn."""
    naive = load("naive")
    optimizer = partial(torch.optim.SGD, lr=3e-2)
    plan = Plan(optimizer=partial(optimizer, fused=True), epochs=EPOCHS, batch_size=128, leave_out="every_step")
    runs = 1 + len(problem.left_out)

    def lockstep() -> None:
        list(further_train(problem, plan, [0], lambda seed: True))

    def loop() -> None:
        for left_out in problem.left_out[:LOOP_RUNS].tolist():
            naive.further_training(problem, optimizer, EPOCHS, 128, "every_step", 0, left_out)

    rounds = [(seconds(loop) / LOOP_RUNS * runs, seconds(lockstep)) for _ in range(ROUNDS + 1)][1:]
    return {
        "what": "further training, loop / lockstep",
        "size": f"energy, {runs} runs, {EPOCHS} epochs, every_step, float32",
        "seconds": round(statistics.median(fast for _, fast in rounds), 3),
        "ratio": round(statistics.median(slow / fast for slow, fast in rounds), 2),
        "ratios": [round(slow / fast, 2) for slow, fast in rounds],
    }


def whole_run(overrides: list[str]) -> dict:
    """Seconds and peak memory of a `run.py` of its own."""
    command = [sys.executable, str(Path(__file__).with_name("run.py")), *overrides]
    spent = seconds(lambda: subprocess.run(command, check=True, capture_output=True))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return {"what": "run.py", "size": " ".join(overrides[:2]), "seconds": round(spent, 1), "peak_GiB": round(peak, 3)}


def seconds(work: Callable[[], object]) -> float:
    """How long some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def load(name: str) -> ModuleType:
    """The plain twins of the tests."""
    folder = str(Path(__file__).parents[1] / "tests")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


if __name__ == "__main__":
    main()
