"""A problem made from Python: of all that may be handed over, without changing the caller's network."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from fimo.errors import UserError
from fimo.models.losses import CrossEntropy, SquaredError
from fimo.problem import Problem
from fimo.rows import Rows

X, Y = torch.arange(24.0).reshape(8, 3) / 10, torch.arange(8) % 2


class Mapped(nn.Module):
    """Takes a mapping."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, inputs):
        return self.head(inputs["a"] + inputs["b"])


class Examples(Dataset):
    """Single examples, the inputs a mapping, the target a Python number."""

    def __len__(self):
        return 8

    def __getitem__(self, number):
        return {"a": X[number].numpy(), "b": X[number]}, int(Y[number])


class Stream(IterableDataset):
    """Examples that have no numbers."""

    def __iter__(self):
        return iter([(x, y) for x, y in zip(X, Y, strict=True)])


PAIRS = {
    "tensors": (X, Y),
    "arrays": (X.numpy().astype(np.float64), Y.numpy().astype(np.int32)),
    "lists": [X.tolist(), Y.tolist()],
    "dataset": TensorDataset(X, Y),
    "stream": Stream(),
}


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))


@pytest.mark.parametrize("form", PAIRS)
def test_rows_of_all_forms_are_the_same(form):
    problem = Problem(small(), CrossEntropy(), train=PAIRS[form], test=PAIRS[form], left_out=range(0, 8, 3))
    for rows in (problem.train, problem.test):
        torch.testing.assert_close(rows.inputs, X, rtol=1e-6, atol=0)
        assert rows.targets.dtype == torch.int64 and torch.equal(rows.targets, Y)
        assert rows.index.tolist() == list(range(8)) and rows.lengths is None
    assert problem.left_out.rows.tolist() == [0, 3, 6]
    expected = nn.functional.cross_entropy(problem.network(X), Y, reduction="none")
    for losses in (
        problem.losses(problem.parameters, problem.train),
        problem.measured(problem.parameters, problem.test),
    ):
        torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("examples", [({"a": X, "b": X.numpy()}, Y), Examples()], ids=["pair", "dataset"])
def test_inputs_that_are_a_mapping(examples):
    problem = Problem(Mapped(), CrossEntropy(), examples, examples, [1])
    assert set(problem.train.inputs) == {"a", "b"} and torch.equal(problem.train.inputs["b"], X)
    assert problem.losses(problem.parameters, problem.train).shape == (8,)


