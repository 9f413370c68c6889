"""The code that a user brings: whatever file of theirs a network or a loss is written in has a part in addresses."""

import copy
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import fimo
from fimo.api.addresses import model_config
from fimo.pipeline.content import Contents
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


NESTED = """
def loss(outputs, targets):
    def square(a):
        return a * a if "x" in {"x", "y", "z"} else a
    return square(outputs)
"""


def test_a_function_without_a_file_is_the_same_in_every_process():
    script = "import fimo\nfrom fimo.pipeline.own_code import own_code\ncell = {'__name__': '__main__'}\n"
    script += f"exec({NESTED!r}, cell)\nprint(own_code(cell['loss']))"
    hashes = {
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(hashes) == 1 and "None" not in str(hashes)


class Holds:
    def __init__(self, **parts):
        vars(self).update(parts)


@pytest.mark.parametrize(
    "first, second",
    [
        (1.0, 1.0000001),
        (torch.zeros(5000), torch.zeros(5000).index_fill(0, torch.tensor(4999), 1)),
        (np.zeros(5000), np.eye(1, 5000)[0]),
        ({"a", "b"}, {"a", "c"}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        (partial(sorted, reverse=True), partial(sorted, reverse=False)),
        (nn.CrossEntropyLoss(torch.tensor([1.0, 2])), nn.CrossEntropyLoss(torch.tensor([1.0, 3]))),
        (Holds(inner=Holds(a=1)), Holds(inner=Holds(a=2))),
        (lambda: 1, lambda: 2),
    ],
)
def test_what_an_object_holds(first, second):
    one, same, other = (Holds(part=part) for part in (first, copy.deepcopy(first), second))
    for holder in (one, same, other):
        holder.itself = holder
    digests = [Contents().digest(holder) for holder in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]
