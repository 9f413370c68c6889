"""What every app shares: the config, errors in one line, exit codes."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable
from functools import wraps

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig

from fimo.app.checks import check
from fimo.app.errors import CONFIG_DIR, EXPECTED, sentence
from fimo.app.multirun import ExitCode
from fimo.errors import UserError
from fimo.preconditioners.base import MethodWarning
from hydra_plugins.fimo.ray import RayLauncher
from hydra_plugins.fimo.search import Search

# Flags of Hydra that may be written with a = behind one word; those of several words have dashes in them.
HYDRA_OPTIONS = ("cfg", "package", "info")
# Hydra's own switch: tracebacks for everything.
FULL_ERROR = os.environ.get("HYDRA_FULL_ERROR") == "1"


def app(function: Callable[[DictConfig], int | float]) -> Callable[[], None]:
    """Make a Hydra app of a function that takes the config and returns an exit code.

    A float in its place is what a search minimises; the code is 0 then.
    0: done; 2: the user's error, told in one sentence; 3: done, but some runs of further training diverged; 130:
    interrupted.
    """

    @wraps(function)
    def job(cfg: DictConfig) -> int | float:
        try:
            if "sweep" in HydraConfig.get().runtime.choices and HydraConfig.get().mode == RunMode.RUN:
                raise UserError("+sweep=… needs -m in front of it: a single run sweeps nothing.")
            prepare(cfg)
            return function(cfg)
        except EXPECTED as error:
            # Hydra would put a line of its own in front. In a multirun that line names the job and the others go on.
            text = sentence(error)
            if HydraConfig.get().mode == RunMode.RUN:
                stop(error)
            if FULL_ERROR or text is None:
                raise
            raise UserError(text) from error  # from another process only a plain one comes back whole

    def main() -> None:
        sys.argv[1:] = options(sys.argv[1:])
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands exceptions through instead of printing them
        for plugin in (RayLauncher, Search):  # an editable install hides them from Hydra's own search
            Plugins.instance().register(plugin)
        told(hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="config")(job))
        sys.exit(ExitCode.highest)

    main.__wrapped__ = function  # type: ignore[attr-defined]  # what a caller with a config of its own wants
    return main


def options(arguments: list[str]) -> list[str]:
    """The command line as Hydra takes it: its flags in front of the options, wherever they were written.

    Ends the process with a sentence for an option that is written as a flag, which Hydra would take for one of its own
    that begins likewise.
    """
    for argument in arguments:
        if (found := re.match(r"--?([\w./]+)=", argument)) and found[1] not in HYDRA_OPTIONS:
            stop(UserError(f"Options are written without dashes: {argument.lstrip('-')}, found {argument}."))
    flags = [argument for argument in arguments if argument in ("-m", "--multirun")]
    return flags + [argument for argument in arguments if argument not in flags]


def told(function: Callable[[], object]) -> None:
    """Call it; the user's errors end the process with one sentence, an interruption with another."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end: as if interrupted
    try:
        function()
    except KeyboardInterrupt:
        print("\ninterrupted: what is finished is kept, and the same command goes on from there", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        stop(error)


def prepare(cfg: DictConfig) -> None:
    """Check a config, and make this process what it asks for."""
    quiet()
    check(cfg)
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)


def stop(error: Exception) -> None:
    """End with one sentence where the error is the user's, and with a traceback where it is a bug."""
    text = sentence(error)
    if FULL_ERROR or text is None:
        raise error
    print(f"error: {text}", file=sys.stderr)
    sys.exit(2)


def quiet() -> None:
    """Silence what Lightning says about hardware, workers and loggers that are not wanted here."""
    warnings.filterwarnings("ignore", category=MethodWarning)  # said with the method's scores
    warnings.filterwarnings("ignore", message="Detected pickle protocol")  # the checkpoint's error is enough
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # what can't be imported is said in the error
    for source in ("pytorch_lightning", "lightning_fabric"):
        warnings.filterwarnings("ignore", module=source)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
