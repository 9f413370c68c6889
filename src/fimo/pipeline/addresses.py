"""Addresses: where each result of a run lies, made of what determines it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fimo.pipeline.artifacts import Artifact
from fimo.pipeline.specification import RunSpecification
from fimo.ranking import TOP, VERSION

# Raised when the files of a results folder change: folders of an older layout are not taken for finished then.
RESULTS_LAYOUT = 4
# What is left out, which a ranking of all rows does not depend on.
LEFT_OUT = ("left_out", "left_out_first")


def final_model(run: RunSpecification) -> Artifact:
    """Where the final model lies."""
    final = run.final
    annealed = "" if final.schedule == "constant" else f"-{final.schedule}"
    trained = f"{final.optimizer}-{final.epochs}ep{annealed}-seed{final.seed}"
    return _artifact(run, "final", "checkpoint" if final.checkpoint else trained, run.fingerprints.final)


def scores(run: RunSpecification, method: str) -> Artifact:
    """Where a method's scores lie.

    Args:
        run: the run.
        method: its name in `run.methods`.
    """
    fingerprints = run.fingerprints
    own = dict(fingerprints.methods[method])
    if run.methods[method].trajectory:
        own["run"] = {"further": further_training(run).hash, "seed": run.seeds.first}
    return _artifact(run, "scores", method, {**fingerprints.final, **fingerprints.problem, **own})


def ranking_of(run: RunSpecification, method: str) -> Artifact:
    """Where a method's ranking of all training rows lies.

    Args:
        run: the run.
        method: its name in `run.methods`.
    """
    scored, chosen, ranked = scores(run, method), run.methods[method], run.ranked
    config = {key: value for key, value in scored.config.items() if key not in LEFT_OUT}
    amounts = {"amounts": ranked.amounts and list(ranked.amounts)} if chosen.follows_training else {}
    config["ranking"] = {"top": TOP if ranked.top is None else ranked.top, "version": VERSION, **amounts}
    return replace(scored, kind="ranking", config=config)


def further_training(run: RunSpecification) -> Artifact:
    """Where the seeds of the gold standard lie."""
    training, fingerprints = run.training, run.fingerprints
    scheme = "tangent" if training.tangents else training.leave_out
    label = f"{training.optimizer_name.lower()}-{scheme}-{training.epochs}ep"
    config = {**fingerprints.final, **fingerprints.problem, **fingerprints.further}
    return _artifact(run, "further", label, config)


def _artifact(run: RunSpecification, kind: str, label: str, config: Mapping[str, Any]) -> Artifact:
    return Artifact(run.output_dir, run.data_name, kind, label, config)


def inputs(run: RunSpecification) -> dict[str, Any]:
    """What determines a results folder: the scores and the seeds that are compared."""
    return {
        "layout": RESULTS_LAYOUT,
        "scores": {method.label: scores(run, name).hash for name, method in run.methods.items()},
        "further": further_training(run).hash,
        "seeds": list(run.seeds.all),
    }
