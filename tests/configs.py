"""Configs as the commands see them, the runs they ask for, and the commands' functions run in this process."""

import os
import pickle
from functools import cache
from importlib import import_module

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from looked_up_once import look_up_once
from omegaconf import open_dict

from fimo.app.config import run_of
from fimo.app.errors import CONFIG_DIR
from fimo.messages import log_to_stdout, silence_libraries

look_up_once()
DATA = os.environ.get("FIMO_DATA_DIR")
# The experiment, the test and the left-out examples of a run of two seconds.
QUICK = ("experiment=diabetes", "data.test_count=6", "data.left_out=8")
# All rows of a table, for rankings of them; the method is the last.
RANKED = ("experiment=breast_cancer", "data.train_rows=null", "data.test_count=6", "method=[grad_dot,cg,unrolled_gn]")
needs_data = pytest.mark.skipif(DATA is None, reason="FIMO_DATA_DIR is not set")


def config(*overrides):
    """The composed config; the commands' HydraConfig is set too."""
    cfg = composed(overrides)
    HydraConfig.instance().set_config(cfg)
    return without_hydra(cfg)


def composed(overrides):
    """What Hydra composes, its own node with it."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = [override for override in parsed if is_value(override)]
    cfg = pickle.loads(chosen(tuple(override.input_line for override in parsed if not is_value(override))))
    ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
    cfg.hydra.overrides.task = list(overrides)
    return cfg


def without_hydra(cfg):
    """The project's own nodes."""
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


@cache
def chosen(choices):
    """The config of some choices of groups, composed once, which takes Hydra a third of a second; a deep copy 17 ms."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return pickle.dumps(compose("config", list(choices), return_hydra_config=True), pickle.HIGHEST_PROTOCOL)


def is_value(override):
    """Whether an override gives a key a value, which Hydra does last, and chooses no config."""
    name = override.key_or_group
    group = (CONFIG_DIR / name).is_dir() or name.startswith("hydra") or override.package is not None
    return not group and not override.is_sweep_override()


def make_run(*overrides):
    """The run of some overrides."""
    return run_of(config(*overrides))


def data_module(name, data_dir, *overrides, **changes):
    """The data source of a data choice."""
    cfg = config(f"data={name}", f"paths.data_dir={data_dir}", *overrides).data
    with open_dict(cfg):
        cfg.update(changes)
    return instantiate(cfg, _convert_="all")


def app(folder, *overrides, name="run", size="smoke"):
    """Run a command of `experiments/` in this process, its files below `folder`: exit code."""
    log_to_stdout()
    silence_libraries()
    paths = (f"paths.output_dir={folder}/outputs", f"paths.results_dir={folder}/results")
    few = () if any(override.startswith("method") for override in overrides) else ("method=[grad_dot,grad_cos]",)
    run = make_run(f"size={size}", *paths, *few, *overrides)
    return import_module(f"experiments.{name}").main.__wrapped__(run)


def files(folder):
    """When each file was written."""
    paths = (path for path in folder.rglob("*") if path.is_file() and ".locks" not in path.parts)
    return {path: path.stat().st_mtime_ns for path in paths}
