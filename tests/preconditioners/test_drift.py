"""Gradients taken where further training has got to, against explicit formulas."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from methods import METHODS
from problems import problem
from recursions import PATHS, PROBLEMS, RATE, close, recursion

from fimo.attribution import attribute
from fimo.curvature import spectrum
from fimo.errors import UserError
from fimo.gradients import training_set as sums
from fimo.reference import methods as dense
from fimo.unrolled import displaced as drift
from fimo.unrolled.displaced import DisplacedGradients, backtracking, hats, spaced, training_loss
from fimo.unrolled.unrolled_gauss_newton import MatchedGaussNewton, UnrolledGaussNewton


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("task, network", PROBLEMS)
class TestMovedGradients:
    @pytest.mark.parametrize("moved", ["train", "both"])
    def test_equal_the_explicit_formula(self, moved, task, network, path):
        asked, steps = problem(task, network), [1, 3, 10]
        options = {"momentum": 0.5, "weight_decay": 0.05}
        method = UnrolledGaussNewton("Unrolled-GN", dual_bytes=PATHS[path]).for_training(
            recursion(steps, 0.01, **options)
        )
        scores = attribute(asked, method, views=DisplacedGradients(moved, method))
        assert scores.dims == ("step", "test", "left_out")
        theta = torch.nn.utils.parameters_to_vector(asked.network.parameters()).detach()
        pull = dense.mean_gradient(asked) + 0.05 * theta
        sums = dense.unrolled(dense.gauss_newton(asked), [0.01] * 10, **options)
        assert method.diagnostics["share_of_drift"] == [1, 1, 1] and "drift" not in method.notes
        assert method.diagnostics["mean_gradient_norm"] == pytest.approx(float(dense.mean_gradient(asked).norm()))
        for step in steps:
            P = sums[step - 1]
            close(scores.sel(step=step), dense.moved_scores(asked, P, -P @ pull, moved), rtol=1e-7)

    def test_matched(self, task, network, path):
        asked = problem(task, network)
        method = MatchedGaussNewton("Matched-GN", dual_bytes=PATHS[path]).for_training(recursion([2], 0.01))
        P = dense.damped_inverse(dense.gauss_newton(asked), 1 / 0.02)
        expected = dense.moved_scores(asked, P, -P @ dense.mean_gradient(asked), "both")
        close(attribute(asked, method, views=DisplacedGradients("both", method)).sel(step=2), expected, rtol=1e-7)


@pytest.mark.parametrize("moved", ["train", "both"])
@pytest.mark.parametrize("path", PATHS)
def test_between_amounts_gradients_are_interpolated(moved, path):
    """P is that of the step itself; in the gradients, scores are linear in the step."""
    asked, steps = problem("classification", "mlp"), [1, 2, 4, 5, 9, 10]
    method = UnrolledGaussNewton("Unrolled-GN", dual_bytes=PATHS[path]).for_training(recursion(steps, 0.05))
    scores = attribute(asked, method, views=DisplacedGradients(moved, method, most=3))
    assert scores["step"].values.tolist() == steps
    amounts = "gradients are taken after 3 amounts of further training, and interpolated between them"
    assert method.notes["amounts"] == amounts
    sums, pull = dense.unrolled(dense.gauss_newton(asked), [0.05] * 10), dense.mean_gradient(asked)

    def at(step, place):
        return dense.moved_scores(asked, sums[step - 1], -sums[place - 1] @ pull, moved)

    for step, (before, after, share) in {1: (1, 4, 0), 2: (1, 4, 1 / 3), 4: (1, 4, 1), 5: (4, 10, 1 / 6),
                                         9: (4, 10, 5 / 6), 10: (4, 10, 1)}.items():  # fmt: skip
        close(scores.sel(step=step), (1 - share) * at(step, before) + share * at(step, after), rtol=1e-7)


def test_a_method_of_one_matrix_is_interpolated_too():
    asked, steps = problem("classification", "mlp"), list(range(1, 31))
    estimate = UnrolledGaussNewton("the drift").for_training(recursion(steps, 0.05))
    few, all_of_them = (
        attribute(asked, METHODS["CG"].make(), views=DisplacedGradients("both", estimate, most=most))
        for most in (8, None)
    )
    assert few.shape == all_of_them.shape == (30, *attribute(asked, METHODS["CG"].make()).shape)
    places = spaced(steps, 8)
    np.testing.assert_allclose(few[places], all_of_them[places], rtol=1e-9)
    assert 0 < np.abs(few - all_of_them).max() < 0.05 * np.abs(all_of_them).max()


def test_amounts_are_evenly_spaced_in_the_logarithm():
    assert spaced([3, 6, 9], 3) == [0, 1, 2] and spaced([3, 6, 9, 12], None) == [0, 1, 2, 3]
    steps = list(range(5, 2505, 5))
    chosen = spaced(steps, 12)
    assert len(chosen) <= 12 and chosen[0] == 0 and chosen[-1] == 499 and chosen == sorted(set(chosen))
    ratios = np.diff(np.log([steps[place] for place in chosen]))[4:]
    assert ratios.max() < 1.1 * ratios.min()
    assert spaced([7, 8], 2) == [0, 1] and spaced([7], 2) == [0]
    shares = list(hats(steps, chosen))
    totals = np.zeros(500)
    for row in shares:
        for place, share in row.items():
            totals[place] += share
    np.testing.assert_allclose(totals, 1)


@pytest.mark.parametrize("path", PATHS)
def test_on_least_squares_the_drift_is_that_of_further_training(path):
    """Away from the optimum, where the model is quadratic and the Gauss–Newton matrix is the Hessian."""
    asked, steps = problem("regression", "linear"), [1, 5, 60]
    network = copy.deepcopy(asked.network)
    method = UnrolledGaussNewton("Unrolled-GN", dual_bytes=PATHS[path]).for_training(recursion(steps)).fit(asked)
    views = list(DisplacedGradients("both", method)(method, asked))
    assert [view.steps for view in views] == [[step] for step in steps]
    found = {step: view.at_test.network for step, view in zip(steps, views, strict=True)}
    optimizer = torch.optim.SGD(network.parameters(), RATE)
    for step in range(1, max(steps) + 1):
        optimizer.zero_grad()
        asked.objective.loss(network(asked.train.inputs), asked.train.targets).mean().backward()
        optimizer.step()
        if step in steps:
            for parameter, expected in zip(found[step].parameters(), network.parameters(), strict=True):
                np.testing.assert_allclose(parameter.detach(), expected.detach(), rtol=1e-9, atol=1e-11)


def test_a_drift_that_raises_the_loss_is_gone_in_part():
    """On a linear network the loss along the way is known: it is lowest at 1, as high as at first at 2."""
    asked = problem("regression", "linear")
    matrix, pull = dense.gauss_newton(asked), dense.mean_gradient(asked)
    step, before = -torch.linalg.solve(matrix, pull), training_loss(asked, 0.0)

    def by(times):
        blocks = step.split([p.numel() for p in asked.network.parameters()])
        names = dict(asked.network.named_parameters())
        return {name: times * part.reshape(p.shape) for (name, p), part in zip(names.items(), blocks, strict=True)}

    assert [backtracking(asked, by(times), before)[1] for times in (0.5, 1.9, 2.1, 7, -1)] == [1, 1, 0.5, 0.25, 0]
    there, share = backtracking(asked, by(2.1), before)
    np.testing.assert_allclose(
        torch.nn.utils.parameters_to_vector(there.network.parameters()).detach(),
        torch.nn.utils.parameters_to_vector(asked.network.parameters()).detach() + share * 2.1 * step,
    )
    assert backtracking(asked, by(-1), before)[0] is asked


def test_weight_decay_is_a_part_of_what_is_lowered():
    """A final model at its optimum without decay: training on with it goes elsewhere, and the loss itself rises."""
    asked = problem("regression", "linear")
    step = torch.linalg.solve(dense.gauss_newton(asked), dense.mean_gradient(asked))
    with torch.no_grad():
        theta = torch.nn.utils.parameters_to_vector(asked.network.parameters()) - step
        torch.nn.utils.vector_to_parameters(theta, asked.network.parameters())
    method = UnrolledGaussNewton("Unrolled-GN").for_training(recursion([1, 30], weight_decay=0.1))
    attribute(asked, method, views=DisplacedGradients("both", method))
    assert method.diagnostics["share_of_drift"] == [1, 1]


def test_the_drift_is_the_same_in_other_blocks_of_rows(monkeypatch):
    """Roots of the loss's Hessian are made again for it, and they have signs."""
    asked = problem("classification", "mlp", rows=40)

    def scores(block_bytes):
        monkeypatch.setattr(
            spectrum, "vjp_over_training_set", partial(sums.vjp_over_training_set, block_bytes=block_bytes)
        )
        monkeypatch.setattr(
            spectrum, "jvp_over_training_set", partial(sums.jvp_over_training_set, block_bytes=block_bytes)
        )
        method = UnrolledGaussNewton("Unrolled-GN").for_training(recursion([1, 30]))
        return attribute(asked, method, views=DisplacedGradients("both", method))

    close(scores(1), scores(2**28), rtol=1e-9)


