"""Errors that the user can put right, each as one sentence."""

from __future__ import annotations

import errno
import inspect
import os
import re
import traceback
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from hydra.utils import get_object
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from fimo.errors import UserError, short

# Beside the sources in a checkout, inside the package where it is installed.
_CHECKOUT = Path(__file__).parents[3] / "conf"
CONFIG_DIR = _CHECKOUT if (_CHECKOUT / "config.yaml").is_file() else Path(__file__).parents[1] / "conf"
# Anything else is a bug and keeps its traceback; so does an OSError that is none of these.
EXPECTED = (UserError, HydraException, OmegaConfBaseException, OSError)
# What launchers raise where a job's process ends before the job; by name, as their packages needn't be there.
ENDED_BY = ("TerminatedWorkerError", "UncompletedJobError", "FailedJobError")
ENDED = "A job of the sweep was killed or crashed: what is finished is kept, and the same command goes on from there."
# Choices that need a package which is not installed by default, and the extra that brings it.
EXTRAS = {
    "hydra/launcher=submitit_slurm": ("hydra/launcher=slurm", "slurm"),
    "hydra/launcher=submitit_local": ("hydra/launcher=submitit_local", "slurm"),
    "hydra/sweeper=optuna": ("hydra/sweeper=search", "search"),
}
ROOM, ELSEWHERE = "make room", "choose another place by paths.output_dir and paths.results_dir"
# What the operating system says of disks and files, and what to do.
DISK = {
    errno.ENOSPC: ("No space is left on the disk", ROOM),
    errno.EDQUOT: ("The disk quota is used up", ROOM),
    errno.EACCES: ("No permission to {does}", "change the permissions"),
    errno.EPERM: ("No permission to {does}", "change the permissions"),
    errno.EROFS: ("The file system is read-only", ""),
    errno.ENOENT: ("No file or folder can be made here", ""),
    errno.ENOTDIR: ("A file is where a folder is needed", "move it"),
    errno.EEXIST: ("A file is where a folder is needed", "move it"),
    errno.EISDIR: ("A folder is where a file is needed", "move it"),
    errno.ENAMETOOLONG: ("A name is too long for the file system", "choose a shorter name"),
    errno.ENOLCK: ("The file system has no file locks", ""),
    errno.ENOSYS: ("The file system has no file locks", ""),
    errno.EOPNOTSUPP: ("The file system lacks what is needed (file locks, perhaps)", ""),
    errno.EIO: ("The disk failed to {does}", "check the disk"),
    errno.ESTALE: ("A file of a shared folder is gone", "mount the folder anew"),
    errno.EMFILE: ("Too many files are open", "raise the limit (ulimit -n)"),
    errno.ENFILE: ("Too many files are open", "close other programs"),
}
# Nothing that only reads meets these.
WRITES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EEXIST, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
# Functions that write, of this package and of what it calls: one of them is in the traceback of an error of writing.
WRITERS = {"write", "mkdir", "makedirs", "acquire", "unlink", "touch", "save", "write_text", "write_bytes"}


def sentence(error: Exception) -> str | None:
    """The error in one line, or None where it is not the user's."""
    if type(error).__name__ in ENDED_BY:
        return ENDED
    if isinstance(error, NotImplementedError) and "flock" in str(error):  # of filelock, for some file systems
        error = OSError(errno.ENOLCK, str(error))
    if isinstance(error, ValueError) and "Config group override" in str(error):
        return f"A group of the config needs the name of a choice, as in data=csv ({short(error)}): --help has all."
    if not isinstance(error, EXPECTED):
        return None
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return _not_made(error, error.__cause__)
    text = " ".join(str(error).split())
    if isinstance(error, MissingConfigException):
        return _missing_choice(text)
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} must be given: add {error.full_key}=… to the command."
    if isinstance(error, OSError):
        return _of_the_system(error)
    if unknown := re.match(r"Could not override '([^']+)'", text):
        if others := _choices_with(unknown[1]):
            more = (
                "which isn't chosen: choose it" if len(others) == 1 else "none of which is chosen: choose one of them"
            )
            return f"{unknown[1]} is a setting of {', '.join(others)}, {more}, or leave the setting out."
        own = f" A method of your own is +{unknown[1]}=…." if re.fullmatch(r"method\.\w+\._target_", unknown[1]) else ""
        near = get_close_matches(unknown[1], {".".join(key) for path in _files() for key in _keys(_placed(path))}, n=1)
        hint = f" Did you mean {near[0]}?" if near and not own else own
        return f"{unknown[1]} is not a config key or group: `--cfg job` prints all keys, `--help` all groups.{hint}"
    if several := re.match(r"Ambiguous value for argument '([^=]+)=(.*?)' 1\.", text):
        return (
            f"{several[1]}={several[2]} gives several values: with -m there is one job for each (run.py and the "
            f"stages), a list is written '{several[1]}=[{several[2]}]', and one value with a comma in it "
            f"""'{several[1]}="{several[2]}"'."""
        )
    if isinstance(error, OverrideParseException):
        return f"The option {error.override} can't be read: {quoted_form(error.override)}."
    return text


