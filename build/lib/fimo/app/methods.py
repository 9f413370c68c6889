"""Methods: from their config nodes to objects, with labels; what they don't take is refused."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from fimo.app.errors import CONFIG_DIR
from fimo.app.settings import RETRAINING, method_names, plain
from fimo.dtypes import DTYPES
from fimo.errors import Unavailable, UserError
from fimo.further_training.settings import FurtherTraining
from fimo.gradients.diagonal_metric import AdamMetric
from fimo.labels import Label
from fimo.optimizers import LinearisedSGD, linearised
from fimo.pipeline.methods import NOT_DISPLACED, Method
from fimo.preconditioners.base import Preconditioner
from fimo.preconditioners.damping import Damping
from fimo.unrolled.displaced import SIDES
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton

# Of a method's settings: how its scores are computed, not which they are.
HOW_SCORED = ("label", "dual_bytes")


def methods_of(cfg: DictConfig, training: FurtherTraining) -> dict[str, Method]:
    """The chosen methods by name.

    Args:
        cfg: the config.
        training: the further training that methods may follow.

    Raises:
        UserError: for settings that a method does not take, or two methods of one label; `Unavailable` where the
            experiment makes it impossible.
    """
    labels = _labels(cfg)
    return {name: _method(cfg, name, str(label), training) for name, label in labels.items()}


def _method(cfg: DictConfig, name: str, label: str, training: FurtherTraining) -> Method:
    node = copy.deepcopy(cfg.method[name])  # which knows its place in the config, for errors
    with open_dict(node):
        sides = node.pop("moved", NOT_DISPLACED)
        trajectory = node.pop("path", False) if "path" in node and _unrolled(node) else False
        if node.get("metric") == "adam":
            node.metric = _adam_metric(training)
    preconditioner = instantiate(node, _convert_="all")
    if not isinstance(preconditioner, Preconditioner):
        raise UserError(f"method.{name}._target_ must name a Preconditioner, found {node['_target_']!r}.")
    if sides not in (NOT_DISPLACED, *SIDES):
        raise UserError(f"method.{name}.moved must be one of {NOT_DISPLACED}, {', '.join(SIDES)}, found {sides!r}.")
    own_dtype = node.get("dtype")  # one method's goes before that of all
    dtype = preconditioner.dtype if own_dtype else DTYPES.get(cfg.method.dtype, preconditioner.dtype)
    rows, estimate = cfg.method.curvature_rows, None
    if sides != NOT_DISPLACED and not isinstance(preconditioner, UnrolledGaussNewton):
        estimate = UnrolledGaussNewton("the displacement's estimate", unrolled_rows(cfg), cfg.facts.dual_bytes)
    method = Method(name, label, preconditioner, dtype, rows, sides, trajectory is True, estimate)
    if method.follows_training:
        recursion = linearised(training.optimizer, [1], training.batch_size)
        if trajectory is not False:
            _check_trajectory(cfg, method, trajectory, recursion)
    return method


def _adam_metric(training: FurtherTraining) -> dict[str, Any]:
    """The config of the metric that further training has under Adam; ε is Adam's default under another optimiser."""
    (group,) = training.make_optimizer([torch.zeros(1, requires_grad=True)]).param_groups
    return {
        "_target_": f"{AdamMetric.__module__}.{AdamMetric.__name__}",
        "batch_size": training.batch_size,
        "epsilon": group.get("eps", AdamMetric.epsilon),
    }


def _unrolled(node: DictConfig) -> bool:
    try:
        target = get_object(node["_target_"])
    except ImportError:
        return False  # making it says in a sentence what can't be imported
    return isinstance(target, type) and issubclass(target, UnrolledGaussNewton)


def _check_trajectory(cfg: DictConfig, method: Method, path: object, recursion: LinearisedSGD) -> None:
    name, kind = method.name, type(method.preconditioner)
    if path is not True or method.sides != NOT_DISPLACED or kind is not UnrolledGaussNewton:
        raise UserError(
            f"method.{name}.path must be true or false, and true only for Unrolled-GN with moved={NOT_DISPLACED}, "
            f"since it takes both gradients along a run; found path={path!r} and moved={method.sides}."
        )
    if type(recursion) is not LinearisedSGD or recursion.momentum:
        raise Unavailable(f"method.{name}.path=true needs optimizer=sgd without optimizer.momentum: take moved=both.")
    if cfg.further.gold == RETRAINING or cfg.further.batch_norm == "updated":
        raise Unavailable(
            f"method.{name}.path=true follows a run from the final model with its statistics: further.gold must not "
            f"be {RETRAINING} and further.batch_norm not updated, found {cfg.further.gold} and "
            f"{cfg.further.batch_norm}."
        )


def unrolled_rows(cfg: DictConfig) -> int | None:
    """Training rows of the curvature of what is not configured itself: a displacement's estimate, a damping grid."""
    return cfg.facts.unrolled_rows or cfg.method.curvature_rows


def _labels(cfg: DictConfig) -> dict[str, Label]:
    """The label of each chosen method, a variant's with its difference from the method's own config in brackets.

    Raises:
        UserError: where two are the same.
    """
    usual = copy.deepcopy(cfg)  # with every method as its own file has it
    OmegaConf.update(usual, "times.damping", 1)
    for name in method_names(cfg):
        if (path := CONFIG_DIR / "method" / f"{name}.yaml").is_file():
            OmegaConf.update(usual, f"method.{name}", OmegaConf.load(path), merge=False)
    labels = {name: _label(plain(cfg.method[name]), plain(usual.method[name])) for name in method_names(cfg)}
    if len(set(labels.values())) < len(labels):
        raise UserError(f"method labels must differ from each other, found {', '.join(map(str, labels.values()))}.")
    return labels


def _label(node: Mapping[str, Any], usual: Mapping[str, Any]) -> Label:
    if node["label"] != usual["label"]:  # the user's own
        return Label(str(node["label"]))
    changed = [key for key in node if key not in HOW_SCORED and node[key] != usual.get(key)]
    return Label(str(node["label"]), ", ".join(_describe(key, node[key]) for key in changed))


def _describe(key: str, value: Any) -> str:
    if isinstance(value, dict) and {"scale", "unit"} <= value.keys():
        return f"λ = {Damping(value['scale'], value['unit'])}"
    return key if value is True else f"{key.replace('_', ' ')} = {value}"
