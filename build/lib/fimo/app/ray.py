"""Jobs of a multirun on Ray.

The published launcher asks for a cloudpickle of before 3, older than what the rest of the project needs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from fimo.app.errors import ENDED, not_installed
from fimo.errors import UserError


class RayLauncher(Launcher):
    """Starts each job as a Ray task, which Ray starts again where its process dies.

    Args:
        init: of `ray.init`.
        remote: of `ray.remote`: what a job needs, and how often it is started again.
    """

    def __init__(self, init: DictConfig, remote: DictConfig) -> None:
        self.init, self.remote = _plain(init), _plain(remote)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what every job is made of.

        Args:
            hydra_context: of the multirun.
            task_function: what each job calls.
            config: of the multirun, `hydra` with it.
        """
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs, and wait for all of them, whatever happens to one.

        Args:
            job_overrides: the overrides of each job.
            initial_job_idx: the number of the first.

        Raises:
            UserError: where Ray isn't installed, or the process of a job died for good.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody unless the user wants it
        try:
            import ray
        except ImportError as reason:
            raise UserError(not_installed("hydra/launcher=ray", "ray")) from reason
        setup_globals()
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        ray.init(**self.init, ignore_reinit_error=True)
        shared = (self.context, self.config, self.task, Singleton.get_state())
        job = ray.remote(**self.remote)(_job)
        jobs = [
            job.remote(os.getcwd(), dict(os.environ), number, list(overrides), *shared)
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]
        ray.wait(jobs, num_returns=len(jobs))
        try:
            return ray.get(jobs)
        except ray.exceptions.RayTaskError as reason:  # raised in the job's process, before or after the job itself
            raise reason.cause from reason
        except ray.exceptions.RayError as reason:
            raise UserError(ENDED) from reason


def _job(folder: str, environment: Mapping[str, str], *job: Any) -> JobReturn:
    """One job as joblib's launcher does it, in the command's working directory, with what its environment has more."""
    from hydra_plugins.hydra_joblib_launcher._core import execute_job

    os.chdir(folder)
    os.environ.update({name: value for name, value in environment.items() if name not in os.environ})
    return execute_job(*job)


def _plain(node: DictConfig) -> Mapping[str, Any]:
    return OmegaConf.to_container(node, resolve=True)  # type: ignore[return-value]