def test_the_reader_is_told_of_a_drift_that_was_cut(monkeypatch):
    asked = problem("classification", "mlp")
    monkeypatch.setattr(drift, "backtracking", lambda asked, *drift: (asked, 0.25))
    method = UnrolledGaussNewton("Unrolled-GN").for_training(recursion([1, 2]))
    attribute(asked, method, views=DisplacedGradients("both", method))
    assert method.notes["drift"] == (
        "the estimated drift raises the training loss after 2 of 2 amounts of further training, where it is shortened, "
        "to as little as 0.25 of its length"
    )
    with pytest.raises(UserError, match="moved must be one of none, train, both, found 'all'"):
        DisplacedGradients("all", method)


@pytest.mark.parametrize("name, moved", [*((name, "both") for name in METHODS if name != "LiSSA-H"), ("CG", "train")])
def test_any_method_takes_its_gradients_there(name, moved):
    """With the same P, that of θ_f; φ is that of the moved gradients."""
    asked, steps = problem("classification", "mlp"), [1, 3]
    estimate = UnrolledGaussNewton("Unrolled-GN").for_training(recursion(steps, 0.02))
    method = METHODS[name].make()
    found = attribute(asked, method, views=DisplacedGradients(moved, estimate))
    assert found["step"].values.tolist() == steps and found.dims == ("step", "test", "left_out")
    assert method.diagnostics["share_of_drift"] == [1, 1]
    ways = -dense.unrolled(dense.gauss_newton(asked), [0.02] * 3) @ dense.mean_gradient(asked)
    known = METHODS[name]
    for step in steps:
        expected = dense.moved_scores(asked, known.matrix(asked), ways[step - 1], moved, known.unit)
        close(found.sel(step=step), expected, rtol=max(known.rtol, 1e-7))
