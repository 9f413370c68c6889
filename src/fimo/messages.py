"""Messages of the commands: what the package logs, as plain lines on standard output."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import TextIO

from fimo.errors import MethodWarning


class _StandardOutput(logging.StreamHandler):
    """Writes to what standard output is at that moment."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        """Standard output."""
        return sys.stdout


def log_to_stdout() -> None:
    """Let the package's log say what happens, a plain line for each message; calling it again changes nothing."""
    package = logging.getLogger("fimo")
    if not any(isinstance(handler, _StandardOutput) for handler in package.handlers):
        handler = _StandardOutput()
        handler.setFormatter(logging.Formatter("%(message)s"))
        package.addHandler(handler)
    package.setLevel(logging.INFO)
    package.propagate = False


def silence_libraries() -> None:
    """Silence what libraries log that the commands say themselves."""
    warnings.filterwarnings("ignore", category=MethodWarning)  # a note of the method says it
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # what can't be imported is in the error's sentence
    warnings.filterwarnings("ignore", message="Detected pickle protocol")  # the checkpoint's error is enough
    warnings.filterwarnings("ignore", message="IProgress not found")  # a notebook without widgets has a plain bar
