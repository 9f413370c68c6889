"""The commands with all that is in front of their functions, in this process: a new one imports for seconds."""

import logging
import os
import signal
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest
from hydra.core.hydra_config import HydraConfig

from fimo.app.multirun import ExitCode


def command_here(capsys, folder, *arguments, name="run"):
    """What `python experiments/NAME.py ARGUMENTS` ends with and prints; nothing of it stays in this process.

    Args:
        capsys: pytest's.
        folder: its files are below.
        arguments: of the command line.
        name: of the command.

    Returns:
        `returncode`, `stdout` and `stderr`, as of a process.
    """
    root, config, asked_to_end = logging.getLogger(), HydraConfig.instance().cfg, signal.getsignal(signal.SIGTERM)
    interrupted = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = root.handlers[:], root.level
    paths = (f"paths.output_dir={folder}/outputs", f"paths.results_dir={folder}/results")
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("HYDRA_FULL_ERROR", os.environ.get("HYDRA_FULL_ERROR", "0"))
        monkeypatch.setattr(sys, "argv", [f"experiments/{name}.py", *arguments, *paths])
        monkeypatch.setattr(sys, "path", sys.path[:])
        monkeypatch.setattr(ExitCode, "highest", 0)
        try:
            import_module(f"experiments.{name}").main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            root.handlers[:], root.level = before
            HydraConfig.instance().cfg = config
            signal.signal(signal.SIGTERM, asked_to_end)
            signal.signal(signal.SIGINT, interrupted)
    return SimpleNamespace(returncode=code, **dict(zip(("stdout", "stderr"), capsys.readouterr(), strict=True)))
