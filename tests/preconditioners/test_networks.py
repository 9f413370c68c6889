"""Networks that users bring: what every method makes of layers without bias, used twice, unused, frozen, scalar, …"""

import numpy as np
import pytest
import torch
from methods import METHODS
from problems import NETWORKS, problem
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from fimo.attribution import attribute
from fimo.compat import differentiable_attention
from fimo.curvature.products import PrimalCurvature, ritz_values
from fimo.errors import UserError
from fimo.gradients import GradientSource
from fimo.gradients.cotangents import of_curvature
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.kronecker_bases import layer_bases
from fimo.preconditioners.kronecker_factors import KroneckerFactors
from fimo.preconditioners.neumann_series import NeumannSeries
from fimo.reference import gradients as reference
from fimo.reference import methods as dense


class Twice(nn.Module):
    """A layer that is called twice, one without bias, a scalar parameter, and one that plays no part."""

    def __init__(self, outputs):
        super().__init__()
        self.inner, self.head = nn.Linear(5, 5), nn.Linear(5, outputs, bias=False)
        self.gate, self.aside = nn.Parameter(torch.tensor(0.7)), nn.Linear(5, 3)

    def forward(self, inputs):
        self.aside(inputs)
        return self.head(self.gate * torch.tanh(self.inner(torch.tanh(self.inner(inputs)))))


class Convolutions(nn.Module):
    """Convolutions that Kronecker factors are not made for, one without bias, and tied weights."""

    def __init__(self, outputs):
        super().__init__()
        self.first = nn.Conv2d(1, 4, (1, 2), bias=False)
        self.grouped = nn.Conv2d(4, 4, (1, 2), groups=2)
        self.circular = nn.Conv2d(4, 3, (1, 3), padding=(0, 1), padding_mode="circular")
        self.tied, self.also = nn.Linear(9, 9), nn.Linear(9, 9)
        self.also.weight = self.tied.weight
        self.head = nn.Linear(9, outputs)

    def forward(self, inputs):
        maps = torch.tanh(self.circular(torch.tanh(self.grouped(self.first(inputs[:, None, None])))))
        return self.head(torch.tanh(self.also(torch.tanh(self.tied(maps.flatten(1))))))


class Encoder(nn.Module):
    """torch's own encoder layer, with its fused attention."""

    def __init__(self, outputs):
        super().__init__()
        self.embed = nn.Linear(1, 4)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.1, batch_first=True)
        self.head = nn.Linear(4, outputs)

    def forward(self, inputs):
        return self.head(self.layer(self.embed(inputs[..., None])).mean(1))


class Tokens(nn.Module):
    """Five numbers as five words of a vocabulary, wide enough that gradients of sequences stay in factors."""

    def __init__(self, outputs, width=10):
        super().__init__()
        self.words, self.places = nn.Embedding(7, width, padding_idx=0), nn.Embedding(5, width)
        self.norm, self.up = nn.LayerNorm(width), nn.Linear(width, 12)
        self.head = nn.Linear(12, outputs)

    def forward(self, inputs):
        words = (3 * torch.sigmoid(2 * inputs) + 3).long()
        x = self.norm(self.words(words) + self.places(torch.arange(5)[None]))
        return self.head(torch.tanh(self.up(x)).mean(1))


def normed(outputs):
    return nn.Sequential(weight_norm(nn.Linear(5, 6)), nn.Tanh(), nn.Linear(6, outputs))


