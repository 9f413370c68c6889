"""What is lost when runs are killed? Some are, at random moments, and run again; two run side by side: `make soak`.

`python -m benchmarks.soak --rounds 10 --seed 0 experiment=energy` takes `run.py`'s options too. Every file is held
against that of an uninterrupted run. What was tried and what was found is written to `soak.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.diff_runs import check
from fimo.errors import UserError
from fimo.pipeline import artifacts
from fimo.pipeline.artifacts import METRICS, MODEL, SCORES, SOAK, seed_file

NAME = "soak"  # of the results
HANGS = 3600  # seconds after which a run is taken to hang
# What a run says when a stage begins.
STAGES = {
    "final model": "final model: training",
    "scores": "final model: test",
    "further training": "further training: 0 of",
    "comparison": "further training: computed",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """All rounds; 1 where anything was lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="runs that are killed and run again")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--folder", type=Path, help="of all runs, which are kept there; a temporary one without it")
    parser.add_argument("--results", type=Path, default=Path("results"), help=f"where {SOAK} goes")
    parser.add_argument("overrides", nargs="*", help="options of run.py, experiment=energy")
    options = parser.parse_intermixed_args(arguments)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    if folder.exists() and any(folder.iterdir()):
        parser.error(f"--folder must be new or empty, found files in {folder}")
    report = soak(folder, options.overrides, options.rounds, options.seed)
    artifacts.write(options.results / SOAK, json.dumps(report, indent=1).encode() + b"\n")
    if options.folder is None and not report["lost"]:
        shutil.rmtree(folder)
    print(f"lost: {report['lost'] or 'nothing'}\n{options.results / SOAK}")
    return 1 if report["lost"] else 0


def soak(folder: Path, overrides: Sequence[str], rounds: int, seed: int) -> dict[str, Any]:
    """Run once without interruption, then all rounds: what there is to report."""
    begun, draw, reference = time.monotonic(), random.Random(seed), folder / "uninterrupted"
    durations = uninterrupted(reference, overrides)
    print(f"uninterrupted: {durations}")
    stages = list(durations)[:rounds]  # each once, then by chance, long ones more often
    stages += draw.choices(list(durations), list(durations.values()), k=rounds - len(stages))
    done: list[dict[str, Any]] = []
    for number, stage in enumerate(stages, start=1):
        moment = draw.uniform(0, durations[stage])
        done.append(killed(folder / f"round-{number:02d}", reference, overrides, stage, moment))
        print(f"round {number}: {done[-1]}")
    together = side_by_side(folder / "side-by-side", reference, overrides)
    print(f"side by side: {together}")
    return {
        "options": list(overrides),
        "seed": seed,
        "uninterrupted_seconds": durations,
        "rounds": done,
        "side_by_side": together,
        "worst_difference": max(report["worst_difference"] for report in (*done, together)),
        "lost": [sentence for report in (*done, together) for sentence in report["lost"]],
        "seconds": round(time.monotonic() - begun),
    }


def start(folder: Path, overrides: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """A run as a user starts it, in a process group of its own, with its outputs and results below `folder`."""
    paths = (f"paths.output_dir={folder}/outputs", f"paths.results_dir={folder}/results", f"name={NAME}")
    command = [sys.executable, str(Path(__file__).parents[1] / "experiments" / "run.py"), *overrides, *paths]
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen(command, **options)


@contextmanager
def running(folder: Path, overrides: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A run that does not outlive what is done with it."""
    process = start(folder, overrides)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def finish(process: subprocess.Popen[str]) -> str:
    """What a run says until its end.

    Raises:
        UserError: where it ends with an error.
    """
    out, err = process.communicate(timeout=HANGS)
    if process.returncode != 0:
        raise UserError(f"run.py must end with 0, found {process.returncode} and at its end: {(out + err)[-1000:]}")
    return out


def uninterrupted(folder: Path, overrides: Sequence[str]) -> dict[str, float]:
    """The seconds that each stage of a run takes that nothing happens to, in order."""
    begun: dict[str, float] = {}
    with running(folder, overrides) as process:
        for line in process.stdout or ():
            begun |= {stage: time.monotonic() for stage, words in STAGES.items() if line.startswith(words)}
        finish(process)
    ends = [*list(begun.values())[1:], time.monotonic()]
    return {stage: round(end - begun[stage], 2) for stage, end in zip(begun, ends, strict=True)}


def killed(folder: Path, reference: Path, overrides: Sequence[str], stage: str, moment: float) -> dict[str, Any]:
    """Kill a run some seconds into a stage, look at what is there, run it again, and look again."""
    begun = time.monotonic()
    with running(folder, overrides) as process:
        for line in process.stdout or ():
            if line.startswith(STAGES[stage]):
                break
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
    after = round(time.monotonic() - begun, 2)
    _, err = process.communicate()
    if process.returncode > 0:
        raise UserError(f"run.py must run until it is killed, found {process.returncode} and at its end: {err[-1000:]}")
    if process.returncode == 0:  # quicker than the uninterrupted run was
        shutil.rmtree(folder)
        return killed(folder, reference, overrides, stage, moment / 2)
    before, half_written = finished(folder), len(list(folder.rglob("*.tmp")))
    first = check(folder, reference)
    with running(folder, overrides) as process:
        again = computed(finish(process))
    stored = finished(folder)
    second = check(folder, reference, ended=True)
    if sorted([*before, *again]) != sorted(stored) or {name: stored[name] for name in before} != before:
        second["lost"].append(f"{sorted(before)} was there in {folder}, and {again} was computed")
    return {
        "stage": stage,
        "killed_after_seconds": after,
        "seeds_before": _seeds(before),
        "seeds_after": _seeds(stored),
        "temporary_files_at_the_kill": half_written,
        "files_checked": first["files_checked"] + second["files_checked"],
        "worst_difference": max(first["worst_difference"], second["worst_difference"]),
        "lost": first["lost"] + second["lost"],
    }


def side_by_side(folder: Path, reference: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Two runs at once in one folder: nothing is computed by both."""
    alone = (*overrides, "further.processes=1")  # helpers would enter numbers of their own into the manifests
    with running(folder, alone) as one, running(folder, alone) as other:
        shares = {process.pid: computed(finish(process)) for process in (one, other)}
    stored, report = finished(folder), check(folder, reference, ended=True)
    if sorted(name for share in shares.values() for name in share) != sorted(stored):
        report["lost"].append(f"{sorted(stored)} is there in {folder}, and the two runs computed {shares}")
    for name, entry in stored.items():
        if name not in shares.get(entry["process"], ()):
            report["lost"].append(f"{name} in {folder} was written by another process than says so")
    return {"seeds": [_seeds(share) for share in shares.values()], **report}


def computed(out: str) -> list[str]:
    """What a run says that it computed: folders of final models and scores, names of seeds' files."""
    names = [line.partition(" s), in ")[2] for line in out.splitlines() if " s), in " in line]
    for line in out.splitlines():
        if line.startswith(STAGES["comparison"]):
            names += [seed_file(seed) for seed in json.loads(line.rpartition(" seeds ")[2])]
    return names


def finished(folder: Path) -> dict[str, dict[str, Any]]:
    """What is there of the same, each with its entry in its manifest."""
    entries = {}
    for artifact in artifacts.stored(folder / "outputs"):
        for name, entry in artifact.manifest()["files"].items():
            if artifact.has(name) and name != METRICS:
                entries[str(artifact.folder) if name in (MODEL, SCORES) else name] = entry
    return entries


def _seeds(names: Iterable[str]) -> int:
    """How many of them are seeds."""
    return sum("/" not in name for name in names)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
