"""Stage 1: the final model, trained here or taken from a file."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import torch
from torch import nn

from fimo.errors import Diverged, UserError
from fimo.models.checkpoint import load_weights
from fimo.models.evaluation import metrics, mistakes
from fimo.models.parameter_choice import chosen_names
from fimo.models.requirements import ready
from fimo.models.weighted import for_rows
from fimo.pipeline import addresses, formats
from fimo.pipeline.artifacts import METRICS, MODEL, Artifact
from fimo.pipeline.checkpoints import read_checkpoint
from fimo.pipeline.specification import RunSpecification
from fimo.problem import Problem
from fimo.rows import Rows

logger = logging.getLogger(__name__)


def final_problem(run: RunSpecification) -> Problem:
    """The run's rows with its final model.

    Args:
        run: whose final model is stored, or is made now by one process while others wait.

    Raises:
        UserError: where the data, the network or the checkpoint can't be had, or training diverges.
    """
    artifact = addresses.final_model(run)
    # What is drawn here, from a seed of its own, is drawn by nobody else: neither at the network's making nor later.
    with torch.random.fork_rng(), artifact.lock(MODEL):
        network = untrained_network(run)
        if artifact.has(MODEL):
            load_weights(network, formats.read_weights(artifact.path(MODEL)), artifact.folder)
            if not artifact.has(METRICS):  # removed, because it was damaged
                artifact.write(METRICS, json.dumps(_metrics(run, network), indent=1).encode())
        else:
            _make(run, network, artifact)
    return _problem(run, network, _evaluated(run, network))


def untrained_problem(run: RunSpecification, test: Rows) -> Problem:
    """The run's rows with the network as the final model began.

    Args:
        run: the run.
        test: the test examples that are evaluated.
    """
    with torch.random.fork_rng():
        return _problem(run, untrained_network(run), test)


def untrained_network(run: RunSpecification) -> nn.Module:
    """The network before training, the same for the same seed."""
    data = run.dataset
    torch.manual_seed(run.final.seed)  # nothing is drawn before the network: its randomness is part of the recipe
    network = ready(run.network(data), for_rows(run.objective, data.train), data.train, data.outputs)
    chosen_names(network, run.parameters, data.train)  # what can't be θ is refused before anything is trained
    run.training.evaluation_steps(data)  # and so are steps that further training never comes to
    return network


def _evaluated(run: RunSpecification, network: nn.Module) -> Rows:
    """The test examples that are evaluated, of which the final model may decide."""
    test, count = run.dataset.test, run.dataset.mistakes
    return test if count is None else test.keep(mistakes(network, run.objective, test)[:count])


def _problem(run: RunSpecification, network: nn.Module, test: Rows) -> Problem:
    data = run.dataset
    examples = data.train, test, data.left_out
    problem = Problem(network.eval(), run.objective, *examples, run.parameters, run.measurement)
    return problem.to(run.execution.device)


def _make(run: RunSpecification, network: nn.Module, artifact: Artifact) -> None:
    """Make the final model in place, and store it with its metrics."""
    start, data, final = time.perf_counter(), run.dataset, run.final
    about: dict[str, Any] = {}
    if final.checkpoint is not None:
        note = "final model: taken from %s, as one that was trained on these %d training rows"
        logger.info(note, final.checkpoint, len(data.train))
        load_weights(network, read_checkpoint(final.checkpoint), final.checkpoint)
    elif final.epochs == 0:
        logger.info("final model: the network as it is, nothing is trained (final.epochs=0)")
    else:
        logger.info("final model: training, %d epochs", final.epochs)
        about = _train(run, network)
    by_split = _metrics(run, network)
    seconds = round(time.perf_counter() - start, 2)
    artifact.write(METRICS, json.dumps({**by_split, **about}, indent=1).encode(), seconds=seconds)
    artifact.write(MODEL, formats.from_weights(network.state_dict()), seconds=seconds)
    on_test = ", ".join(f"{name} {value:.4g}" for name, value in by_split["test"].items())
    logger.info("final model: test %s (%.0f s), in %s", on_test, seconds, artifact.folder)


def _metrics(run: RunSpecification, network: nn.Module) -> dict[str, dict[str, float]]:
    """Of both splits."""
    splits = {"train": run.dataset.train, "test": run.dataset.test_all}
    return {split: metrics(network, run.objective, rows) for split, rows in splits.items()}


def _train(run: RunSpecification, network: nn.Module) -> dict[str, Any]:
    """Train the network in place; what there is to report beside its metrics."""
    from fimo.further_training.order import Order
    from fimo.models.training import FinalTraining, require_variance, train_final

    final, data = run.final, run.dataset
    validation_rows = data.test_all if final.keep == "best" else None
    module = FinalTraining(
        network,
        for_rows(run.objective, data.train),
        final.optimizer,
        final.lr,
        final.weight_decay,
        final.clip,
        final.augment,
        validation_rows,
        final.schedule,
    )
    require_variance(network, data.train, final.batch_size)
    order = Order(len(data.train), final.batch_size, final.seed)
    try:
        train_final(module, data.train, order, final.epochs, run.execution.device)
    except UserError as error:  # of training itself: it left the finite numbers
        raise Diverged(str(error)) from error
    network.cpu()
    if validation_rows is None:
        return {}
    return {"kept": {"epoch": module.best_epoch, "of": final.epochs, "by": "the test split"}}
