"""The configs of sweeps: what they vary, and how the seeds of an experiment are split."""

import pytest
from configs import config, make_run
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser

from fimo.app.config import run_of
from fimo.app.errors import CONFIG_DIR
from fimo.app.multirun import multiply
from fimo.pipeline import addresses

SWEEPS = sorted(path.stem for path in (CONFIG_DIR / "sweep").glob("*.yaml"))
NEEDS_OPTUNA = {"final_lr"}


def varied():
    """The values of each key, as the sweeper's config has them."""
    params = HydraConfig.get().sweeper.params
    parsed = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()])
    return {override.get_key_element(): list(override.sweep_string_iterator()) for override in parsed}


@pytest.mark.parametrize("sweep", [sweep for sweep in SWEEPS if sweep not in NEEDS_OPTUNA])
def test_every_value_of_a_sweep_composes(sweep):
    config(f"+sweep={sweep}")
    for key, values in varied().items():
        assert len(values) > 1
        for value in values:
            cfg = config(f"+sweep={sweep}", "experiment=energy", f"{key}={value}")
            assert cfg.optimizer.lr > 0 and run_of(cfg).methods


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sweep_begins_with_its_command(sweep):
    lines = (CONFIG_DIR / "sweep" / f"{sweep}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_" and f".py -m +sweep={sweep} experiment=energy" in lines[1]


@pytest.mark.parametrize("jobs", [1, 2, 3, 7])
def test_every_seed_has_one_job_and_no_other_address(jobs):
    asked = ("+sweep=seeds", "further.seeds=5", "further.first_seed=10", f"further.jobs={jobs}")
    config(*asked)
    (numbers,) = varied().values()
    runs = [make_run(*asked, f"further.job={number}") for number in numbers]
    shares = [list(run.seeds.share) for run in runs]
    assert len(shares) == jobs and sorted(seed for share in shares for seed in share) == [10, 11, 12, 13, 14]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    hashes = {addresses.further_training(run).hash for run in [*runs, make_run("further.seeds=100")]}
    assert len(hashes) == 1


def test_multiples():
    cfg = config("experiment=energy", "optimizer=adam", "times.lr=0.1", "times.damping=10", "method=[cg,ekfac,trak]")
    assert cfg.optimizer.lr == 1e-5  # not 1.0000000000000001e-05: one value has one address
    assert (cfg.method.cg.damping.scale, cfg.method.ekfac.damping.scale) == (10000, 1)
    assert multiply(1, 100) == 100 and isinstance(multiply(1, 100), int)
    chosen = ("experiment=energy", "method=cg")
    runs = make_run(*chosen, "times.damping=10"), make_run(*chosen, "method.cg.damping.scale=10000")
    assert len({addresses.scores(run, "cg").hash for run in runs}) == 1
