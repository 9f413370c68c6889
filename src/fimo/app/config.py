"""From a config to a `Run`, once."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from fimo.app import multirun
from fimo.app.checks import check_values
from fimo.app.data import data_of
from fimo.app.errors import CONFIG_DIR
from fimo.app.fingerprints import fingerprints_of
from fimo.app.methods import methods_of, unrolled_rows
from fimo.app.objective import measurement_of, objective_of
from fimo.app.settings import ANYWAY, TANGENT, TANGENTS, imported, optimizer_name, plain, require_arguments, several
from fimo.data.base import Data
from fimo.devices import device_named
from fimo.dtypes import DTYPES
from fimo.errors import Unavailable, UserError
from fimo.further_training.settings import FurtherTraining
from fimo.optimizers import derivative_of
from fimo.pipeline.run import Run
from fimo.pipeline.scorers import AnyMethod
from fimo.pipeline.specification import CurvatureLimits, Execution, FinalTrainingSettings, Seeds
from fimo.pipeline.uses import RankSettings, RemovalSettings
from fimo.ranking import TOP


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The config that the commands have with these overrides."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("config", list(overrides))


def run_of(cfg: DictConfig) -> Run:
    """Everything that a config asks for, as objects.

    Raises:
        UserError: for what no run can have, naming key, what was expected and what was found; `Unavailable` where
            the data set makes it impossible.
    """
    check_values(cfg)
    device = device_of(cfg)
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    training = training_of(cfg)
    methods = methods_of(cfg, training)
    network = _network(cfg)
    data = data_of(cfg)
    further, settings = cfg.further, plain(cfg)
    removal = {**settings["verify"], "shares": several(settings["verify"]["shares"])}
    return Run(
        name=multirun.run_name(cfg),
        data=data,
        data_name=cfg.data.name,
        network=network,
        objective=objective_of(cfg),
        measurement=measurement_of(cfg),
        parameters=settings["parameters"],
        final=_final(cfg),
        training=training,
        gold=TANGENT if further.gold in TANGENTS else further.gold,
        methods=methods,
        seeds=Seeds(further.first_seed, further.seeds, further.jobs, further.job),
        execution=Execution(device, further.processes, further.seeds_at_once),
        output_dir=Path(cfg.paths.output_dir),
        results_dir=Path(cfg.paths.results_dir),
        make_fingerprints=partial(fingerprints_of, settings, methods, data),
        ranked=RankSettings(_top(cfg), several(settings["rank"]["amounts"])),
        removed=RemovalSettings(**removal, methods=_chosen_labels(methods)),
        unrolled_limits=CurvatureLimits(unrolled_rows(cfg), cfg.facts.dual_bytes, cfg.facts.curvature),
        settings=settings,
        size=cfg.facts.size,
        swept=multirun.swept(),
        overrides=multirun.overrides(),
        open_log=_open_log(cfg),
    )


def _chosen_labels(methods: Mapping[str, AnyMethod]) -> list[str] | None:
    """The labels of the methods where they are chosen for this job, and are not those of every run."""
    return [method.label for method in methods.values()] if multirun.chooses("method") else None


def _top(cfg: DictConfig) -> int | None:
    """What was chosen; None where it is the default, of which there may be fewer training rows."""
    return cfg.rank.top if multirun.chooses("rank.top") or cfg.rank.top != TOP else None


def device_of(cfg: DictConfig) -> torch.device:
    """The device to compute on.

    Raises:
        UserError: for `cuda` where torch sees no GPU, and several processes on one.
    """
    device = device_named(cfg.device)
    if device.type == "cuda" and cfg.further.processes not in (1, "auto"):
        raise UserError(f"further.processes must be 1 on a GPU, found {cfg.further.processes}: it runs seeds together.")
    return device


def training_of(cfg: DictConfig) -> FurtherTraining:
    """What further training is.

    Raises:
        UserError: for settings that the optimiser doesn't take; `Unavailable` for tangents that say nothing of leaving
            an example out.
    """
    further, optimizer = plain(cfg.further), instantiate(cfg.optimizer)
    training = FurtherTraining(
        optimizer,
        epochs=further["epochs"],
        batch_size=cfg.data.batch_size,
        leave_out=further["leave_out"],
        evaluate_every=further["evaluate_every"],
        clip=further["clip"],
        batch_norm=further["batch_norm"],
        dtype=DTYPES[further["dtype"]],
        autocast=torch.bfloat16 if further["autocast"] else None,
        runs_at_once=None if further["runs_at_once"] == "auto" else further["runs_at_once"],
        tangents=further["gold"] in TANGENTS,
    )
    if training.tangents:
        derivative_of(training.make_optimizer([torch.zeros(1, requires_grad=True)]))
        if further["gold"] == TANGENT and optimizer_name(cfg) != "SGD":
            raise Unavailable(
                f"further.gold={TANGENT} needs optimizer=sgd, found {optimizer_name(cfg)}, whose steps divide by the "
                "size of past gradients, so that the derivative with respect to an example's weight does not stand "
                f"for leaving the whole example out: further.gold={ANYWAY} computes it all the same."
            )
    return training


def _final(cfg: DictConfig) -> FinalTrainingSettings:
    final = cfg.final
    return FinalTrainingSettings(
        epochs=final.epochs,
        batch_size=final.batch_size,
        optimizer=final.optimizer,
        lr=final.lr,
        weight_decay=final.weight_decay,
        clip=final.clip,
        keep=final.keep,
        schedule=final.schedule,
        augment=instantiate(final.augment, _convert_="all"),
        checkpoint=final.checkpoint,
        seed=cfg.seed,
    )


def _open_log(cfg: DictConfig) -> Any:
    if cfg.logger is None:
        return None
    return partial(_log, instantiate(cfg.logger), plain(cfg), multirun.group())


def _log(make: Any, settings: dict[str, Any], group: str | None, folder: Path) -> Any:
    return make(folder, folder.name, settings, group)


@dataclass(frozen=True)
class NetworkFromConfig:
    """Makes the network that a config names, of the loaded data.

    Attributes:
        target: a class or function, by its dotted name.
        settings: its arguments beside `inputs` and `outputs`.
        task: of the data. A pretrained network is told it, and the names of the data's classes.
    """

    target: str
    settings: dict[str, Any] = field(default_factory=dict)
    task: str | None = None

    def __call__(self, data: Data) -> nn.Module:
        """The untrained network for so many inputs and outputs."""
        # Below its key, which an error names.
        node = OmegaConf.create({"model": {"_target_": self.target, **self.settings}}).model
        offered = {"classes": data.classes, "task": self.task}
        maker = get_object(self.target)
        taken = inspect.signature(maker).parameters if getattr(maker, "pretrained", False) else {}
        more = {key: value for key, value in offered.items() if key in taken and key not in self.settings}
        return instantiate(node, inputs=data.inputs, outputs=data.outputs, **more, _convert_="all")


def _network(cfg: DictConfig) -> NetworkFromConfig:
    """What makes the network.

    Raises:
        UserError: where its class, or the function that makes it, isn't there or doesn't take what it is called with.
    """
    model = plain(cfg.model)
    target = model.pop("_target_")
    maker = imported("model._target_", target, "a class", "my_model.Net")
    if not inspect.isclass(maker) and not inspect.isfunction(maker):
        raise UserError(f"model._target_ must name a class or a function, found {target!r}, a {type(maker).__name__}.")
    given = {"inputs": 1, "outputs": 1, **{key: value for key, value in model.items() if not key.startswith("_")}}
    advice = (
        "inputs and outputs are how many of each the network has, the others are the settings under model (model=own "
        "has none); change it, or name a function that calls it"
    )
    require_arguments(maker, target, given, advice)
    return NetworkFromConfig(target, model, cfg.data.task)
