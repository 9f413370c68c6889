"""Addresses: which part of the config, of the data and of the code determines which result."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hydra.utils import get_object, instantiate
from omegaconf import DictConfig

from fimo import hub
from fimo.app.settings import SHARED, TANGENT, TANGENTS, labels, optimizer_name, plain, seeds
from fimo.data.splits import read_left_out
from fimo.errors import UserError
from fimo.pipeline.artifacts import Artifact, short_hash
from fimo.pipeline.methods import follows
from fimo.preconditioners.damping import Damping

# Raise it when the files of a results folder change: folders of an older layout are not taken for finished then.
RESULTS_LAYOUT = 3
# Of the preconditioners: what all are made with, and what those are that follow further training.
SHARED_CODE = ("base", "damping", "linear_recursion")
FOLLOWING_CODE = ("drift", "gauss_newton_functions", "path", "rescaling", "unrolled_gauss_newton")
# How much and how fast, not what: these change no seed's file.
HOW_FAST = ("runs_at_once", "seeds_at_once", "processes", "seeds", "first_seed", "jobs", "job")


def _without(node: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in keys}


def final_config(cfg: DictConfig) -> dict[str, Any]:
    """What determines the final model."""
    data = plain(cfg.data)
    source = _without(data["source"], "url", "page")
    source |= _content(data["source"], Path(data["data_dir"]))
    # Which rows are trained on depends on the left-out ones only where some rows are not kept.
    chosen = _left_out(data) if data["train_rows"] else {}
    rows = _without(data, "source", "data_dir", "batch_size", "test_count", "left_out", "left_out_first")
    model, final = plain(cfg.model), plain(cfg.final)
    # A network or a source of one's own is edited now and then: what it is written in belongs to what it is.
    written = {"model": model, "data": data, "source": source, "augment": final["augment"]}
    code = {what: _code_hash(_room(node["_target_"])) for what, node in written.items() if node}
    config = {"data": {**rows, **chosen, "source": source}, "model": model, "code": code, **_pretrained(data, model)}
    if cfg.final.checkpoint is None:
        # A constant rate is what every final model had before there were schedules: it keeps that model's address.
        final = _without(final, *(["schedule"] if cfg.final.schedule == "constant" else []))
        return {**config, "final": final, "seed": cfg.seed}
    path = Path(cfg.final.checkpoint)
    if not path.is_file():
        raise UserError(f"final.checkpoint must be a file of weights, found nothing at {path}.")
    return {**config, "final": {"checkpoint_sha256": _digest(path)}}


def _content(source: dict[str, Any], data_dir: Path) -> dict[str, Any]:
    """Digests of the files of a source that accepts any content: the address has to tell it."""
    if source.get("sha256", ...) is None:
        files = source["files"].values() if "files" in source else [source["file"]]
        return {"file_sha256": [_digest(data_dir / file) for file in files]}
    if hasattr(get_object(source["_target_"]), "files"):  # which these are, the source knows; they may arrive only now
        return {"files_sha256": [_digest(path) for path in instantiate(source, _convert_="all").files(data_dir)]}
    return {}


def _pretrained(data: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """What pretrained networks and tokenizers are made of: a folder's content may change, and its name stays."""
    known = getattr(get_object(model["_target_"]), "pretrained", False)
    names = {"network": model.get("name") if known else None, "tokenizer": data.get("tokenizer")}
    found = {what: hub.digest(name, weights=what == "network") for what, name in names.items() if name}
    return {"pretrained": found}


def _digest(path: Path) -> str | None:
    if not path.is_file():
        return None
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns, state.st_ino)


