"""Methods: from their config nodes to objects, with labels; what they don't take is refused."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from fimo.app.errors import CONFIG_DIR
from fimo.app.settings import RETRAINING, as_named_now, imported, method_names, plain, without
from fimo.dtypes import DTYPES
from fimo.errors import Unavailable, UserError
from fimo.further_training.settings import FurtherTraining
from fimo.gradients.diagonal_metric import AdamMetric
from fimo.labels import Label
from fimo.optimizers import linearised
from fimo.pipeline.methods import NOT_DISPLACED, Method, displacement_estimate
from fimo.pipeline.scorers import AnyMethod, scorer_method
from fimo.preconditioners.base import Preconditioner
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.settings import require_whole
from fimo.unrolled.displaced import SIDES
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton

# Of a method's settings: how its scores are computed, not which they are.
HOW_SCORED = ("label", "dual_bytes")


def methods_of(cfg: DictConfig, training: FurtherTraining) -> dict[str, AnyMethod]:
    """The chosen methods by name.

    Args:
        cfg: the config.
        training: the further training that methods may follow.

    Raises:
        UserError: for settings that a method does not take, or two methods of one label; `Unavailable` where the
            experiment makes it impossible.
    """
    usual = _usual_settings(cfg)
    methods = {name: _method(cfg, name, usual[name], training) for name in method_names(cfg)}
    labels = [method.label for method in methods.values()]
    if wrong := [label for label in labels if label in ("", "None") or set(label) & set("|\n")]:
        raise UserError(f"A method's label must be text, without | and line breaks, found {wrong[0]!r}.")
    if len(set(labels)) < len(labels):
        raise UserError(f"method labels must differ from each other, found {', '.join(labels)}.")
    return methods


def _method(cfg: DictConfig, name: str, usual: DictConfig, training: FurtherTraining) -> AnyMethod:
    node = copy.deepcopy(cfg.method[name])  # which knows its place in the config, for errors
    if not OmegaConf.is_dict(node) or "_target_" not in node:
        raise UserError(f"method.{name} must have a _target_ that names a class or a function, found {node!r}.")
    target = imported(f"method.{name}._target_", str(node["_target_"]), "a class or a function", "my_methods.my_scores")
    with open_dict(node):
        sides = node.pop("moved", NOT_DISPLACED)
        unrolled = isinstance(target, type) and issubclass(target, UnrolledGaussNewton)
        trajectory = node.pop("path", False) if "path" in node and unrolled else False
        segments = node.pop("segments", 1) if unrolled else 1
        if node.get("metric") == "adam":
            node.metric = _adam_metric(training)
    preconditioner = _made(node, target)
    if not isinstance(preconditioner, Preconditioner):
        if not callable(getattr(preconditioner, "scores", preconditioner)):
            raise UserError(
                f"method.{name}._target_ must name a Preconditioner, a function of a problem or a class with "
                f"scores(problem), found {node['_target_']!r}."
            )
        own_label = cfg.method[name].get("label")
        if usual.get("label") is not None:
            own_label = str(_label(plain(cfg.method[name]), plain(usual)))
        return scorer_method(preconditioner, name, own_label, DTYPES.get(cfg.method.dtype))
    label = str(_label({"label": preconditioner.label, **plain(cfg.method[name])}, plain(usual)))
    if sides not in (NOT_DISPLACED, *SIDES):
        raise UserError(f"method.{name}.moved must be one of {NOT_DISPLACED}, {', '.join(SIDES)}, found {sides!r}.")
    own_dtype = node.get("dtype")  # one method's goes before that of all
    dtype = preconditioner.dtype if own_dtype else DTYPES.get(cfg.method.dtype, preconditioner.dtype)
    rows, estimate = cfg.method.curvature_rows, None
    if sides != NOT_DISPLACED and not isinstance(preconditioner, UnrolledGaussNewton):
        estimate = displacement_estimate(preconditioner, unrolled_rows(cfg), cfg.facts.dual_bytes)
    method = Method(name, label, preconditioner, dtype, rows, sides, trajectory is True, segments, estimate)
    if method.follows_training:
        linearised(training.optimizer, [1], training.batch_size)  # refuses optimisers that it does not know
        _check_segments(method)
        if trajectory is not False:
            _check_trajectory(cfg, method, trajectory)
    return method


def _adam_metric(training: FurtherTraining) -> dict[str, Any]:
    """The config of the metric that further training has under Adam; ε is Adam's default under another optimiser."""
    group = training.make_optimizer([torch.zeros(1, requires_grad=True)]).param_groups[0]
    return {
        "_target_": f"{AdamMetric.__module__}.{AdamMetric.__name__}",
        "batch_size": training.batch_size,
        "epsilon": group.get("eps", AdamMetric.epsilon),
    }


