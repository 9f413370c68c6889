"""A part of the parameters, by command."""

import json

import pytest
from configs import app, make_run

from fimo.errors import UserError
from fimo.pipeline import addresses

BASE = ("experiment=diabetes", "data.test_count=6", "data.left_out=5", "method=[grad_dot,trak]")


def test_a_run_of_the_last_layer(tmp_path):
    assert app(tmp_path, *BASE, "parameters=last_layer", "name=last") == 0
    assert app(tmp_path, *BASE, "name=usual") == 0
    table = (tmp_path / "results/last/table.md").read_text()
    assert "θ: 65 of 4,929 parameters (last_layer)." in table.splitlines()
    record = json.loads((tmp_path / "results/last/run.json").read_text())["parameters"]
    names = [f"linear_relu_stack.4.{name}" for name in ("weight", "bias")]
    assert record == {"choice": "last_layer", "count": 65, "of": 4929, "names": names}
    assert "parameters" not in json.loads((tmp_path / "results/usual/run.json").read_text())
    assert "θ" not in (tmp_path / "results/usual/table.md").read_text()
    assert len(list(tmp_path.glob("outputs/diabetes/final/*"))) == 1  # both have the same final model


def test_addresses_know_the_choice():
    """That of all parameters is what it was before there was a choice: see the tests of versions and of configs."""
    choices = ["all", "last_layer", "[linear_relu_stack.4.*]", "[linear_relu_stack.4.*,*.bias]"]
    runs = [make_run("size=smoke", *BASE, f"parameters={choice}") for choice in choices]
    assert "parameters" not in runs[0].fingerprints.problem
    assert len({addresses.final_model(run).hash for run in runs}) == 1
    for address in (addresses.further_training, lambda run: addresses.scores(run, "trak")):
        assert len({address(run).hash for run in runs}) == len(choices)


@pytest.mark.parametrize("choice", ["[head.*]", "adapters", "3", "[]", "null"])
def test_a_choice_that_is_none_is_refused_before_anything_is_trained(choice, tmp_path):
    with pytest.raises(UserError, match="^parameters"):
        app(tmp_path, *BASE, f"parameters={choice}")
    assert not list(tmp_path.glob("outputs/diabetes/final/*/*.safetensors"))