@pytest.mark.parametrize("targets", [X[:, 0], X[:, :1], X[:, 0].double().numpy(), Y, Y.tolist()])
def test_real_targets_have_an_axis_of_outputs(targets):
    problem = Problem(nn.Linear(3, 1), SquaredError(), (X, targets), (X, targets), [0])
    assert problem.train.targets.shape == (8, 1) and problem.train.targets.dtype == torch.float32
    expected = (problem.network(X)[:, 0] - torch.as_tensor(targets).reshape(8).float()).square()
    torch.testing.assert_close(problem.losses(problem.parameters, problem.train), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("left_out", [range(1, 4), [1, 2, 3], np.array([1, 2, 3]), torch.tensor([1, 2, 3])])
def test_row_numbers(left_out):
    problem = Problem(small(), CrossEntropy(), (X, Y), (X, Y), left_out)
    assert problem.left_out.members.tolist() == [[1], [2], [3]] and problem.left_out.names is None


def test_the_network_of_the_caller_stays_as_it_is():
    network = small().double().train()
    network[0].weight.requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    problem = Problem(network, CrossEntropy(), (X, Y), (X, Y), [0, 1])
    assert problem.dtype == torch.float64 and problem.train.inputs.dtype == torch.float64
    assert not any(module.training for module in problem.network.modules())
    assert all(parameter.requires_grad for parameter in problem.network.parameters())
    other = problem.to(dtype=torch.float32)
    with torch.no_grad():
        for parameter in [*problem.network.parameters(), *other.network.parameters()]:
            parameter.zero_()
    assert all(module.training for module in network.modules())
    assert [parameter.requires_grad for parameter in network.parameters()] == [False, True, True, True]
    for name, tensor in network.state_dict().items():
        assert tensor.dtype == torch.float64 and torch.equal(tensor, before[name])


def test_a_network_is_copied_once():
    network = small()
    problem = Problem(network, CrossEntropy(), (X, Y), (X, Y), [0, 1])
    assert problem.network is not network
    assert replace(problem, left_out=torch.tensor([3])).network is problem.network
    assert problem.sampled(4).network is problem.network
    moved = problem.to(dtype=torch.float64)
    assert moved.network is not problem.network and replace(moved, left_out=[3]).network is moved.network


@pytest.mark.parametrize(
    "change, message",
    [
        ({"train": (X, Y[:5])}, r"train must have as many inputs as targets and at least one, found 8 inputs, 5 tar"),
        ({"test": ({"a": X, "b": X[:4]}, Y)}, r"test must have as many inputs as .* found 8 a, 4 b, 8 targets\."),
        ({"train": (X[:0], Y[:0])}, r"at least one, found 0 inputs, 0 targets\."),
        ({"train": X}, r"train must be Rows, a pair of inputs and targets .* a torch Dataset .*, found a Tensor\."),
        ({"test": (X, Y, Y)}, r"test must be inputs and targets, found a third part, which would be weights"),
        ({"test": (["a", "b"], Y)}, r"the inputs of test must be a tensor or an array of numbers, found a list of 2\."),
        ({"test": (X, 3)}, r"the targets of test must have an axis of rows, found a single number\."),
        ({"train": TensorDataset(X)}, r"train must be Rows, .* found a list of 1\."),
        ({"left_out": [0.5]}, r"left_out must be whole numbers .* found \[1\] numbers of torch.float32\."),
        ({"left_out": [8]}, r"left_out must name training rows from 0 to 7, found 8\."),
        ({"left_out": []}, r"left_out must name training rows from 0 to 7, found none\."),
        ({"left_out": [[0, 1], [8]]}, r"left_out must name training rows from 0 to 7 in group 1, found 8\."),
        ({"left_out": [[0, 1], []]}, r"left_out must name training rows from 0 to 7 in group 1, found none\."),
        ({"left_out": [[0, 1], 2]}, r"left_out must be whole .* in group 1 in .* the single number 2: write \[2\]"),
        ({"left_out": {}}, r"left_out must have groups, each with a name of its own, found none\."),
        ({"left_out": {1: [2], "1": [3]}}, r"each with a name of its own, found 1, '1'\."),
        ({"left_out": {"a": [3, 1, 3]}}, r"left_out must name each training row of a once, found 3 twice\."),
        ({"left_out": [[0], range(8)]}, r"left_out must leave some training rows, found all 8 of them in 'group 1'\."),
        ({"left_out": "some"}, r"left_out must be whole numbers from 0 to 7 in a list, .* found 'some'\."),
        ({"parameters": ["head.*"]}, r"Sequential has no parameter head\.\*; its parameters are 0\.weight, 0\.bias,"),
        ({"measurement": SquaredError()}, r"Targets of SquaredError must be real numbers \[row, 2\]"),
        ({"network": nn.ReLU()}, r"The network ReLU has no parameters"),
    ],
)
def test_what_is_refused(change, message):
    arguments = {"network": small(), "objective": CrossEntropy(), "train": (X, Y), "test": (X, Y), "left_out": [0]}
    with pytest.raises(UserError, match=message) as caught:
        Problem(**arguments | change)
    assert "\n" not in str(caught.value)


def test_all_settings_are_taken_and_rows_stay_as_they_are():
    rows = Rows(X, Y, torch.arange(10, 18))
    problem = Problem(small(), CrossEntropy(), rows, rows, [2], parameters="all", measurement=None)
    assert problem.train is rows and problem.coordinates["left_out"].tolist() == [12]
