"""Methods as the config has them, and what they are told of further training."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import xarray as xr
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, open_dict

from fimo.app.settings import RETRAINING, plan
from fimo.attribution import attribute
from fimo.errors import Unavailable, UserError
from fimo.further_training.full_run import full_run
from fimo.gradients.diagonal_metric import AdamMetric
from fimo.optimizers import LinearisedSGD, linearised
from fimo.preconditioners.base import Preconditioner
from fimo.problem import Problem
from fimo.unrolled.base import DependsOnTraining
from fimo.unrolled.displaced import SIDES, DisplacedGradients
from fimo.unrolled.trajectory import Trajectory
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton

NOT_MOVED = "none"
# Of a method's settings: those that say where its gradients are taken, and no part of P.
WHERE = ("moved", "path")


def made(cfg: DictConfig, name: str) -> Preconditioner:
    """A chosen method, which nobody has told of further training."""
    node = copy.deepcopy(cfg.method[name])  # which knows its place in the config, for errors
    with open_dict(node):
        for key in WHERE if _unrolled(cfg, name) else WHERE[:1]:
            node.pop(key, None)
        if node.get("metric") == "adam":
            node.metric = _adam_metric(cfg)
    return instantiate(node, _convert_="all")


def _adam_metric(cfg: DictConfig) -> dict[str, Any]:
    """The config of the metric that further training has under Adam; ε is Adam's default under another optimiser."""
    (group,) = plan(cfg).optimizer([torch.zeros(1, requires_grad=True)]).param_groups
    return {
        "_target_": f"{AdamMetric.__module__}.{AdamMetric.__name__}",
        "batch_size": cfg.data.batch_size,
        "epsilon": group.get("eps", AdamMetric.epsilon),
    }


def follows(cfg: DictConfig, name: str) -> bool:
    """Whether a method's scores depend on how much further training there is."""
    return _unrolled(cfg, name) or _moved(cfg, name) != NOT_MOVED or cfg.method[name].get("metric") == "adam"


def check(cfg: DictConfig, name: str) -> None:
    """Refuse settings of a chosen method that it does not take, and further training that it does not know.

    Raises:
        UserError: naming what was expected and found; `Unavailable` where the experiment makes it impossible.
    """
    made(cfg, name)
    if (moved := _moved(cfg, name)) not in (NOT_MOVED, *SIDES):
        raise UserError(f"method.{name}.moved must be one of {NOT_MOVED}, {', '.join(SIDES)}, found {moved!r}.")
    if follows(cfg, name):
        training = linearised(plan(cfg).optimizer, [1], cfg.data.batch_size)
        if _path(cfg, name) is not False:
            _check_path(cfg, name, type(training) is LinearisedSGD and not training.momentum)


def _check_path(cfg: DictConfig, name: str, plain_sgd: bool) -> None:
    target, path, moved = get_object(cfg.method[name]["_target_"]), _path(cfg, name), _moved(cfg, name)
    if path is not True or moved != NOT_MOVED or target is not UnrolledGaussNewton:
        raise UserError(
            f"method.{name}.path must be true or false, and true only for Unrolled-GN with moved={NOT_MOVED}, since it "
            f"takes both gradients along a run; found path={path!r} and moved={moved}."
        )
    if not plain_sgd:
        raise Unavailable(f"method.{name}.path=true needs optimizer=sgd without optimizer.momentum: take moved=both.")
    if cfg.further.gold == RETRAINING or cfg.further.batch_norm == "updated":
        raise Unavailable(
            f"method.{name}.path=true follows a run from the final model with its statistics: further.gold must not "
            f"be {RETRAINING} and further.batch_norm not updated, found {cfg.further.gold} and "
            f"{cfg.further.batch_norm}."
        )


def _unrolled(cfg: DictConfig, name: str) -> bool:
    try:
        target = get_object(cfg.method[name]["_target_"])
    except ImportError:
        return False  # making it says in a sentence what can't be imported
    return isinstance(target, type) and issubclass(target, DependsOnTraining)


def _moved(cfg: DictConfig, name: str) -> str:
    return cfg.method[name].get("moved", NOT_MOVED)


def _path(cfg: DictConfig, name: str) -> object:
    return cfg.method[name].get("path", False)


def scoring(cfg: DictConfig, name: str, start: Problem) -> tuple[Preconditioner, Callable[[Problem], xr.DataArray]]:
    """A chosen method that knows of further training what it asks for, and its scores as a function of the problem.

    Args:
        cfg: the config.
        name: the method's.
        start: where further training begins.
    """
    method, moved = made(cfg, name), _moved(cfg, name)
    where: DisplacedGradients | None = None
    if follows(cfg, name):
        training = recursion(cfg, start)
        if isinstance(method, DependsOnTraining):
            method.for_training(training)
        if moved != NOT_MOVED:
            where = DisplacedGradients(
                moved, method if isinstance(method, UnrolledGaussNewton) else _drift(cfg).for_training(training)
            )
    if isinstance(method, UnrolledGaussNewton) and _path(cfg, name):
        return method, partial(_along_a_run, cfg, method)
    return method, partial(attribute, preconditioner=method, curvature_rows=cfg.method.curvature_rows, views=where)


def _drift(cfg: DictConfig) -> UnrolledGaussNewton:
    """What estimates the drift for a method that knows nothing of further training."""
    return UnrolledGaussNewton("the drift's estimate", unrolled_rows(cfg), cfg.facts.dual_bytes)


def unrolled_rows(cfg: DictConfig) -> int | None:
    """Training rows of the curvature of what is not configured itself: a drift's estimate, a grid of dampings."""
    return cfg.facts.unrolled_rows or cfg.method.curvature_rows


def _along_a_run(cfg: DictConfig, method: UnrolledGaussNewton, problem: Problem) -> xr.DataArray:
    seed = cfg.further.first_seed
    trajectory = list(full_run(problem, plan(cfg), seed))
    scores = attribute(problem, method, views=Trajectory(trajectory), curvature_rows=cfg.method.curvature_rows)
    method.note("path", f"gradients are taken along a full run of further training, that of seed {seed}")
    return scores


def recursion(cfg: DictConfig, problem: Problem) -> LinearisedSGD:
    """Further training on a quadratic model: learning rates, evaluated steps and what else the optimiser does."""
    further = plan(cfg)
    return linearised(further.optimizer, further.evaluated(problem), further.batch_size)
