"""The config: what its parts mean."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from fimo.app.errors import CONFIG_DIR
from fimo.errors import UserError
from fimo.further_training.settings import FurtherTraining
from fimo.preconditioners.damping import Damping

DTYPES = {"float32": torch.float32, "float64": torch.float64}
HOW_SCORED = ("label", "dual_bytes")
# `further.gold`: every run begins at the final model, or as the final model began; or one run, and its tangents. The
# last is the same with an optimiser whose tangents do not stand for leaving out.
FURTHER, RETRAINING, TANGENT, ANYWAY = "leave_one_out", "retraining", "tangent", "tangent_anyway"
TANGENTS = (TANGENT, ANYWAY)
# Under `method`, of all methods.
SHARED = ("curvature_rows", "dtype")


def device(cfg: DictConfig) -> torch.device:
    """The device to compute on.

    Raises:
        UserError: for `cuda` where torch sees no GPU.
    """
    available = torch.cuda.is_available()
    if cfg.device == "cuda" and not available:
        raise UserError("device=cuda needs a GPU that torch can use, found none: choose device=cpu or device=auto.")
    return torch.device("cuda" if available and cfg.device != "cpu" else "cpu")


def optimizer_name(cfg: DictConfig) -> str:
    """Of further training, as torch calls it: `SGD`."""
    return str(cfg.optimizer._target_).rpartition(".")[2]


def methods(cfg: DictConfig) -> list[str]:
    """Names of the chosen methods."""
    return [str(name) for name in cfg.get("method") or () if name not in SHARED]


def labels(cfg: DictConfig) -> dict[str, str]:
    """The label of each chosen method, a variant's with its difference from the method's own config in brackets.

    Raises:
        UserError: where two are the same.
    """
    usual = copy.deepcopy(cfg)  # with every method as its own file has it
    OmegaConf.update(usual, "times.damping", 1)
    for name in methods(cfg):
        if (path := CONFIG_DIR / "method" / f"{name}.yaml").is_file():
            OmegaConf.update(usual, f"method.{name}", OmegaConf.load(path), merge=False)
    found = {name: _label(plain(cfg.method[name]), plain(usual.method[name])) for name in methods(cfg)}
    if len(set(found.values())) < len(found):
        raise UserError(f"method labels must differ from each other, found {', '.join(found.values())}.")
    return found


def _label(node: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    if node["label"] != usual["label"]:  # the user's own
        return str(node["label"])
    changed = [key for key in node if key not in HOW_SCORED and node[key] != usual.get(key)]
    return f"{node['label']} ({', '.join(_told(key, node[key]) for key in changed)})" if changed else str(node["label"])


def _told(key: str, value: Any) -> str:
    if isinstance(value, dict) and {"scale", "unit"} <= value.keys():
        return f"λ = {Damping(value['scale'], value['unit'])}"
    return key if value is True else f"{key.replace('_', ' ')} = {value}"


def plain(node: DictConfig) -> dict[str, Any]:
    """A config node as plain Python, interpolations resolved."""
    return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)  # type: ignore[return-value]


def seeds(cfg: DictConfig) -> range:
    """The seeds that are asked for."""
    return range(cfg.further.first_seed, cfg.further.first_seed + cfg.further.seeds)


def share(cfg: DictConfig) -> range:
    """The seeds that this job computes."""
    return seeds(cfg)[cfg.further.job :: cfg.further.jobs]


def plan(cfg: DictConfig) -> FurtherTraining:
    """What further training is."""
    further = plain(cfg.further)
    return FurtherTraining(
        optimizer=instantiate(cfg.optimizer),
        epochs=further["epochs"],
        batch_size=cfg.data.batch_size,
        leave_out=further["leave_out"],
        evaluate_every=further["evaluate_every"],
        clip=further["clip"],
        batch_norm=further["batch_norm"],
        dtype=DTYPES[further["dtype"]],
        autocast=torch.bfloat16 if further["autocast"] else None,
        runs_at_once=None if further["runs_at_once"] == "auto" else further["runs_at_once"],
        tangents=further["gold"] in TANGENTS,
    )
