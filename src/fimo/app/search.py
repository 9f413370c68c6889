"""A search of settings that goes on where it was stopped."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from fimo.app import multirun
from fimo.errors import UserError
from fimo.pipeline.artifacts import short_hash

logger = logging.getLogger(__name__)


class Search(Sweeper):
    """Optuna's sweeper, which by itself adds `n_trials` to a stored study: here they are the number in all.

    The name of the study says what is searched in: another model, data set or seed is another study.

    Args:
        settings: of Optuna's sweeper, see conf/hydra/sweeper/search.yaml.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Look how many trials there are already.

        Args:
            hydra_context: of the multirun.
            task_function: what each trial calls.
            config: of the multirun, `hydra` with it.

        Raises:
            UserError: for an app that has nothing to minimise.
        """
        if config.hydra.job.name != "train":
            raise UserError("A search minimises the loss of the final model: use experiments/train.py for it.")
        import optuna  # an extra
        from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper

        for folder in (config.paths.output_dir, config.hydra.sweep.dir):
            Path(folder).mkdir(parents=True, exist_ok=True)
        from fimo.app.data import data_of
        from fimo.app.fingerprints import final_fingerprint
        from fimo.app.settings import plain

        cfg, varied = multirun.varied_settings(config)
        searched = short_hash({**final_fingerprint(plain(cfg), data_of(cfg)), "varied": varied})
        settings = {**self.settings, "study_name": f"{self.settings['study_name']}-{searched}"}
        study = optuna.create_study(settings["storage"], study_name=settings["study_name"], load_if_exists=True)
        finished = len(study.get_trials(states=(optuna.trial.TrialState.COMPLETE,)))
        if study.trials:
            settings["sampler"].reseed_rng()  # with its own seed it would begin with the same values again
        logger.info("search: %d of %d trials found, in %s", finished, settings["n_trials"], settings["storage"])
        settings["n_trials"] = max(0, settings["n_trials"] - finished)
        self.sweeper = OptunaSweeper(**settings)
        self.sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials that are missing."""
        self.sweeper.sweep(arguments)
