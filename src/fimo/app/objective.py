"""The objective and the measurement of a config: the project's own, or a function or class of the user's."""

from __future__ import annotations

import inspect
from functools import partial

from hydra.utils import instantiate
from omegaconf import DictConfig

from fimo.app.settings import imported, plain, without
from fimo.errors import UserError
from fimo.models.losses import OBJECTIVES
from fimo.models.objective import Objective
from fimo.models.own_objective import as_objective


def objective_of(cfg: DictConfig) -> Objective:
    """The loss that training lowers; without a target it is that of the data's task.

    Raises:
        UserError: where the target isn't there, does not take its settings, or is no objective, and for another task.
    """
    if objective := _target_of(cfg, "objective"):
        return objective
    if cfg.data.task not in OBJECTIVES:
        raise UserError(f"data.task must be one of {', '.join(OBJECTIVES)}, found {cfg.data.task!r}.")
    return OBJECTIVES[cfg.data.task]


def measurement_of(cfg: DictConfig) -> Objective | None:
    """What is watched at test examples; None without a target, for the objective's loss.

    Raises:
        UserError: where the target isn't there, does not take its settings, or is no measurement.
    """
    return _target_of(cfg, "measurement")


def _target_of(cfg: DictConfig, key: str) -> Objective | None:
    target = cfg[key]._target_
    if target is None:
        return None
    thing = imported(f"{key}._target_", target, "a function or class", "my_file.my_function")
    if inspect.isclass(thing):
        return as_objective(instantiate(cfg[key], _convert_="all"), key)
    settings = without(plain(cfg[key]), "_target_")
    return as_objective(partial(thing, **settings) if settings else thing, key)