class BackwardOnly(torch.autograd.Function):
    """tanh as a user writes it who trains only: without a forward derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(inputs):
        return torch.tanh(inputs)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, gradient):
        (output,) = ctx.saved_tensors
        return gradient * (1 - output.square())


class Tanh(nn.Module):
    def forward(self, inputs):
        return BackwardOnly.apply(inputs)


def backward_only(outputs):
    return nn.Sequential(nn.Linear(5, 4), Tanh(), nn.Linear(4, outputs))


UNUSUAL = {"twice": Twice, "convolutions": Convolutions, "encoder": Encoder, "tokens": Tokens}
NETWORKS |= {**UNUSUAL, "normed": normed, "backward_only": backward_only}


# LiSSA-H takes half a minute on each: with the slow ones, but for one of them. EK-FAC's explicit matrix is that of
# linear layers on matrices; its eigenvalues are compared below.
CASES = [
    pytest.param(name, network, marks=pytest.mark.slow if name == "LiSSA-H" and network != "twice" else ())
    for name in METHODS
    for network in UNUSUAL
    if not name.startswith("EK-FAC")
]


@pytest.mark.parametrize("name, network", CASES)
def test_every_method_equals_its_explicit_matrix(name, network):
    method, question = METHODS[name], problem("classification", network)
    scores = attribute(question, method.make())
    with differentiable_attention():
        expected = reference.scores(question, method.matrix(question), method.unit)
    np.testing.assert_allclose(scores, expected, rtol=10 * method.rtol, atol=10 * method.rtol * np.abs(expected).max())


@pytest.mark.parametrize("network", [*UNUSUAL, "convolutional", "transformer", "normed"])
def test_the_eigenvalues_of_kronecker_factors_are_those_of_the_true_gradients(network):
    """Λ is the Gauss–Newton matrix's diagonal in the layers' bases, whatever the layers do."""
    question = problem("classification", network)
    method = KroneckerFactors("EK-FAC", Damping(0.5)).fit(question)
    rows = GradientSource(question, factored=False)(question.train, of_curvature)
    assert method.layers
    for basis, damped in method.layers:
        expected = basis.rotated(rows).entries.square().sum(0) / len(question.train)
        np.testing.assert_allclose(damped - 0.5, expected, rtol=1e-8, atol=1e-14)
        for matrix in (basis.left, basis.right):
            np.testing.assert_allclose(matrix.T @ matrix, torch.eye(len(matrix)), atol=1e-10)
    left_out = {name for name in question.parameters} - {n for basis, _ in method.layers for n in basis.names}
    assert set(method.diagnostics["left_out"]) == left_out and left_out
    told = method.notes["left out"]
    assert sum(name in told for name in left_out) >= min(6, len(left_out))
    assert ("more)" in told) == (len(left_out) > 6)


def test_which_layers_have_kronecker_factors():
    paths = {network: dict(layer_bases(problem("classification", network))) for network in UNUSUAL}
    assert set(paths["twice"]) == {"inner", "head"} and paths["twice"]["head"].names == ("head.weight",)
    assert set(paths["convolutions"]) == {"first", "tied", "head"}
    assert set(paths["tokens"]) == {"up", "head"}
    assert "head" in paths["encoder"] and "layer.linear1" in paths["encoder"]


def test_kronecker_factors_leave_the_network_as_it_was():
    question = problem("classification", "twice")
    attribute(question, KroneckerFactors("EK-FAC", Damping(0.5)))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in question.network.modules())


def test_a_network_in_training_mode_or_frozen_is_refused():
    question = problem(network="dropout")
    question.network.train()
    with pytest.raises(UserError, match=r"final model in eval mode, .*: call problem\.network\.eval"):
        attribute(question, METHODS["Grad-Dot"].make())
    question.network.eval()[0].weight.requires_grad_(False)
    with pytest.raises(UserError, match="0.weight is part of θ, but problem.network has it frozen"):
        attribute(question, METHODS["Grad-Dot"].make())


class TestHessian:
    def test_one_that_torch_gets_wrong_is_refused(self):
        """Twice backward through a weight norm isn't symmetric in torch 2.13."""
        question = problem("classification", "normed")
        size = sum(p.numel() for p in question.network.parameters())
        H = PrimalCurvature(question, "hessian").matvec(torch.eye(size, dtype=torch.float64))
        method = NeumannSeries("LiSSA-H", "hessian", Damping(0.5), 5, None, [10])
        if (H - H.T).abs().max() < 1e-8:
            pytest.skip("torch has mended it")
        with pytest.raises(UserError, match="derivatives of the network Sequential are wrong: its Hessian"):
            attribute(question, method)

    @pytest.mark.parametrize("task", ["regression", "classification"])
    @pytest.mark.parametrize("rows", [1, 2, 3, 23])
    def test_the_ritz_value_bounds_the_lowest_eigenvalue(self, task, rows):
        question = problem(task, rows=rows, left_out=(0,))
        lowest = torch.linalg.eigvalsh(dense.hessian(question))[0].item()
        found = float(ritz_values(PrimalCurvature(question, "hessian"))[0])
        assert lowest - 1e-9 <= found <= max(0.9 * lowest, 0.1)

    def test_forward_derivatives_that_are_missing_are_told(self):
        method = METHODS["CG"].make()
        method.dual_bytes = 0  # products with vectors, which ask for forward derivatives
        with pytest.raises(UserError, match=r"curvature \(gauss_newton\) of the network Sequential can't be"):
            attribute(problem("classification", "backward_only"), method)


def test_columns_are_counted_over_all_blocks():
    question = problem(tests=3)
    method = NeumannSeries("LiSSA", "gauss_newton", Damping(1e-4), 60, None, [1e-3], dual_bytes=0)
    with pytest.warns(UserWarning):
        attribute(question, method, block_bytes=1)
    assert method.notes == {
        "depth": "depth 60 in place of the paper's 5000",
        "diverged": "3 of 3 gradients diverged with every scale (0.001)",
    }
