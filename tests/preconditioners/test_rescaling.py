"""Methods that know of further training with Adam, against explicit matrices."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import problem, text_problem
from recursions import PATHS, STEPS, close

from fimo.attribution import attribute
from fimo.errors import UserError
from fimo.gradients import GradientSource
from fimo.gradients.diagonal_metric import AdamMetric, DiagonalMetric
from fimo.gradients.source import mean_square
from fimo.optimizers import LinearisedAdam
from fimo.preconditioners.conjugate_gradients import ConjugateGradients
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.kronecker_factors import KroneckerFactors
from fimo.reference import gradients as reference
from fimo.reference import methods as dense
from fimo.unrolled.displaced import DisplacedGradients
from fimo.unrolled.unrolled_gauss_newton import MatchedGaussNewton, UnrolledGaussNewton

BETA, BATCH, EPSILON = 0.8, 3, 1e-3
PROBLEMS = [("regression", "mlp"), ("classification", "convolutional"), ("classification", "transformer")]


def recursion(steps=STEPS, rate=1e-3, decay=0.0):
    return LinearisedAdam(
        np.full(max(steps), rate), steps, weight_decay=decay, momentum=BETA, batch_size=BATCH, epsilon=EPSILON
    )


def small(task, network):
    whole = problem(task, network)
    return replace(whole, train=whole.train.keep(slice(0, 7)), left_out=torch.tensor([0, 3, 5]))


@pytest.mark.parametrize("size", [1, 3, 7])
def test_mean_squares_of_batches(size):
    asked = small("classification", "mlp")
    roots = DiagonalMetric.of_batches(asked, size, EPSILON).sqrt_diagonal
    close(torch.cat([root.flatten() for root in roots.values()]) ** 2, dense.adam_scale(asked, size, EPSILON))


@pytest.mark.parametrize("task, network", PROBLEMS)
def test_the_network_is_the_same_in_other_coordinates(task, network):
    asked = small(task, network)
    there = DiagonalMetric.of_batches(asked, BATCH, EPSILON).rescaled(asked)
    close(there.network(asked.test.inputs).detach(), asked.network(asked.test.inputs).detach())
    assert there.size == asked.size


def test_the_network_is_looked_at_once(caplog):
    """What is said of a parameter without effect is said in the names that people know, not again of the copy."""
    whole = problem("classification", "mlp")
    whole.network.unused = torch.nn.Parameter(torch.zeros(3))
    with caplog.at_level("INFO", "fimo"):
        asked = replace(whole, network=copy.deepcopy(whole.network), part=None)
        assert "no gradient in unused: it counts as zero" in caplog.text
        caplog.clear()
        DiagonalMetric.of_batches(asked, BATCH, EPSILON).rescaled(asked)
    assert not caplog.text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("task, network", PROBLEMS)
class TestAgainstTheExplicitRecursion:
    @pytest.mark.parametrize("decay", [0.0, 0.5])
    def test_unrolled(self, decay, task, network, path):
        asked = small(task, network)
        D, G = dense.adam_scale(asked, BATCH, EPSILON), dense.gauss_newton(asked)
        matrices = dense.adam_unrolled(G, D, [1e-3] * max(STEPS), BETA, decay)
        method = UnrolledGaussNewton("Unrolled-GN", dual_bytes=PATHS[path]).for_training(recursion(decay=decay))
        scores = attribute(asked, method)
        assert method.diagnostics["path"].startswith(path)
        for step in STEPS:
            close(scores.sel(step=step), reference.scores(asked, matrices[step - 1]))

    def test_moved(self, task, network, path):
        asked, steps, decay = small(task, network), [1, 4], 0.1
        D, G = dense.adam_scale(asked, BATCH, EPSILON), dense.gauss_newton(asked)
        matrices = dense.adam_unrolled(G, D, [1e-3] * 4, BETA, decay)
        theta = torch.nn.utils.parameters_to_vector(asked.network.parameters()).detach()
        pull = dense.mean_gradient(asked) + decay * theta / D
        method = UnrolledGaussNewton("Unrolled-GN", dual_bytes=PATHS[path]).for_training(recursion(steps, decay=decay))
        scores = attribute(asked, method, views=DisplacedGradients("both", method))
        assert method.diagnostics["mean_gradient_norm"] == pytest.approx(float(dense.mean_gradient(asked).norm()))
        for step in steps:
            P = matrices[step - 1]
            close(scores.sel(step=step), dense.moved_scores(asked, P, -P @ pull, "both"), rtol=1e-7)


def test_matched():
    asked = small("regression", "mlp")
    D, G = dense.adam_scale(asked, BATCH, EPSILON), dense.gauss_newton(asked)
    scores = attribute(asked, MatchedGaussNewton("Matched-GN").for_training(recursion([9])))
    plain = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    reach = dense.adam_unrolled(*plain, [1e-3] * 9, BETA)[-1].item()
    inverse = torch.linalg.inv(G + torch.diag(1 / (reach * D)))
    close(scores.sel(step=9), reference.scores(asked, inverse), rtol=1e-7)


def test_torch_takes_the_same_steps_where_its_mean_of_squares_is_held():
    """On a quadratic: before each step of `torch.optim.Adam` its state is set so that the mean comes out as wanted."""
    asked = small("regression", "mlp")
    D, G, rate = dense.adam_scale(asked, BATCH, EPSILON), dense.gauss_newton(asked), 1e-3
    pull, held = dense.mean_gradient(asked), (1 / D - EPSILON) ** 2
    deviation = torch.zeros(len(D), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([deviation], rate, (BETA, 0.5), EPSILON, foreach=False)
    optimizer.state[deviation] = {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(D), "exp_avg_sq": held.clone()}
    for step in range(1, 8):
        deviation.grad = G @ deviation.detach() - pull
        squares = (held * (1 - 0.5**step) - 0.5 * deviation.grad**2) / 0.5
        optimizer.state[deviation]["exp_avg_sq"].copy_(squares)
        optimizer.step()
    close(deviation.detach(), dense.adam_unrolled(G, D, [rate] * 7, BETA)[-1] @ pull)


@pytest.mark.parametrize("dual_bytes", [2**30, 0])
@pytest.mark.parametrize("task, network", PROBLEMS)
def test_conjugate_gradients_in_the_metric(task, network, dual_bytes):
    asked, metric = small(task, network), AdamMetric(BATCH, EPSILON)
    D, G = dense.adam_scale(asked, BATCH, EPSILON), dense.gauss_newton(asked)
    expected = dense.rescaled(D, lambda root: dense.damped_inverse(root @ G @ root, 0.5))
    method = ConjugateGradients("CG", Damping(0.5), 1e-12, dual_bytes=dual_bytes, metric=metric)
    close(attribute(asked, method), reference.scores(asked, expected), rtol=1e-7)


@pytest.mark.parametrize("task, network", [("regression", "mlp"), ("classification", "mlp"), ("regression", "linear")])
def test_kronecker_factors_in_the_metric(task, network):
    asked, share = small(task, network), Damping(0.1, "mean_eigenvalue")
    expected = dense.kronecker_factors(asked, 0.1, dense.adam_scale(asked, BATCH, EPSILON))
    method = KroneckerFactors("EK-FAC", share, metric=AdamMetric(BATCH, EPSILON))
    close(attribute(asked, method), reference.scores(asked, expected), rtol=1e-7)
    assert "left out" not in method.notes


def test_a_metric_that_is_none():
    with pytest.raises(UserError, match="metric of CG must be none or adam, found 'adagrad'"):
        ConjugateGradients("CG", Damping(0.5), metric="adagrad")


def test_training_that_diverges_is_refused():
    asked = small("regression", "mlp")
    with pytest.raises(UserError, match=r"the learning rate η = 5 and D\^½ G D\^½'s largest eigenvalue σ = .*, ησ ="):
        attribute(asked, UnrolledGaussNewton("Unrolled-GN").for_training(recursion(rate=5.0)))


def test_curvature_over_some_of_the_rows_leaves_batches_as_they_are():
    """D is of all rows, whoever asks for fewer."""
    asked = small("regression", "mlp")
    some = replace(asked, train=asked.train.keep(torch.tensor([0, 2, 4])), left_out=torch.tensor([0]))
    D, G = dense.adam_scale(asked, BATCH, EPSILON), dense.gauss_newton(some)
    expected = reference.scores(asked, dense.adam_unrolled(G, D, [1e-3] * 5, BETA)[-1])
    for own, shared in ((3, None), (None, 3), (3, 6)):
        method = UnrolledGaussNewton("Unrolled-GN", own).for_training(recursion([5]))
        close(attribute(asked, method, curvature_rows=shared).sel(step=5), expected)
        assert method.notes["rows"] == "curvature over 3 of 7 training rows"


@pytest.mark.parametrize("most_bytes", [1, 2**28])
@pytest.mark.parametrize("network", ["mlp", "convolutional", "text"])
def test_layers_are_multiplied_in_factors(network, most_bytes, monkeypatch):
    """Also where the first rows have no gradient, output by output or all outputs at once."""
    monkeypatch.setattr("fimo.gradients.rescaled.LAYER_GRADIENT_BYTES", most_bytes)
    asked = text_problem() if network == "text" else small("classification", network)
    if network == "mlp":
        with torch.no_grad():
            last = asked.network.linear_relu_stack[-1]
            last.weight.zero_(), last.bias.copy_(torch.tensor([0.0, -1000.0, -1000.0])[: len(last.bias)])
        targets = asked.train.targets.index_fill(0, torch.arange(2), 0)
        asked = replace(asked, train=replace(asked.train, targets=targets))
    method = UnrolledGaussNewton("Unrolled-GN").for_training(recursion([5]))
    found = attribute(asked, method)
    assert method.factored and method.diagnostics["path"] == "dual"
    D, G = dense.adam_scale(asked, BATCH, EPSILON), dense.gauss_newton(asked)
    close(found.sel(step=5), reference.scores(asked, dense.adam_unrolled(G, D, [1e-3] * 5, BETA)[-1]))


@pytest.mark.parametrize("network", ["mlp", "convolutional", "transformer", "text"])
def test_gradients_in_other_coordinates(network):
    """Everything that gradients can do, in factors and as they are."""
    asked = text_problem() if network == "text" else small("classification", network)
    metric = DiagonalMetric.of_batches(asked, BATCH, EPSILON)
    ours, theirs = (GradientSource(asked, factored, coordinates=metric.gradients) for factored in (True, False))
    some, others = (ours(rows) for rows in (asked.train, asked.test))
    expected, there = (theirs(rows) for rows in (asked.train, asked.test))
    assert set(some.names) == set(expected.names) and ours.factored == (network != "transformer")
    for name, products in expected.inner_per_parameter(there).items():
        close(some.inner_per_parameter(others)[name], products)
        close(some.squares()[name], expected.squares()[name])
        close(some.row_sums()[name].reshape(-1), expected.row_sums()[name].reshape(-1))
        close(some.row_square_sums()[name].reshape(-1), expected.row_square_sums()[name].reshape(-1))
    factors = torch.rand(len(asked.train), dtype=torch.float64)
    close(some.scaled(factors).joined([others]).inner(others), expected.scaled(factors).joined([there]).inner(there))
    close(torch.tensor(mean_square(ours)), torch.tensor(mean_square(theirs)))
