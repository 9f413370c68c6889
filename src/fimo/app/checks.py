"""The config: what is allowed."""

from __future__ import annotations

import inspect
import re
from typing import Any

import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from fimo.app.settings import (
    ANYWAY,
    DTYPES,
    FURTHER,
    RETRAINING,
    TANGENT,
    TANGENTS,
    device,
    labels,
    methods,
    optimizer_name,
    plain,
    plan,
)
from fimo.errors import Unavailable, UserError
from fimo.further_training.leave_out import SCHEMES
from fimo.optimizers import derivative_of
from fimo.models.training import KEEP, OPTIMIZERS, SCHEDULES
from fimo.pipeline.methods import check as check_method

CHOICES: dict[str, tuple[str | None, ...]] = {
    "device": ("auto", "cpu", "cuda"),
    "final.optimizer": tuple(OPTIMIZERS),
    "final.keep": KEEP,
    "final.schedule": tuple(SCHEDULES),
    "further.gold": (FURTHER, RETRAINING, TANGENT, ANYWAY),
    "further.leave_out": tuple(SCHEMES),
    "further.batch_norm": ("frozen", "updated"),
    "further.dtype": tuple(DTYPES),
    "further.autocast": (None, "bfloat16"),
    "method.dtype": (None, *DTYPES),
    "logger.mode": (None, "online", "offline", "disabled"),
}
# Smallest allowed value, and what else is allowed.
WHOLE: dict[str, tuple[int, object]] = {
    "seed": (0, ...),
    "threads": (1, None),
    "data.batch_size": (1, ...),
    "data.random_state": (0, ...),
    "data.train_rows": (1, None),
    "data.left_out_first": (1, None),
    "data.test_count": (1, None),
    "data.max_length": (2, ...),
    "final.epochs": (0, ...),
    "final.batch_size": (1, ...),
    "method.curvature_rows": (1, None),
    "further.epochs": (1, ...),
    "further.seeds": (1, ...),
    "further.first_seed": (0, ...),
    "further.jobs": (1, ...),
    "further.job": (0, ...),
    "further.runs_at_once": (1, "auto"),
    "further.seeds_at_once": (1, "auto"),
    "further.processes": (1, "auto"),
}
POSITIVE = ("times.lr", "times.damping", "final.lr", "final.clip", "optimizer.lr", "further.clip")
OPTIONAL = ("final.clip", "further.clip")
NOT_NEGATIVE = ("final.weight_decay", "optimizer.momentum", "optimizer.weight_decay")


def check(cfg: DictConfig) -> None:
    """Refuse values that no run can have.

    Raises:
        UserError: naming key, what was expected and what was found.
    """
    if not methods(cfg):
        raise UserError("method must name at least one method, as in method=grad_dot or method=[grad_dot,grad_cos].")
    if not isinstance(cfg.name, str) or not re.fullmatch(r"[^/\s.][^/]*", cfg.name):
        raise UserError(f"name must be the name of a folder, without a slash or a dot in front, found {cfg.name!r}.")
    if device(cfg).type == "cuda" and cfg.further.processes not in (1, "auto"):
        raise UserError(f"further.processes must be 1 on a GPU, found {cfg.further.processes}: it runs seeds together.")
    for key, choices in CHOICES.items():
        if (found := OmegaConf.select(cfg, key)) not in choices:
            raise UserError(f"{key} must be one of {', '.join(filter(None, choices))}, found {found!r}.")
    _check_numbers(cfg)
    _check_tokenizer(cfg)
    _check_objects(cfg)
    if cfg.further.gold == RETRAINING:
        _check_retraining(cfg)
    labels(cfg)


def _check_numbers(cfg: DictConfig) -> None:
    size = OmegaConf.select(cfg, "data.test_size", default=0.5)
    if type(size) is not float or not 0 < size < 1:
        raise UserError(f"data.test_size must be a share of the rows between 0 and 1, found {size!r}.")
    for key, (least, other) in WHOLE.items():
        found = OmegaConf.select(cfg, key, default=least)
        if found != other and (type(found) is not int or found < least):
            raise UserError(f"{key} must be a whole number of at least {least}, found {found!r}.")
    for key in (*POSITIVE, *NOT_NEGATIVE):
        found, allow_zero = OmegaConf.select(cfg, key, default=1), key in NOT_NEGATIVE
        if found is None and key in OPTIONAL:
            continue
        if type(found) not in (int, float) or not (0 <= found if allow_zero else 0 < found) or found == float("inf"):
            raise UserError(f"{key} must be a number {'of at least' if allow_zero else 'above'} 0, found {found!r}.")
    if cfg.further.job >= cfg.further.jobs:
        raise UserError(f"further.job must be below further.jobs={cfg.further.jobs}, found {cfg.further.job}.")
    _check_evaluated(cfg.further.evaluate_every)


