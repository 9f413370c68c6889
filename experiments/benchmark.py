"""Speed and memory, as ratios measured in one process: `python experiments/benchmark.py`, a JSON object a line."""

from __future__ import annotations

import importlib.util
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from hydra import compose, initialize_config_dir

from experiments import stages
from experiments.app import quiet
from experiments.errors import CONFIG_DIR
from fimo.further_training.plan import Plan
from fimo.further_training.sweep import further_train
from fimo.problem import Problem

ROUNDS = 7
EPOCHS = 10
LOOP_RUNS = 5  # of the 101: a loop's time per run doesn't depend on how many there are


def main() -> None:
    """Further training on energy with one and two threads, then the memory of a whole run."""
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"paths.output_dir={folder}/outputs", f"paths.results_dir={folder}/results"]
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            cfg = compose("config", ["experiment=energy", "final.epochs=1", *paths])
        problem = stages.problem_of(cfg)
        for threads in (1, 2):
            torch.set_num_threads(threads)
            report(further_training(problem), threads=threads)
        report(whole_run(["experiment=energy", "size=laptop", *paths]), threads=torch.get_num_threads())


def report(measured: dict, threads: int) -> None:
    """Print one measurement with the machine it was made on."""
    print(json.dumps({**measured, "threads": threads, "device": f"{platform.machine()} CPU"}), flush=True)


def further_training(problem: Problem) -> dict:
    """All runs of one seed in lockstep, against a plain loop over single runs with a DataLoader, in turn."""
    naive = load_naive()
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


def load_naive() -> ModuleType:
    """The plain twins of the tests."""
    path = Path(__file__).parents[1] / "tests" / "naive.py"
    spec = importlib.util.spec_from_file_location("naive", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
