"""Weights of rows as a caller has them: the forms they come in, and what is refused."""

import numpy as np
import pytest
import torch

import fimo
from fimo.rows import Rows


def test_rows_carry_them():
    rows = Rows.of((torch.randn(5, 2), [2, 0, 1, 2, 2**40], [0.125, 0, 2, 1, 7]))
    some = rows.keep(torch.tensor([4, 0])).to(dtype=torch.float32)
    assert some.plain.targets.tolist() == [2**40, 2] and some.weights.tolist() == [7, 0.125]
    assert some.weighted_by(torch.tensor([1, 3])).weights.tolist() == [1, 3]
    assert some.weighted_by(None).weights is None and torch.equal(some.plain.targets, some.weighted_by(None).targets)
    real = Rows.of((torch.randn(3, 2), torch.randn(3, 2), torch.tensor([[1], [2], [3]])))
    assert real.plain.targets.shape == (3, 2) and real.targets.shape == (3, 3) and real.weights.tolist() == [1, 2, 3]


class Triples(torch.utils.data.Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, row):
        return torch.full((5,), row / 6), torch.tensor(row % 3), torch.tensor(float(row))


@pytest.mark.parametrize("objective", [fimo.CrossEntropy(), fimo.BinaryCrossEntropy(), fimo.SquaredError()])
def test_three_parts_from_python(objective):
    """Whole numbers are made real where the objective wants them, with weights and without."""
    network = torch.nn.Linear(5, 3 if isinstance(objective, fimo.CrossEntropy) else 1)
    targets = np.arange(6) % (3 if isinstance(objective, fimo.CrossEntropy) else 2)
    inputs, weights = np.eye(6, 5, dtype="float32"), np.arange(6)
    one = fimo.Problem(network, objective, (inputs, targets, weights), (inputs, targets), [0, 5])
    plain = fimo.Problem(network, objective, (inputs, targets), (inputs, targets), [0, 5])
    expected = plain.losses(plain.parameters, plain.train) * torch.arange(6)
    torch.testing.assert_close(one.losses(one.parameters, one.train), expected)
    assert one.sampled(3).train.weights.tolist() == [0, 2, 4]


def test_datasets_of_triples():
    pairs = (torch.zeros(2, 5), torch.tensor([0, 1]))
    one = fimo.Problem(torch.nn.Linear(5, 3), fimo.CrossEntropy(), Triples(), pairs, [1])
    assert one.train.weights.tolist() == [0, 1, 2, 3, 4, 5] and one.test.weights.tolist() == [1, 1]


def test_seeds_of_other_weights_are_not_found_again(tmp_path):
    X, Y, network = torch.randn(8, 2), torch.randn(8, 1), torch.nn.Linear(2, 1)
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.1, epochs=1, batch_size=4)
    for weights in ([], [np.ones(8)], [np.arange(8)]):
        one = fimo.Problem(network, fimo.SquaredError(), (X, Y, *weights), (X, Y), [1])
        fimo.further_train(one, training, seeds=1, folder=tmp_path)
    assert len(list(tmp_path.rglob("seed-00000.nc"))) == 3


def mean(outputs, targets):
    return (outputs - targets).square().mean()


BAD = "The third part, the weights of train, must be a number of at least 0 for each row, and not all 0, found "


@pytest.mark.parametrize(
    "weights, text",
    [
        ([1, 1, -2.5, 1], BAD + r"-2\.5 in row 2: correct it, or, .* as \(\(a, b\), targets\)\."),
        ([1, float("nan"), 1, 1], BAD + r"nan in row 1: "),
        ([1, 1, 1, float("inf")], BAD + r"inf in row 3: "),
        ([0, 0, 0, 0], BAD + r"nothing but 0\."),
        ([1, 1, 1], BAD + r"\[3\] of torch.int64 for 4 rows: "),
        (torch.ones(4, 2), BAD + r"\[4, 2\] of torch.float32 for 4 rows: .* several inputs as"),
        (["a"] * 4, "the weights of train must be a tensor or an array of numbers, found a list of 4"),
    ],
)
def test_bad_weights(weights, text):
    X, Y = torch.randn(4, 2), torch.randn(4, 1)
    with pytest.raises(fimo.UserError, match=text):
        fimo.Problem(torch.nn.Linear(2, 1), fimo.SquaredError(), (X, Y, weights), (X, Y), [0])


def test_a_mean_over_rows_is_refused_with_weights_too():
    X, Y = torch.randn(4, 2), torch.randn(4, 1)
    with pytest.raises(fimo.UserError, match=r"The objective mean must give a loss for each row, \[4\], found \[\]"):
        fimo.Problem(torch.nn.Linear(2, 1), mean, (X, Y, [1, 2, 3, 4]), (X, Y), [0])