def _made(node: DictConfig, target: Any) -> Any:
    """The object that a node describes; of a function that takes a problem, the function with its other settings."""
    if not (inspect.isfunction(target) or inspect.isclass(target)):
        raise UserError(f"{node['_target_']} must be a class or a function, found a {type(target).__name__}.")
    settings = {str(key): value for key, value in node.items() if key != "_target_"}
    try:
        signature, nameless = inspect.signature(target), without(settings, "label")
    except ValueError:  # a class of C code has none
        return instantiate(node, _convert_="all")
    if not _binds(signature, **settings):
        scores = inspect.isfunction(target) and _binds(signature, "the problem", **nameless)
        if scores or _binds(signature, **nameless):  # the label is the method's, and not the scorer's business
            with open_dict(node):
                node.pop("label", None)
        if scores:
            return instantiate(node, _partial_=True, _convert_="all")
    return instantiate(node, _convert_="all")


def _binds(signature: inspect.Signature, *arguments: Any, **settings: Any) -> bool:
    """Whether something can be called so."""
    try:
        signature.bind(*arguments, **settings)
    except TypeError:
        return False
    return True


def _check_segments(method: Method) -> None:
    what = f"method.{method.name}.segments"
    if require_whole(what, method.segments) > 1 and not method.trajectory:
        raise UserError(f"{what} must be 1 without path=true, found {method.segments}: segments are parts of a run.")


def _check_trajectory(cfg: DictConfig, method: Method, path: object) -> None:
    name, kind = method.name, type(method.preconditioner)
    if path is not True or method.sides != NOT_DISPLACED or kind is not UnrolledGaussNewton:
        raise UserError(
            f"method.{name}.path must be true or false, and true only for Unrolled-GN with moved={NOT_DISPLACED}, "
            f"since it takes both gradients along a run; found path={path!r} and moved={method.sides}."
        )
    if cfg.further.gold == RETRAINING or cfg.further.batch_norm == "updated":
        raise Unavailable(
            f"method.{name}.path=true follows a run from the final model with its statistics: further.gold must not "
            f"be {RETRAINING} and further.batch_norm not updated, found {cfg.further.gold} and "
            f"{cfg.further.batch_norm}."
        )


def unrolled_rows(cfg: DictConfig) -> int | None:
    """Training rows of the curvature of what is not configured itself: a displacement's estimate, a damping grid."""
    return cfg.facts.unrolled_rows or cfg.method.curvature_rows


def _usual_settings(cfg: DictConfig) -> DictConfig:
    """The settings of each chosen method as its own file has them; where it has none, as they are."""
    usual = copy.deepcopy(cfg)
    OmegaConf.update(usual, "times.damping", 1)
    for name in method_names(cfg):
        if (path := CONFIG_DIR / "method" / f"{name}.yaml").is_file():
            OmegaConf.update(usual, f"method.{name}", OmegaConf.load(path), merge=False)
    return usual.method


def _label(node: Mapping[str, Any], usual: Mapping[str, Any]) -> Label:
    if node["label"] != usual.get("label", node["label"]):  # the user's own
        return Label(str(node["label"]))
    node, usual = as_named_now(node), as_named_now(usual)
    changed = [key for key in node if key not in HOW_SCORED and node[key] != usual.get(key)]
    return Label(str(node["label"]), ", ".join(_describe(key, node[key]) for key in changed))


def _describe(key: str, value: Any) -> str:
    if isinstance(value, dict) and {"scale", "unit"} <= value.keys():
        return f"λ = {Damping(value['scale'], value['unit'])}"
    return key if value is True else f"{key.replace('_', ' ')} = {value}"
