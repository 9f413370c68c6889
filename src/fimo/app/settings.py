"""The config as plain values."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from fimo.errors import UserError, short, some_of

# `further.gold`: every run begins at the final model, or as the final model began; or one run, and its tangents. The
# last is the same with an optimiser whose tangents do not stand for leaving out.
FURTHER, RETRAINING, TANGENT, ANYWAY = "leave_one_out", "retraining", "tangent", "tangent_anyway"
TANGENTS = (TANGENT, ANYWAY)
# Under `method`, of all methods.
SHARED = ("curvature_rows", "dtype")


def plain(node: DictConfig) -> dict[str, Any]:
    """A config node as plain Python, interpolations resolved."""
    return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)  # type: ignore[return-value]


def with_home(cfg: DictConfig) -> DictConfig:
    """The config with the home folder in place of `~` at the beginning of paths; no other value begins with `~/`.

    Args:
        cfg: composed; it is not changed.
    """
    copy = cfg.copy()
    for key in OmegaConf.to_container(copy, resolve=False):  # type: ignore[union-attr]
        _expand(copy, key)
    return copy


def _expand(node: Any, key: Any) -> None:
    if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key):
        return
    value = node[key]
    if isinstance(value, str) and (value == "~" or value.startswith("~/")):
        with open_dict(node):
            node[key] = str(Path(value).expanduser())
    elif OmegaConf.is_config(value):
        for inner in range(len(value)) if OmegaConf.is_list(value) else list(value):
            _expand(value, inner)


def imported(key: str, target: str, what: str, example: str) -> Any:
    """What a target names, which may stand in a file of the user's.

    Args:
        key: of the target, for the error.
        target: `module.name`.
        what: it should be, for the error.
        example: of a target in a file of the user's.

    Raises:
        UserError: where it can't be imported.
    """
    try:
        return get_object(target)
    except Exception as reason:  # importing a file of the user's may raise anything
        named = f"{key} must name {what} that can be imported, as in {example}, found {target!r}"
        raise UserError(f"{named}{_not_imported(target, reason.__cause__ or reason, example)}") from reason


def _not_imported(target: str, reason: BaseException, example: str) -> str:
    """The end of a sentence: what is wrong with a target that can't be imported, and what to do."""
    parts = target.split(".")
    if "" in parts:
        return ": it must be names with dots between them."
    known = max((n for n in range(1, len(parts)) if ".".join(parts[:n]) in sys.modules), default=0)
    if known == 0:
        if not isinstance(reason, ModuleNotFoundError) or reason.name != parts[0]:
            return _raised(parts[0], reason)
        return (
            f" ({short(reason)}): put its file ({example.partition('.')[0]}.py in the example) into the working "
            "directory, install it, or add its folder to PYTHONPATH."
        )
    holder: Any = sys.modules[".".join(parts[:known])]
    while known < len(parts) - 1 and hasattr(holder, parts[known]):
        holder, known = getattr(holder, parts[known]), known + 1
    inner = ".".join(parts[: known + 1])
    nameless = isinstance(reason, ModuleNotFoundError) and reason.name == inner
    if inspect.ismodule(holder) and not nameless:  # a module of a package, which is there
        return _raised(inner, reason)
    return f": {_without_name(holder, '.'.join(parts[:known]), parts[known])}"


def _raised(module: str, reason: BaseException) -> str:
    why = f"{type(reason).__name__}: {short(reason)}"
    return f": {module} can't be imported ({why}); mend it, or install what it needs."


def _without_name(holder: Any, title: str, name: str) -> str:
    """That a module or class has no such name, and which it has."""
    public = [key for key, value in getattr(holder, "__dict__", {}).items() if key[0] != "_" and callable(value)]
    file = f" ({holder.__file__})" if getattr(holder, "__file__", None) else ""
    if near := get_close_matches(name, public, n=1):
        return f"{title}{file} has no {name}; did you mean {near[0]}?"
    own = [key for key in public if getattr(getattr(holder, key), "__module__", None) == title]
    return f"{title}{file} has no {name}; it has {some_of(own or public) or 'no class and no function'}."


def require_arguments(thing: Any, target: str, given: Mapping[str, Any], advice: str) -> None:
    """Refuse a class or function of the user's that can't be called with what there is for it.

    Args:
        thing: the class or function.
        target: its dotted name, for the error.
        given: what it is called with, by name.
        advice: what to do, for the error.

    Raises:
        UserError: naming the arguments.
    """
    try:
        inspect.signature(thing).bind(**given)
    except TypeError as reason:
        raise UserError(
            f"{target} must take the arguments {', '.join(given) or 'none'} ({reason}): {advice}."
        ) from reason


def as_named_now(method: Mapping[str, Any]) -> dict[str, Any]:
    """A method's settings with the Gauss–Newton matrix, which was `gauss_newton` once, by its name."""
    return {key: "exact" if (key, value) == ("curvature", "gauss_newton") else value for key, value in method.items()}


def several(value: Any) -> list[Any] | None:
    """A list of what a setting has, which may be one number.

    Args:
        value: a number, a list, or None.
    """
    return value if value is None else list(value) if isinstance(value, (list, ListConfig)) else [value]


def without(node: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """A mapping without some of its keys.

    Args:
        node: a plain config node.
        keys: to leave away.
    """
    return {key: value for key, value in node.items() if key not in keys}


def optimizer_name(cfg: DictConfig) -> str:
    """Of further training, as torch calls it: `SGD`."""
    return str(cfg.optimizer._target_).rpartition(".")[2]


def method_names(cfg: DictConfig) -> list[str]:
    """Names of the chosen methods."""
    return [str(name) for name in cfg.get("method") or () if name not in SHARED]
