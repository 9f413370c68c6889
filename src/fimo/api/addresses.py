"""Addresses of a caller's problem, made of the content of what determines a result."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from fimo import models
from fimo.api.behaviour import behaviour
from fimo.further_training import VERSION
from fimo.further_training.settings import FurtherTraining
from fimo.models.objective import Objective
from fimo.models.own_objective import given_by_caller, own_part
from fimo.pipeline import formats
from fimo.pipeline.artifacts import Artifact
from fimo.pipeline.content import Contents
from fimo.pipeline.files import bytes_digest, short_hash
from fimo.pipeline.own_code import own_code
from fimo.problem import Problem
from fimo.rows import Rows, by_name


def model_config(problem: Problem) -> dict[str, Any]:
    """What the final model is, and the rows that it was trained on."""
    network = problem.network
    code = own_code(*dict.fromkeys(map(type, network.modules())))
    return {
        "network": {"class": type(network).__qualname__, "repr": repr(network), "code": code},
        "weights": bytes_digest(formats.from_weights(network.state_dict() | dict(network.named_buffers()))),
        "train": _rows_digest(problem.train),
    }


def problem_config(problem: Problem) -> dict[str, Any]:
    """What determines scores beside a method: the final model, what it learnt, what is measured where."""
    return {
        **model_config(problem),
        "objective": _loss_config(problem.objective),
        "measurement": _loss_config(problem.watched),
        "test": _rows_digest(problem.test),
        "behaviour": repr(behaviour(problem)),
    }


def problem_address(problem: Problem) -> str:
    """A hash of the final model, its θ and the rows, by which scores and a gold standard know that they are of one.

    Args:
        problem: the question; what is left out and what is measured don't matter.
    """
    return short_hash({**model_config(problem), "test": _rows_digest(problem.test), "parameters": list(problem.theta)})


def further_training_artifact(problem: Problem, training: FurtherTraining, folder: Path) -> Artifact:
    """Where seeds of a problem lie: the address is made of the content of everything that determines them.

    Args:
        problem: the final model, its rows and what is left out.
        training: the further training.
        folder: below which seeds are stored.
    """
    config = {
        **problem_config(problem),
        "left_out": problem.left_out.described(problem.train.index) or problem.left_out.rows.tolist(),
        **({"parameters": list(problem.part)} if problem.part else {}),
        "training": {part.name: repr(getattr(training, part.name)) for part in fields(training)},
        "versions": {"further_training": VERSION, "models": models.VERSION},
    }
    label = f"{training.optimizer_name.lower()}-{training.leave_out}-{training.epochs}ep"
    return Artifact(folder, "python", "further", label, config)


def _loss_config(objective: Objective) -> dict[str, Any]:
    """What a loss or a measurement is, and what it holds."""
    given = given_by_caller(objective)
    return {"class": type(given).__qualname__, "code": own_code(own_part(given)), "holds": Contents().digest(given)}


def _rows_digest(rows: Rows) -> str:
    tensors = {**{f"inputs.{name}": part for name, part in by_name(rows.inputs).items()}, "targets": rows.targets}
    return bytes_digest(formats.from_weights({**tensors, "index": rows.index}))
