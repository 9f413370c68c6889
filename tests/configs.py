"""Configs as the apps see them, and the apps' functions run in this process."""

import os

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import open_dict

import experiments  # noqa: F401  (first: it imports fimo)
from experiments import compare, further_train, run
from fimo.app.checks import check
from fimo.app.errors import CONFIG_DIR
from fimo.app.main import quiet

DATA = os.environ.get("FIMO_DATA_DIR")
needs_data = pytest.mark.skipif(DATA is None, reason="FIMO_DATA_DIR is not set")
APPS = {"run": run, "compare": compare, "further_train": further_train}


def config(*overrides):
    """The composed config; the apps' HydraConfig is set too."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("config", list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def data_module(name, data_dir, *overrides, **changes):
    cfg = config(f"data={name}", f"paths.data_dir={data_dir}", *overrides).data
    with open_dict(cfg):
        cfg.update(changes)
    return instantiate(cfg, _convert_="all")


def app(folder, *overrides, name="run", size="smoke"):
    """Run an app of `experiments/` in this process, its files below `folder`: exit code."""
    quiet()
    paths = (f"paths.output_dir={folder}/outputs", f"paths.results_dir={folder}/results")
    few = () if any(override.startswith("method") for override in overrides) else ("method=[grad_dot,grad_cos]",)
    cfg = config(f"size={size}", *paths, *few, *overrides)
    check(cfg)
    return APPS[name].main.__wrapped__(cfg)


def files(folder):
    """When each file was written."""
    there = (path for path in folder.rglob("*") if path.is_file() and ".locks" not in path.parts)
    return {path: path.stat().st_mtime_ns for path in there}
