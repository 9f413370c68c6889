"""Weights as people have them: safetensors, also in shards, torch's state dicts, and what trainers put around them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from fimo import hub
from fimo.errors import UserError, short
from fimo.pipeline import formats
from fimo.pipeline.files import digest, short_hash

logger = logging.getLogger(__name__)

SINGLE, INDEX = hub.WEIGHTS
# What trainers call a state dict among the other things that they store; the first that is there is taken.
ENTRIES = ("state_dict", "model_state_dict", "model", "network", "net", "module", "weights", "params")


def checkpoint_files(path: str | Path) -> list[Path]:
    """The files that a checkpoint consists of.

    Args:
        path: of a file of weights, of an index of shards (`….safetensors.index.json`), or of a folder with one of them.

    Returns:
        The file itself, or the index and all its shards.

    Raises:
        UserError: where there is no such file, or a shard is missing.
    """
    path = Path(path)
    if path.is_dir():
        named = next((path / name for name in (INDEX, SINGLE) if (path / name).is_file()), None)
        if named is None:
            adapters = (path / hub.ADAPTER).is_file()
            hint = "; it holds the adapters of a PEFT model, which model.name takes" if adapters else ""
            raise UserError(
                f"final.checkpoint must be a file of weights, found the folder {path} without {SINGLE}{hint}."
            )
        path = named
    if not path.is_file():
        raise UserError(f"final.checkpoint must be a file of weights, found nothing at {path}.")
    if path.suffix != ".json":
        return [path]
    try:
        names = sorted(set(json.loads(path.read_text())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as reason:
        raise UserError(
            f"{path} must be an index of shards with a weight_map, found another ({short(reason)})."
        ) from reason
    if missing := [name for name in names if not (path.parent / name).is_file()]:
        raise UserError(f"{path} names {len(names)} shards, found no {missing[0]} beside it: get it anew.")
    return [path, *(path.parent / name for name in names)]


def checkpoint_digest(path: str | Path) -> str:
    """SHA-256 of a checkpoint's file, or a hash of those of all its shards.

    Args:
        path: see `checkpoint_files`.

    Raises:
        UserError: where there is no such file.
    """
    files = checkpoint_files(path)
    return str(digest(files[0])) if len(files) == 1 else short_hash({file.name: digest(file) for file in files})


def read_checkpoint(path: str | Path) -> dict[str, torch.Tensor]:
    """Weights that a user brings, by name. Nothing is ever unpickled freely.

    Args:
        path: of safetensors, or of what torch has stored: a state dict, or what a trainer has put around one (a
            Lightning checkpoint, `{"state_dict": …}`, `{"model": …, "optimizer": …}`); see `checkpoint_files`.

    Raises:
        UserError: where the file isn't there, or holds something else.
    """
    files = checkpoint_files(path)
    shards = [_read(file) for file in files if file.suffix != ".json"]
    return {name: tensor for shard in shards for name, tensor in shard.items()}


def _read(path: Path) -> dict[str, torch.Tensor]:
    with suppress(UserError):  # not safetensors: then it has to be torch's own format
        return formats.read_weights(path)
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as reason:  # pickle's, zip's and torch's own errors all come through here
        raise UserError(
            f"{path} is neither safetensors nor a torch state dict without code ({type(reason).__name__}): write one "
            "by torch.save(model.state_dict(), PATH), or by torch.save(torch.load(PATH, weights_only=False)"
            "['state_dict'], NEW) of a trainer's checkpoint that you trust."
        ) from reason
    return _state_dict(stored, path)


def _state_dict(stored: Any, path: Path) -> dict[str, torch.Tensor]:
    """The state dict in what was stored."""
    if _is_state_dict(stored):
        return dict(stored)
    entries = stored if isinstance(stored, Mapping) else {}
    name = next((name for name in ENTRIES if _is_state_dict(entries.get(name))), None)
    if name is None:
        listed = f" with {', '.join(map(str, list(entries)[:8]))}" if entries else ""
        raise UserError(
            f"{path} must hold a state dict (names and tensors), possibly as {', '.join(ENTRIES[:3])} of a mapping, "
            f"found a {type(stored).__name__}{listed}."
        )
    others = ", ".join(str(other) for other in entries if other != name)
    logger.info("%s: the weights are its %s%s", path, name, f"; not read: {others}" if others else "")
    return dict(entries[name])


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(tensor, torch.Tensor) for tensor in value.values())
    )
