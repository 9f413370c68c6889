"""Methods as the config has them, and what they are told of further training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from hydra.utils import instantiate
from omegaconf import DictConfig

from experiments.settings import optimizer_name, plain, plan
from fimo.attribution import attribute, attribute_along
from fimo.errors import Unavailable, UserError
from fimo.further_training.full_run import full_run
from fimo.preconditioners.base import Preconditioner
from fimo.preconditioners.drift import WHICH, Moved
from fimo.preconditioners.linear_recursion import AdamRecursion, LinearRecursion
from fimo.preconditioners.unrolled_gauss_newton import UnrolledGaussNewton
from fimo.problem import Problem

NOT_MOVED = "none"
# Of a method's settings: those that say where its gradients are taken, and no part of P.
WHERE = ("moved", "path")


def made(cfg: DictConfig, name: str) -> Preconditioner:
    """A chosen method, which nobody has told of further training."""
    node = {key: value for key, value in plain(cfg.method[name]).items() if key not in WHERE}
    return instantiate(node, _convert_="all")


def follows(cfg: DictConfig, name: str, method: object) -> bool:
    """Whether a method's scores depend on how much further training there is; its class tells, too.

    Raises:
        UserError: where `moved` or `path` is none of its words.
    """
    moved, path = (cfg.method[name].get(key, other) for key, other in zip(WHERE, (NOT_MOVED, False), strict=True))
    if moved not in (NOT_MOVED, *WHICH):
        raise UserError(f"method.{name}.moved must be one of {NOT_MOVED}, {', '.join(WHICH)}, found {moved!r}.")
    kind = method if isinstance(method, type) else type(method)
    if path is not False and (path is not True or moved != NOT_MOVED or kind is not UnrolledGaussNewton):
        raise UserError(
            f"method.{name}.path must be true or false, and true only for Unrolled-GN with moved={NOT_MOVED}, since it "
            f"takes both gradients along a run; found path={path!r} and moved={moved}."
        )
    return getattr(method, "unrolled", False) or moved != NOT_MOVED


def scoring(cfg: DictConfig, name: str, start: Problem) -> tuple[Preconditioner, Callable[[Problem], xr.DataArray]]:
    """A chosen method that knows of further training what it asks for, and its scores as a function of the problem.

    Args:
        cfg: the config.
        name: the method's.
        start: where further training begins.
    """
    method, moved = made(cfg, name), cfg.method[name].get("moved", NOT_MOVED)
    where: Moved | None = None
    if follows(cfg, name, method):
        training = recursion(cfg, start)
        if method.unrolled:
            method.along(training)
        if moved != NOT_MOVED:
            where = Moved(moved, method if isinstance(method, UnrolledGaussNewton) else _drift(cfg).along(training))
    if cfg.method[name].get("path", False) and isinstance(method, UnrolledGaussNewton):
        return method, partial(_along_a_run, cfg, method)
    return method, partial(attribute, preconditioner=method, curvature_rows=cfg.method.curvature_rows, moved=where)


def _drift(cfg: DictConfig) -> UnrolledGaussNewton:
    """What estimates the drift for a method that knows nothing of further training."""
    rows = cfg.facts.unrolled_rows or cfg.method.curvature_rows
    return UnrolledGaussNewton("the drift's estimate", rows, cfg.facts.dual_bytes)


def _along_a_run(cfg: DictConfig, method: UnrolledGaussNewton, problem: Problem) -> xr.DataArray:
    seed = cfg.further.first_seed
    way = list(full_run(problem, plan(cfg), seed))
    scores = attribute_along(problem, method, way, cfg.method.curvature_rows)
    method.note("path", f"gradients are taken along a full run of further training, that of seed {seed}")
    return scores


def recursion(cfg: DictConfig, problem: Problem) -> LinearRecursion:
    """Further training on a quadratic model: learning rates, evaluated steps and what else the optimiser does."""
    further = plan(cfg)
    steps = further.evaluated(problem)
    kind, options = _optimizer(cfg)
    return kind(np.full(steps[-1], options.pop("lr")), steps, **options)


def check_recursion(cfg: DictConfig) -> None:
    """Refuse an optimiser that no recursion stands for.

    Raises:
        Unavailable: naming those that are known.
    """
    _optimizer(cfg)


def _optimizer(cfg: DictConfig) -> tuple[type[LinearRecursion], dict[str, Any]]:
    """The optimiser's recursion and its settings."""
    (group,) = plan(cfg).optimizer([torch.zeros(1, requires_grad=True)]).param_groups
    name, shared = optimizer_name(cfg), {key: group[key] for key in ("lr", "weight_decay")}
    if name == "SGD":
        return LinearRecursion, shared | {key: group[key] for key in ("momentum", "dampening", "nesterov")}
    if name == "AdamW" or name == "Adam" and group["weight_decay"] == 0:
        own = {"momentum": group["betas"][0], "epsilon": group["eps"], "batch_size": cfg.data.batch_size}
        return AdamRecursion, shared | own
    with_decay = f" with optimizer.weight_decay={group['weight_decay']:g}" if name == "Adam" else ""
    raise Unavailable(
        "Methods that follow further training need optimizer to be SGD, AdamW, or Adam without weight decay, found "
        f"{name}{with_decay}."
    )
