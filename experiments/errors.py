"""Errors that the user can put right, each as one sentence."""

from __future__ import annotations

import errno
import os

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from fimo.errors import UserError

# Anything else is a bug and keeps its traceback; so does an OSError that is none of these.
EXPECTED = (UserError, HydraException, OmegaConfBaseException, OSError)
DISK = {
    errno.ENOSPC: "No space is left on the disk",
    errno.EDQUOT: "The disk quota is used up",
    errno.EACCES: "No permission to write",
    errno.EROFS: "The file system is read-only",
}


def sentence(error: Exception) -> str | None:
    """The error in one line, or None where it is not the user's."""
    if isinstance(error, OSError):
        if error.errno not in DISK:
            return None
        where = os.fsdecode(error.filename) if error.filename else "while writing"
        return (
            f"{DISK[error.errno]} ({where}): what is finished is kept; make room or choose other paths.output_dir and "
            "paths.results_dir, and run the same command again."
        )
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, choice = str(error.missing_cfg_file).removesuffix(".yaml").rpartition("/")
        return f"{group}={choice} is not a choice: expected one of {', '.join(sorted(error.options))}."
    cause = error.__cause__
    if isinstance(cause, ConfigKeyError) and isinstance(cause.parent_node, DictConfig):
        group = str(cause.full_key).rpartition(".")[0]
        return (
            f"{cause.full_key} is not a config key: expected one of "
            f"{', '.join(f'{group}.{key!s}'.lstrip('.') for key in cause.parent_node)}."
        )
    return " ".join(str(error).split())
