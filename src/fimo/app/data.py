"""From a config to the rows: one of the kinds of data that there are, or a function of the user's own."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from fimo.app.settings import imported, plain, require_arguments
from fimo.data.own import OwnData
from fimo.errors import UserError
from fimo.pipeline.specification import DataSource


def data_of(cfg: DictConfig) -> DataSource:
    """What `data` says.

    A class of rows is made with all that stands under `data`. A function is called with what `data=own` does not know,
    when the rows are needed, and returns both splits.

    Raises:
        UserError: where the target can't be imported, or doesn't take what it is called with.
    """
    target = cfg.data._target_
    thing = imported("data._target_", target, "a function that returns (train, test)", "my_data.make")
    if hasattr(thing, "load"):
        return instantiate(cfg.data, _convert_="all")
    if not callable(thing):
        raise UserError(f"data._target_ must name a function, found {target!r}, a {type(thing).__name__}.")
    known = {entry.name for entry in fields(OwnData)}
    settings = {key: value for key, value in plain(cfg.data).items() if key != "_target_"}
    given: dict[str, Any] = {key: value for key, value in settings.items() if key not in known}
    require_arguments(thing, target, given, "what it needs is added, as in +data.folder=my_folder")
    own = {key: value for key, value in settings.items() if key in known}
    return OwnData(make=partial(thing, **given), function=target, **own)
