"""What every command shares: from the command line to a run, errors in one line, exit codes."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig

from fimo.app.checks import check_values
from fimo.app.cli import interrupted, is_interruption
from fimo.app.errors import CONFIG_DIR, EXPECTED, sentence
from fimo.app.multirun import ExitCode
from fimo.app.settings import with_home
from fimo.compat import lasting_imports
from fimo.errors import Diverged, UserError
from fimo.messages import log_to_stdout, silence_libraries
from hydra_plugins.fimo.ray import RayLauncher
from hydra_plugins.fimo.search import Search

if TYPE_CHECKING:
    from fimo.pipeline.run import Run

logger = logging.getLogger(__name__)
# Flags of Hydra that may be written with a = behind one word; those of several words have dashes in them.
HYDRA_OPTIONS = ("cfg", "package", "info")
# Hydra's own switch: tracebacks for everything.
FULL_ERROR = os.environ.get("HYDRA_FULL_ERROR") == "1"


Command = Callable[["Run"], int | float]


def app_named(suffix: str) -> Callable[[Command], Callable[[], None]]:
    """`app` for a command whose results lie beside those of a run, as `diabetes-rank`, where no name is given.

    Args:
        suffix: of the experiment's name.
    """
    return partial(app, suffix=suffix)


def app(function: Command, suffix: str = "") -> Callable[[], None]:
    """Make a Hydra app of a function that takes a run and returns an exit code.

    A float in its place is what a search minimises; the code is 0 then.
    0: done; 2: the user's error, in one sentence; 3: done, but runs of further training diverged or methods have no
    scores; 130: interrupted.

    Args:
        function: of the run.
        suffix: of the name of the results folder, where none is given.

    Raises:
        UserError: in a job of a multirun, for what the user can put right; a single run ends with the sentence instead.
    """

    @wraps(function)
    def job(cfg: DictConfig) -> int | float:
        try:
            return _job(function, cfg, suffix)
        except (*EXPECTED, NotImplementedError) as error:
            # Hydra would put a line of its own in front. In a multirun that line names the job and the others go on.
            text = sentence(error)
            if HydraConfig.get().mode == RunMode.RUN:
                stop(error)
            if FULL_ERROR or text is None:
                raise
            raise UserError(text) from error  # from another process only a plain one comes back whole

    def main() -> None:
        sys.argv[1:] = options(sys.argv[1:])
        if os.getcwd() not in sys.path:  # where a network of the user's own may lie
            sys.path.insert(0, os.getcwd())
        log_to_stdout()
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands exceptions through instead of printing them
        for plugin in (RayLauncher, Search):  # an editable install hides them from Hydra's own search
            Plugins.instance().register(plugin)
        guarded(hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="config")(job))
        sys.exit(ExitCode.highest)

    main.__wrapped__ = function  # type: ignore[attr-defined]  # what a caller with a run of its own wants
    return main


def _job(function: Command, cfg: DictConfig, suffix: str) -> int | float:
    job = HydraConfig.get()
    if "sweep" in job.runtime.choices and job.mode == RunMode.RUN:
        raise UserError("+sweep=… needs -m in front of it: a single run sweeps nothing.")
    log_to_stdout()
    silence_libraries()
    cfg = with_home(cfg)
    _say_whose_settings(job)
    if suffix and not any(override.startswith("name=") for override in job.overrides.task):
        cfg.name = f"{cfg.name}{suffix}"
    check_values(cfg)
    with lasting_imports():
        from fimo.app.config import run_of  # imports torch: what is wrong with the values was said before

    try:
        return function(run_of(cfg))
    except Diverged as error:
        if job.runtime.choices.get("hydra/sweeper") != "search":
            raise
        logger.info(str(error))  # what a search has to know, and no reason to end it
        return float("inf")


def _say_whose_settings(job: Any) -> None:
    """Tell of other data in the default experiment, whose settings are not made for them.

    Args:
        job: Hydra's config.
    """
    given = {override.lstrip("+~").partition("=")[0] for override in job.overrides.task}
    choices = job.runtime.choices
    if "data" in given and "experiment" not in given and choices["data"] != choices["experiment"]:
        logger.info(
            "data=%s stands in experiment=%s, the default: learning rates, epochs, damping and the name of the results "
            "are that experiment's where you don't set them",
            choices["data"],
            choices["experiment"],
        )


def options(arguments: list[str]) -> list[str]:
    """The command line as Hydra takes it: its flags in front of the options, wherever they were written.

    Ends the process with a sentence for an option that is written as a flag, which Hydra would take for one of its own
    that begins likewise.
    """
    for argument in arguments:
        if (option := re.match(r"--?([\w./]+)=", argument)) and option[1] not in HYDRA_OPTIONS:
            stop(UserError(f"Options are written without dashes: {argument.lstrip('-')}, found {argument}."))
    flags = [argument for argument in arguments if argument in ("-m", "--multirun")]
    return flags + [argument for argument in arguments if argument not in flags]


def guarded(function: Callable[[], object]) -> None:
    """Call it; the user's errors end the process with one sentence, an interruption with another."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a request to end is an interruption
    try:
        function()
    except KeyboardInterrupt:
        interrupted()
    except Exception as error:
        if is_interruption(error):
            interrupted()
        stop(error)


def stop(error: Exception) -> None:
    """End with one sentence where the error is the user's, and with a traceback where it is a bug."""
    text = sentence(error)
    if FULL_ERROR or text is None:
        raise error
    print(f"error: {text}", file=sys.stderr)
    sys.exit(2)