@cache
def _sha256(path: Path, *state: int) -> str:
    """Of a file's content; `state` changes when the content does, so that nothing is read twice."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _question(cfg: DictConfig) -> dict[str, Any]:
    """What determines the problem: the final model, the examples left out and those evaluated."""
    return {**final_config(cfg), **_left_out(plain(cfg.data)), "test_count": cfg.data.test_count}


def _left_out(data: Mapping[str, Any]) -> dict[str, Any]:
    """Which rows are left out, a file replaced by what is in it."""
    first = data["left_out_first"]
    return {"left_out": read_left_out(data["left_out"]), **({"left_out_first": first} if first else {})}


def final_artifact(cfg: DictConfig) -> Artifact:
    """Where the final model lies."""
    final = cfg.final
    annealed = "" if final.schedule == "constant" else f"-{final.schedule}"
    label = "checkpoint" if final.checkpoint else f"{final.optimizer}-{final.epochs}ep{annealed}-seed{cfg.seed}"
    return _artifact(cfg, "final", label, final_config(cfg))


def scores_artifact(cfg: DictConfig, method: str) -> Artifact:
    """Where a method's scores lie: its config, and the code that computes them, determine them."""
    own = _without(plain(cfg.method[method]), "label")
    shared = {key: cfg.method[key] for key in SHARED if cfg.method[key] is not None}
    config = {**_question(cfg), "method": {**own, **shared}}
    rooms: dict[str, tuple[str, ...]] = {"preconditioners": ("base", "damping")}
    if follows(cfg, method):
        rooms = {"preconditioners": ("base", "damping")}
        config["training"] = {
            "optimizer": _without(plain(cfg.optimizer), "fused"),
            "batch_size": cfg.data.batch_size,
            "epochs": cfg.further.epochs,
            "evaluate_every": plain(cfg.further)["evaluate_every"],
            "curvature_rows": cfg.facts.unrolled_rows,
        }
    if own.get("path"):
        rooms["further_training"] = ("*",)
        config["run"] = {"further": further_artifact(cfg).hash, "seed": cfg.further.first_seed}
    return _artifact(cfg, "scores", method, config | {"method_code": _code_hash(_scoring_code(own["_target_"], rooms))})


def _scoring_code(target: str, rooms: Mapping[str, Iterable[str]]) -> list[Path]:
    """What a method is written in, and what it is computed with: of some rooms the files of some names."""
    package = Path(inspect.getfile(Damping)).parents[1]
    shared = [package / name for name in ("attribution.py", "compat.py", "problem.py", "models/objective.py")]
    for room, names in {"gradients": ("*",), **rooms}.items():
        shared += [path for name in names for path in sorted((package / room).glob(f"{name}.py"))]
    return [*_code(target), *shared]


def _code(target: str) -> list[Path]:
    """The files that a class (with those it builds on, torch's aside) or a function is written in."""
    thing = get_object(target)
    parts = inspect.getmro(thing) if inspect.isclass(thing) else [thing]
    ours = [part for part in parts if part.__module__.partition(".")[0] not in ("builtins", "abc", "typing", "torch")]
    return list(dict.fromkeys(Path(inspect.getfile(part)) for part in ours))


def _room(target: str) -> list[Path]:
    """The same with what lies beside each file of the package: its helpers."""
    package = Path(inspect.getfile(Damping)).parents[1]
    files = [sorted(f.parent.glob("*.py")) if f.is_relative_to(package) else [f] for f in _code(target)]
    return list(dict.fromkeys(path for some in files for path in some))


def _code_hash(files: Iterable[Path]) -> str:
    return short_hash({str(number): _digest(path) for number, path in enumerate(files)})


def further_artifact(cfg: DictConfig) -> Artifact:
    """Where the seeds of the gold standard lie."""
    further = _without(plain(cfg.further), *HOW_FAST, *([] if cfg.further.autocast else ["autocast"]))
    optimizer = _without(plain(cfg.optimizer), "fused")
    how = cfg.further.leave_out
    if cfg.further.gold in TANGENTS:
        how = further["gold"] = TANGENT  # the other one asks for the same
    label = f"{optimizer_name(cfg).lower()}-{how}-{cfg.further.epochs}ep"
    config = {**_question(cfg), "batch_size": cfg.data.batch_size, "optimizer": optimizer, "further": further}
    return _artifact(cfg, "further", label, config)


def _artifact(cfg: DictConfig, kind: str, label: str, config: dict[str, Any]) -> Artifact:
    return Artifact(Path(cfg.paths.output_dir), cfg.data.name, kind, label, config)


def inputs(cfg: DictConfig) -> dict[str, Any]:
    """What determines a results folder: the scores and the seeds that are compared."""
    return {
        "layout": RESULTS_LAYOUT,
        "scores": {label: scores_artifact(cfg, name).hash for name, label in labels(cfg).items()},
        "further": further_artifact(cfg).hash,
        "seeds": list(seeds(cfg)),
    }
