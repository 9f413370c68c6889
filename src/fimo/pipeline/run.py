"""The question of a run: its data and its final model."""

from __future__ import annotations

import json
import time
from functools import cached_property

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from fimo.app import settings
from fimo.app.settings import RETRAINING
from fimo.data.base import Data
from fimo.errors import Diverged, UserError
from fimo.further_training.order import Order
from fimo.models.checkpoint import check_outputs, load_weights
from fimo.models.objective import OBJECTIVES
from fimo.models.training import FinalTraining, metrics, train_final
from fimo.pipeline import addresses, artifacts, formats
from fimo.pipeline.artifacts import METRICS, MODEL
from fimo.problem import Problem


def say(text: str) -> None:
    """Tell the user, at once."""
    print(text, flush=True)


class Question:
    """What a run asks; what it takes is loaded or trained when it is first needed, and once.

    Args:
        cfg: the config.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg

    @cached_property
    def data(self) -> Data:
        """The chosen rows."""
        return instantiate(self.cfg.data, _convert_="all").load()

    @cached_property
    def problem(self) -> Problem:
        """Data and final model, which is trained (or taken from `final.checkpoint`) where it isn't there."""
        network = self._untrained()
        artifact = addresses.final_artifact(self.cfg)
        with artifact.lock(MODEL):
            if artifact.has(MODEL):
                load_weights(network, formats.read_weights(artifact.path(MODEL)), artifact.folder)
            else:
                _make_final(self.cfg, self.data, network, artifact)
        return self._about(network)

    @cached_property
    def start(self) -> Problem:
        """Where the gold standard's runs begin: at the final model; those of a re-training as the final model began."""
        return self._about(self._untrained()) if self.cfg.further.gold == RETRAINING else self.problem

    def _untrained(self) -> nn.Module:
        data = self.data
        torch.manual_seed(self.cfg.seed)  # nothing is drawn before the network: its randomness is part of the recipe
        network: nn.Module = instantiate(self.cfg.model, inputs=data.inputs, outputs=data.outputs, _convert_="all")
        check_outputs(network, data.train.keep(slice(0, 2)).inputs, data.outputs)
        return network

    def _about(self, network: nn.Module) -> Problem:
        network.eval().requires_grad_()  # all parameters are θ, frozen ones too
        data = self.data
        asked = Problem(network, OBJECTIVES[self.cfg.data.task], data.train, data.test, data.left_out)
        return asked.to(settings.device(self.cfg))


def _make_final(cfg: DictConfig, data: Data, network: nn.Module, artifact: artifacts.Artifact) -> None:
    start = time.perf_counter()
    objective = OBJECTIVES[cfg.data.task]
    facts: dict[str, object] = {}
    if cfg.final.checkpoint is not None:
        say(f"final model: taken from {cfg.final.checkpoint}")
        load_weights(network, formats.read_weights(cfg.final.checkpoint), cfg.final.checkpoint)
    elif cfg.final.epochs == 0:
        say("final model: the network as it is, nothing is trained (final.epochs=0)")
    else:
        say(f"final model: training, {cfg.final.epochs} epochs")
        facts = _trained(cfg, data, network)
    found = {
        split: metrics(network, objective, rows) for split, rows in (("train", data.train), ("test", data.test_all))
    }
    seconds = round(time.perf_counter() - start, 2)
    artifact.write(METRICS, json.dumps({**found, **facts}, indent=1).encode(), seconds=seconds)
    artifact.write(MODEL, formats.from_weights(network.state_dict()), seconds=seconds)
    told = ", ".join(f"{name} {value:.4g}" for name, value in found["test"].items())
    say(f"final model: test {told} ({seconds:.0f} s), in {artifact.folder}")


def _trained(cfg: DictConfig, data: Data, network: nn.Module) -> dict[str, object]:
    """Train the final model in place; what there is to tell of it beside its metrics."""
    final = cfg.final
    augment = instantiate(final.augment, _convert_="all")
    validation_rows = data.test_all if final.keep == "best" else None
    chosen = (final.optimizer, final.lr, final.weight_decay, final.clip, augment, validation_rows, final.schedule)
    module = FinalTraining(network, OBJECTIVES[cfg.data.task], *chosen)
    order = Order(len(data.train), final.batch_size, cfg.seed)
    try:
        train_final(module, data.train, order, final.epochs, settings.device(cfg))
    except UserError as error:  # of training itself: it left the finite numbers
        raise Diverged(str(error)) from error
    network.cpu()
    if validation_rows is None:
        return {}
    return {"kept": {"epoch": module.best_epoch, "of": final.epochs, "by": "the test split"}}
