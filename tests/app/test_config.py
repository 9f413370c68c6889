"""From a config to a run: what is written twice so that commands start quickly agrees with where it belongs."""

import pickle
import re

import pytest
from configs import config, make_run
from hydra.errors import HydraException
from omegaconf import OmegaConf

from fimo.app import checks
from fimo.app.config import run_of
from fimo.app.errors import CONFIG_DIR, sentence
from fimo.further_training.leave_out import SCHEMES
from fimo.models.training import KEEP, OPTIMIZERS, SCHEDULES
from fimo.pipeline.catalogue import BASELINES, CATALOGUE, method_named


def test_the_choices_are_those_of_the_rooms():
    assert checks.CHOICES["final.optimizer"] == tuple(OPTIMIZERS) and checks.CHOICES["final.keep"] == tuple(KEEP)
    assert checks.CHOICES["final.schedule"] == tuple(SCHEDULES)
    assert checks.CHOICES["further.leave_out"] == tuple(SCHEMES)


@pytest.mark.parametrize("name", [*CATALOGUE, *BASELINES])
def test_a_method_by_name_is_that_of_its_config(name):
    assert {*CATALOGUE, *BASELINES} <= {path.stem for path in (CONFIG_DIR / "method").glob("*.yaml")}
    configured, named = make_run(f"method={name}").methods[name], method_named(name, 32)
    if name in BASELINES:
        assert named == configured
        return
    assert (named.label, named.sides, named.dtype) == (configured.label, configured.sides, configured.dtype)
    mine, theirs = (vars(method.preconditioner) for method in (named, configured))
    assert mine == theirs


def test_a_run_goes_to_another_process():
    run = make_run("experiment=reviews", "logger=csv", "method=[cg,unrolled_gn]", "further.processes=3")
    assert run.dataset is not None and run.open_log is not None
    other = pickle.loads(pickle.dumps(run.for_worker()))
    assert "dataset" not in vars(other) and other.open_log is None and other.execution.processes == 1
    assert other.fingerprints == run.fingerprints and other.training == run.training


def test_the_config_is_asked_once():
    cfg = config("size=smoke", "method=grad_dot")
    run = run_of(cfg)
    OmegaConf.set_struct(cfg, False)
    cfg.clear()
    assert run.dataset is not None and run.seeds.all == range(2) and run.settings["facts"]["size"] == "smoke"


@pytest.mark.parametrize(
    "overrides, text",
    [
        (
            "method=[grad_dot,cg] method.ekfac.damping.scale=3",
            "method.ekfac.damping.scale is a setting of method=ekfac, which isn't chosen: choose it, or leave",
        ),
        (
            "experiment=diabetes data.source.file=my.csv",
            "data.source.file is a setting of data=cifar10_subset, data=concrete, .*, data=text_lines, none of "
            "which is chosen: choose one of them, or leave the setting out.",
        ),
        ("optimizer=adam optimizer.momentum=0.9", "optimizer.momentum is a setting of optimizer=sgd, which isn't chos"),
        ("facts.final_epochs.paper=3", "facts.final_epochs.paper is a setting of experiment="),
        ("method.nope.damping=3", "method.nope.damping is not a config key or group"),
        ("method.mine._target_=my.scores", "method.mine._target_ is not a config key .* is [+]method.mine._target_="),
    ],
)
def test_a_setting_of_a_choice_that_was_not_made(overrides, text):
    with pytest.raises(HydraException) as raised:
        make_run(*overrides.split(" "))
    assert re.match(text, sentence(raised.value))
