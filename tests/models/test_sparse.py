"""A first layer on sparse rows equals the dense one: values, gradients, and as part of an ensemble."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from torch.func import grad, vmap

from fimo.models import sparse
from fimo.models.chain import chained
from fimo.models.mlp import MLP
from fimo.models.sparse import dense, sparse_linear

FEATURES, ENTRIES = 9, 3


def rows(*shape):
    """Sparse rows; an entry may stand in a column twice, and then both count."""
    return {
        "columns": torch.randint(FEATURES, (*shape, ENTRIES)),
        "values": torch.randn(*shape, ENTRIES, dtype=torch.float64),
    }


def test_the_layer_and_its_gradient():
    inputs, weight = rows(7), torch.randn(4, FEATURES, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    expected = dense(inputs, FEATURES) @ weight.T + bias
    torch.testing.assert_close(sparse_linear(inputs, weight, bias), expected)
    torch.testing.assert_close(sparse_linear(inputs, weight, bias, relu=True), expected.relu())
    assert torch.autograd.gradcheck(lambda w, b: sparse_linear(inputs, w, b), (weight, bias))


@pytest.mark.parametrize("few", [0, 10**6])
@pytest.mark.parametrize("shared", [0, 4, 7])
@pytest.mark.parametrize("relu", [False, True])
def test_runs_of_an_ensemble(relu, shared, few, monkeypatch):
    monkeypatch.setattr(sparse, "FEW_ENTRIES", few)
    inputs, weights = rows(5, 7), torch.randn(5, 4, FEATURES, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    for tensor in inputs.values():
        tensor[:, :shared] = tensor[:1, :shared]
    cotangent = torch.randn(5, 7, 4, dtype=torch.float64)
    found = vmap(partial(sparse_linear, relu=relu))(inputs, weights, bias)
    expected = torch.stack([dense(inputs, FEATURES)[run] @ weights[run].T + bias[run] for run in range(5)])
    expected = expected.relu() if relu else expected
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad((outputs * cotangent).sum(), (weights, bias)) for outputs in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-14)


def test_a_row_that_overflows_is_that_of_its_runs():
    """The third run has another row in the place of one that is infinite."""
    inputs, weights = rows(3, 4), torch.randn(3, 2, FEATURES, dtype=torch.float64, requires_grad=True)
    for tensor in inputs.values():
        tensor[:] = tensor[:1].clone()
    inputs["values"][:2, 1], inputs["values"][2, 1] = torch.inf, 1
    outputs = vmap(sparse_linear)(inputs, weights, torch.zeros(3, 2, dtype=torch.float64))
    gradient = torch.autograd.grad(outputs, weights, torch.ones_like(outputs))[0]
    assert gradient.isfinite().flatten(1).all(1).tolist() == [False, False, True]


@pytest.mark.parametrize("chain", [False, True])
@pytest.mark.parametrize("hidden", [[], [6], [6, 5]])
def test_a_network_is_the_same_in_both_modes_and_on_dense_rows(hidden, chain):
    network, inputs = MLP(FEATURES, 2, hidden, sparse=True).double(), rows(7)
    plain = deepcopy(network).eval()
    network = chained(network) if chain else network
    assert network.first.weight.mT.is_contiguous()
    found = [network.train(mode)(inputs) for mode in (True, False)]
    for outputs in found:
        torch.testing.assert_close(outputs, network(dense(inputs, FEATURES)))
    # Gradients of single rows, as methods take them, go through the ordinary layer.
    parameters = dict(plain.named_parameters())
    single = vmap(grad(lambda p, row: torch.func.functional_call(plain, p, (row,)).sum()), in_dims=(None, 0))(
        parameters, {key: value[:, None] for key, value in inputs.items()}
    )
    gradient = torch.autograd.grad(network.train()(inputs).sum(), network.first.weight)[0]
    torch.testing.assert_close(single["linear_relu_stack.0.weight"].sum(0), gradient)
