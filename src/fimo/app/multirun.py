"""What a job knows of the multirun that it belongs to, and what the multirun learns of its jobs."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from fimo.app.cli import COMMANDS
from fimo.pipeline import artifacts


def multiply(*factors: float) -> float:
    """The product, without rounding's last digits: a value that is reached in another way has the same address."""
    product = math.prod(factors)
    return float(f"{product:.12g}") if isinstance(product, float) else product


def purpose(command: str) -> str:
    """What a command gives, as a sentence for its --help."""
    return f"What it gives: {COMMANDS[command]}." if command in COMMANDS else ""


logger = logging.getLogger(__name__)
OmegaConf.register_new_resolver("multiply", multiply, replace=True)  # for the configs, as in ${multiply:${times.lr},…}
OmegaConf.register_new_resolver("purpose", purpose, replace=True)


def swept() -> dict[str, str]:
    """What this job was given of what the multirun varies, by key; nothing in a single run."""
    if not HydraConfig.initialized():  # composed for a figure of the paper
        return {}
    job = HydraConfig.get()
    plan = Path(job.sweep.dir) / "multirun.yaml"
    if job.mode != RunMode.MULTIRUN or not plan.is_file():
        return {}
    varied = _varied(OmegaConf.load(plan).hydra)
    parts = [override.partition("=") for override in job.overrides.task]
    return {key: value for key, _, value in parts if key in varied}


def _varied(hydra: DictConfig) -> dict[str, str]:
    """What a sweep's config or the command line gives several values, by key; the command line has the last word."""
    given = [f"{key}={value}" for key, value in (hydra.sweeper.params or {}).items()] + list(hydra.overrides.task)
    last = {override.get_key_element(): override for override in OverridesParser.create().parse_overrides(given)}
    return {key: str(override.input_line) for key, override in last.items() if override.is_sweep_override()}


def run_name(cfg: DictConfig) -> str:
    """The config's name, with the swept overrides of a multirun job appended."""
    parts = [f"{key}={value}" for key, value in swept().items() if key != "name"]
    return "-".join([str(cfg.name), *(part.replace("/", "_") for part in parts)])


def chooses(key: str) -> bool:
    """Whether this job's command line, or the multirun that it belongs to, chooses a key's value or a group's config.

    Args:
        key: such as `rank.top`, or a group such as `method`.
    """
    return any(override.lstrip("+").partition("=")[0] == key for override in overrides())


def overrides() -> tuple[str, ...]:
    """The options of this job's command line, without paths and names."""
    if not HydraConfig.initialized():
        return ()
    task = HydraConfig.get().overrides.task
    return tuple(override for override in task if not override.startswith(("paths.", "name=", "threads=")))


def group() -> str | None:
    """What all jobs of a multirun are called: its sweep, where it has one, and when it began. None in a single run."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    job = HydraConfig.get()
    return "-".join(part for part in (job.runtime.choices.get("sweep"), Path(job.sweep.dir).name) if part)


def varied_settings(config: DictConfig) -> tuple[DictConfig, dict[str, str]]:
    """A multirun's config without what it varies, and the values between which it varies it, by key.

    Args:
        config: the multirun's, `hydra` with it.
    """
    cfg, varied = config.copy(), _varied(config.hydra)
    for key in varied:
        OmegaConf.update(cfg, key, None)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg, varied


class ExitCode(Callback):
    """The highest exit code of all jobs, in whatever processes they run: it goes through a file for each."""

    highest: ClassVar[int] = 0

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Keep the code of a job; say why one of a multirun failed, of which Hydra says no more than the first's.

        Args:
            config: of the job, `hydra` with it.
            job_return: what it returned, or how it failed.
            kwargs: what later versions of Hydra may hand over.
        """
        try:
            code = job_return.return_value if job_return.status != JobStatus.UNKNOWN else 0
        except Exception as error:  # the job's own
            if config.hydra.mode == RunMode.MULTIRUN:
                logger.info("job %s of the multirun failed: %s", config.hydra.job.num, error)
            return
        if not isinstance(code, int) or code == 0:  # no code is what a search minimises
            return
        ExitCode.highest = max(ExitCode.highest, code)
        if config.hydra.mode == RunMode.MULTIRUN:
            artifacts.write(Path(config.hydra.sweep.dir) / f"{config.hydra.job.num}.exit", str(code).encode())

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Gather the codes of all jobs."""
        files = Path(config.hydra.sweep.dir).glob("*.exit")
        ExitCode.highest = max((int(file.read_text()) for file in files), default=0)