def _choices_with(key: str) -> list[str]:
    """The choices of the config's groups that have a setting, as `data=csv`."""
    return [f"{path.parent.name}={path.stem}" for path in _files()[1:] if tuple(key.split(".")) in _keys(_placed(path))]


def _files() -> list[Path]:
    """The config itself, and the choices of its groups."""
    chosen = OmegaConf.load(CONFIG_DIR / "config.yaml").defaults
    groups = [group for entry in chosen if OmegaConf.is_dict(entry) for group in entry if (CONFIG_DIR / group).is_dir()]
    return [
        CONFIG_DIR / "config.yaml",
        *(path for group in groups for path in sorted((CONFIG_DIR / group).glob("*.yaml"))),
    ]


def _placed(path: Path) -> Any:
    """What a file of a group has, at its place in the config."""
    package = re.match(r"# @package (\S+)", path.read_text())
    node: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    place = package[1] if package else path.parent.name
    for name in [] if place == "_global_" or path.parent == CONFIG_DIR else reversed(place.split(".")):
        node = {name: node}
    return node


def _keys(node: Any) -> set[tuple[str, ...]]:
    """Names of what stands in a config, and in what stands there."""
    if not isinstance(node, dict):
        return set()
    return {(str(name), *inner) for name, part in node.items() for inner in ((), *_keys(part))}


def quoted_form(option: str) -> str:
    """How an option is written for the shell, so that its value is taken as it stands.

    Args:
        option: `key=value`, as it was written.
    """
    key, equals, value = option.partition("=")
    if not equals:
        return "options are written key=value"
    inner = re.sub(r'(\\*)("|$)', lambda at: at[1] * 2 + ('\\"' if at[2] else ""), value)
    shell = f'{key}="{inner}"'.replace("'", "'\\''")
    special = f"a value with special characters is written '{shell}', in both kinds of quotes"
    return f"{special}, and a list '{key}=[1,2,3]'"


def _of_the_system(error: OSError) -> str | None:
    """What the operating system refused; None where it may be a bug, as a missing file that is read is."""
    names = {frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)}
    writes = error.errno in WRITES or bool(names & WRITERS)
    if error.errno not in DISK or (error.errno == errno.ENOENT and not writes):
        return None
    what, remedy = DISK[error.errno]
    known = writes or names  # an error without a traceback comes from another process
    what = what.format(does=("write" if writes else "read") if known else "read or write")
    where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
    remedies = [remedy] if remedy else []
    if writes or not known:
        remedies.append(ELSEWHERE)
    return f"{what}{where}: what is finished is kept; {' or '.join(remedies)}, and run the same command again."


def _not_made(error: InstantiationException, cause: BaseException) -> str:
    """What an object of the config says of its arguments, and which object it is."""
    key = str(error).rpartition("full_key: ")[2].strip()
    if isinstance(cause, UserError):
        return f"{key}: {cause}"
    target = re.search(r"target '([^']+)'", str(error))
    if target and (wrong := _unknown_setting(target[1], cause)):
        return f"{key}: {target[1]} can't be made with these settings: {wrong}."
    reason = " ".join(f"{type(cause).__name__}: {cause}".split()).rstrip(".")
    return f"{key}: {target[1] if target else 'its _target_'} can't be made with these settings ({reason})."


def _unknown_setting(target: str, cause: BaseException) -> str | None:
    """That a class or function has no such argument, and which it has; None where something else is wrong."""
    name = re.escape(target.rpartition(".")[2])
    own = rf"{name}(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'"
    if not isinstance(cause, TypeError) or not (unknown := re.match(own, str(cause))):
        return None
    taken = [key for key in inspect.signature(get_object(target)).parameters if key != unknown[1]]
    return f"it has no {unknown[1]} but {', '.join(taken) or 'no settings'}; leave {unknown[1]} out"


def _missing_choice(text: str) -> str:
    """Hydra says of some wrong choices which there are, and of members of a list it does not."""
    named = re.search(r"Could not (?:find|load) '(.+?)/([^/']+)'", text)
    if named is None:
        return text
    group, choice = named.groups()
    if extra := EXTRAS.get(f"{group}={choice}"):
        return not_installed(*extra)
    stored = [option.removesuffix(".yaml") for option in ConfigStore.instance().list(group)] if "/" in group else []
    choices = sorted({*stored, *(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))} - {"_dummy_"})
    if not choices:
        return f"{group} is not a config group: `--help` lists all groups."
    return f"{group}={choice} is not a choice: expected one of {', '.join(choices)}."


def not_installed(choice: str, extra: str) -> str:
    """How to install what a choice needs.

    Args:
        choice: as on the command line, `hydra/launcher=ray`.
        extra: of this package that brings it.
    """
    return f"{choice} needs packages that are not installed: pip install -c constraints.txt -e '.[{extra}]'"
