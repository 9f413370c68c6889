"""The objective of a config: one of the project's losses, or a function or class of the user's."""

from __future__ import annotations

import inspect
from functools import partial

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig

from fimo.app.settings import plain, without
from fimo.errors import UserError, short
from fimo.models.losses import OBJECTIVES
from fimo.models.objective import Objective, as_objective


def objective_of(cfg: DictConfig) -> Objective:
    """The loss that training lowers.

    Args:
        cfg: the config; without a target it is the loss of the data's task.

    Raises:
        UserError: where the target isn't there, does not take its settings, or is no objective.
    """
    target = cfg.objective._target_
    if target is None:
        return OBJECTIVES[cfg.data.task]
    try:
        thing = get_object(target)
    except Exception as reason:  # importing a file of the user's may raise anything
        raise UserError(
            "objective._target_ must name a function or class that can be imported, as in my_loss.loss, found "
            f"{target!r} ({short(reason.__cause__ or reason)}): my_loss.py lies in the working directory, is "
            "installed, or is on PYTHONPATH."
        ) from reason
    if inspect.isclass(thing):
        return as_objective(instantiate(cfg.objective, _convert_="all"))
    settings = without(plain(cfg.objective), "_target_")
    return as_objective(partial(thing, **settings) if settings else thing)