def _check_evaluated(every: object) -> None:
    if OmegaConf.is_dict(every):
        steps, fits = list(every.values()), {"first", "every"} <= set(every) <= {"first", "every", "last"}  # type: ignore[attr-defined,call-overload]
    else:
        steps = [] if every is None else list(every) if OmegaConf.is_list(every) else [every]  # type: ignore[call-overload]
        fits = True
    if not fits or any(type(step) is not int or step < 1 for step in steps):
        raise UserError(
            "further.evaluate_every must be a whole number above 0, a list of them, or {first: …, every: …, last: …}, "
            f"found {every!r}."
        )


def _check_tokenizer(cfg: DictConfig) -> None:
    named = OmegaConf.select(cfg, "model.name") is not None
    if "tokenizer" in cfg.data and cfg.data.tokenizer is None and named:
        raise UserError(
            "data.tokenizer must be given where model.name is: a pretrained network knows the words of its own "
            "tokenizer only."
        )


def _check_retraining(cfg: DictConfig) -> None:
    """Re-training repeats the final model's training, which has to be known and to be what further training can do."""
    final = cfg.final
    for key, found, needed in (
        ("final.checkpoint", final.checkpoint, None),
        ("final.augment", final.augment, None),
        ("final.keep", final.keep, "last"),
        ("final.schedule", final.schedule, "constant"),
        ("optimizer", optimizer_name(cfg).lower(), final.optimizer),
        ("optimizer.lr", cfg.optimizer.lr, final.lr),
        ("optimizer.weight_decay", cfg.optimizer.weight_decay, final.weight_decay),
        ("optimizer.momentum", cfg.optimizer.get("momentum", 0), 0),
        ("further.clip", cfg.further.clip, final.clip),
        ("data.batch_size", cfg.data.batch_size, final.batch_size),
    ):
        if found != needed:
            raise Unavailable(
                f"further.gold={RETRAINING} repeats the final model's own training, for which {key} must be "
                f"{'null' if needed is None else needed}, found {found}."
            )


def _check_tangent(cfg: DictConfig, optimizer: torch.optim.Optimizer) -> None:
    """The optimiser's steps have a derivative here, and it says something of leaving an example out."""
    derivative_of(optimizer)
    if cfg.further.gold == TANGENT and optimizer_name(cfg) != "SGD":
        raise Unavailable(
            f"further.gold={TANGENT} needs optimizer=sgd, found {optimizer_name(cfg)}, whose steps divide by the size "
            "of past gradients, so that the derivative with respect to an example's weight does not stand for leaving "
            f"the whole example out: further.gold={ANYWAY} computes it all the same."
        )


def _check_objects(cfg: DictConfig) -> None:
    """Make what looks at its own settings when it is made."""
    try:
        optimizer = instantiate(cfg.optimizer)([torch.zeros(1, requires_grad=True)])
    except (TypeError, ValueError) as reason:
        raise UserError(f"optimizer does not take these settings: {reason}.") from reason
    plan(cfg)
    if cfg.further.gold in TANGENTS:
        _check_tangent(cfg, optimizer)
    for name in methods(cfg):
        check_method(cfg, name)
    _check_model(plain(cfg.model))


def _check_model(model: dict[str, Any]) -> None:
    """The network's class, or a function that makes it, is there and takes what it will be called with."""
    target = model["_target_"]
    try:
        maker = get_object(target)
    except Exception as reason:  # importing a file of the user's may raise anything
        why = " ".join(str(reason.__cause__ or reason).split()).rstrip(".")
        raise UserError(
            f"model._target_ must name a class that can be imported, as in my_model.Net, found {target!r} ({why}): "
            "PYTHONPATH=. before the command lets it find files of the working directory."
        ) from reason
    if not inspect.isclass(maker) and not inspect.isfunction(maker):
        raise UserError(f"model._target_ must name a class or a function, found {target!r}, a {type(maker).__name__}.")
    given = {"inputs": 1, "outputs": 1, **{key: value for key, value in model.items() if not key.startswith("_")}}
    try:
        inspect.signature(maker).bind(**given)
    except TypeError as reason:
        raise UserError(
            f"{target} must take the arguments {', '.join(given)} ({reason}): inputs and outputs are their numbers, "
            "others stand under model (model=own has none); change it, or name a function that calls it."
        ) from reason
