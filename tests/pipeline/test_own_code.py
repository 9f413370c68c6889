"""The code that a user brings: whatever file of theirs a network or a loss is written in has a part in addresses."""

import sys

import pytest
import torch

import fimo
from fimo.api.addresses import model_config
from fimo.pipeline.own_code import own_code

BASE = """import torch


class Base(torch.nn.Module):
    def forward(self, inputs):
        return self.layer(inputs)
"""
NET = """import torch
from own_base import Base


class Net(Base):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_base.py").write_text(BASE)
    (tmp_path / "own_net.py").write_text(NET)
    from own_net import Net

    yield tmp_path, Net
    for name in ("own_base", "own_net"):
        del sys.modules[name]


@pytest.mark.parametrize("changed", ["own_base.py", "own_net.py"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_file_that_a_network_builds_on_is_part_of_its_address(written, changed, inside):
    folder, net = written
    torch.manual_seed(0)
    network = torch.nn.Sequential(net()) if inside else net()
    rows = torch.randn(4, 2), torch.randn(4, 1)
    problem = fimo.Problem(network, fimo.SquaredError(), rows, rows)
    before = own_code(net), model_config(problem)
    assert before == (own_code(net), model_config(problem))
    (folder / changed).write_text((folder / changed).read_text() + "\n# another one\n")
    assert own_code(net) != before[0] and model_config(problem) != before[1]


def test_ours_and_torchs_have_versions_and_a_function_without_a_file_has_its_code():
    assert own_code(torch.nn.Linear, fimo.CrossEntropy, torch.nn.functional.mse_loss) is None
    cells = [{}, {}, {}]
    for cell, factor in zip(cells, (1, 1, 2), strict=True):
        exec(f"def loss(outputs, targets):\n    return {factor} * outputs", {"__name__": "__main__"}, cell)
    first, same, other = (own_code(cell["loss"]) for cell in cells)
    assert first == same != other and first is not None
