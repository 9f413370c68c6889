"""Rankings of all training rows against sorted scores of the equation, and self-influence against explicit matrices."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from methods import DEPTH, METHODS, SCALE
from problems import Sentences, problem, text_problem

from fimo.attribution import attribute
from fimo.errors import UserError
from fimo.further_training.settings import FurtherTraining
from fimo.gradients import GradientSource
from fimo.gradients.diagonal_metric import AdamMetric
from fimo.pipeline.methods import Method, training_recursion
from fimo.preconditioners.conjugate_gradients import ConjugateGradients
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.dual_inverse import DualInverse
from fimo.preconditioners.identity import Identity
from fimo.ranking import MEAN, ROW, SCORE, SELF, all_left_out, rank_rows, rank_scores
from fimo.reference import gradients as reference
from fimo.reference import methods as dense
from fimo.unrolled.displaced import DisplacedGradients
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton

TOP = 5
FEW_BYTES = 4096  # for blocks of some rows
TWO = [("classification", "mlp"), ("regression", "convolutional")]
SGD = FurtherTraining(torch.optim.SGD, lr=0.05, epochs=3, batch_size=8)


def slow_ends(scores, top):
    """Scores and rows at both ends, by sorting everything; of equal scores the earlier row comes first."""
    order = np.argsort(-scores, axis=-1, kind="stable")
    places = [*range(top), *range(scores.shape[-1] - top, scores.shape[-1])]
    rows = order[..., places]
    return np.take_along_axis(scores, rows, -1), rows


def explicit(asked, name):
    """Self-influence by a dense P: scores of the training rows as test examples."""
    method = METHODS[name]
    if name.startswith("LiSSA"):  # the mean over batches is the recursion with all rows in each
        rows = [torch.arange(len(asked.train))] * DEPTH
        matrix = dense.neumann_series(asked, METHODS[name].make().kind, 0.5, SCALE, rows).T
    else:
        matrix = method.matrix(asked)
    everything = replace(all_left_out(asked), test=asked.train)
    return reference.scores(everything, matrix, method.unit).diagonal()


@pytest.mark.parametrize("task, network", TWO)
@pytest.mark.parametrize("name", METHODS)
def test_ends_and_means_are_those_of_all_scores(name, task, network, monkeypatch):
    asked = problem(task, network)
    scores = attribute(all_left_out(asked), METHODS[name].make()).values
    for block_bytes in (2**28, FEW_BYTES):
        if block_bytes == FEW_BYTES:  # products with P are made test example by test example then
            monkeypatch.setattr("fimo.attribution.PRODUCT_BLOCKS", 0)
        ranked = rank_rows(asked, METHODS[name].make(), TOP, block_bytes=block_bytes)
        assert ranked["rank"].values.tolist() == [1, 2, 3, 4, 5, 19, 20, 21, 22, 23]
        expected, rows = slow_ends(scores, TOP)
        np.testing.assert_allclose(ranked[SCORE], expected, rtol=1e-7, atol=1e-9 * np.abs(scores).max())
        np.testing.assert_allclose(ranked[MEAN], scores.mean(0), rtol=1e-7, atol=1e-9 * np.abs(scores).max())
        if block_bytes > FEW_BYTES:  # rounding may change the order of scores that are equal but for it
            np.testing.assert_array_equal(ranked[ROW], rows)


KNOWN = [
    (name, task, network)
    for name, method in METHODS.items()
    for task, network in TWO
    if name != "LiSSA-H" and (not method.only or network in method.only)
]


@pytest.mark.parametrize("name, task, network", KNOWN)
def test_self_influence_is_that_of_the_explicit_matrix(name, task, network):
    asked, method = problem(task, network), METHODS[name]
    expected = explicit(asked, name)
    for block_bytes in (2**28, FEW_BYTES):
        ranked = rank_rows(asked, method.make(), TOP, block_bytes=block_bytes)
        np.testing.assert_allclose(ranked[SELF], expected, rtol=method.rtol, atol=method.rtol * np.abs(expected).max())


def test_a_hessians_recursion_has_no_self_influence():
    method = METHODS["LiSSA-H"].make()
    ranked = rank_rows(problem(), method, TOP)
    assert SELF not in ranked
    assert "no self-influence" in method.notes["self-influence"]


def test_self_influence_of_few_rows_of_the_dual(monkeypatch):
    """With fewer rows than there are P is that of evenly spaced ones, and a note says so."""
    monkeypatch.setattr("fimo.preconditioners.conjugate_gradients.CHOLESKY_ROWS", 0)
    asked, method = problem("classification"), METHODS["CG"].make()
    ranked = rank_rows(asked, method, TOP, self_influence_rows=20)
    few = asked.sampled(10)  # two rows of the dual for each of three classes
    λ = 10 * dense.lambda_0(asked)
    everything = replace(all_left_out(asked), test=asked.train)
    matrix = dense.damped_inverse(dense.gauss_newton(few), λ)
    np.testing.assert_allclose(ranked[SELF], reference.scores(everything, matrix, False).diagonal(), rtol=1e-6)
    assert method.notes["self-influence"] == "self-influence with curvature over 10 of 23 training rows"


@pytest.mark.parametrize("most", [10_000, 0])
def test_metric_of_conjugate_gradients(monkeypatch, most):
    """The exact inverse that stands for the solver is written in its coordinates: leaving a row out of its own loss."""
    monkeypatch.setattr("fimo.preconditioners.conjugate_gradients.CHOLESKY_ROWS", most)
    asked = replace(problem(), left_out=all_left_out(problem()).left_out)
    method = ConjugateGradients("CG", Damping(1.0), tolerance=1e-12, metric=AdamMetric(8, 1e-8))
    scores = attribute(replace(asked, test=asked.train), method)
    np.testing.assert_allclose(rank_rows(asked, method, TOP)[SELF], np.diag(scores), rtol=1e-6)


def test_the_inverse_in_the_dual_is_what_conjugate_gradients_come_to():
    asked, method = problem("classification"), METHODS["CG"].make()
    rank_rows(asked, method, TOP)
    exact = method.for_all_rows(20)
    assert isinstance(exact, DualInverse)
    source = GradientSource(asked, method.factored)
    gradients = method.phi(source(asked.train))
    np.testing.assert_allclose((exact @ gradients).inner(gradients), (method @ gradients).inner(gradients), rtol=1e-6)


@pytest.mark.parametrize("sides", ["train", "both"])
@pytest.mark.parametrize("dual_bytes", [2**30, 0])
def test_amounts_of_further_training(sides, dual_bytes):
    """A step for each amount, gradients where training has got to, by eigendecomposition or by polynomials."""
    asked = problem()

    def unrolled():
        return UnrolledGaussNewton("Unrolled-GN", dual_bytes=dual_bytes).for_training(training_recursion(SGD, asked))

    ranked = rank_rows(asked, P := unrolled(), TOP, views=DisplacedGradients(sides, P))
    scores = attribute(all_left_out(asked), P := unrolled(), views=DisplacedGradients(sides, P))
    assert ranked[SCORE].dims == ("step", "test", "rank") and ranked["step"].values.tolist() == [3, 6, 9]
    np.testing.assert_allclose(ranked[SCORE], slow_ends(scores.values, TOP)[0], rtol=1e-9)
    own = replace(all_left_out(asked), test=asked.train)
    expected = attribute(own, P := unrolled(), views=DisplacedGradients(sides, P)).values
    np.testing.assert_allclose(ranked[SELF], np.diagonal(expected, axis1=1, axis2=2), rtol=1e-5, atol=1e-9)
    with pytest.raises(UserError, match="no scores that are interpolated between amounts"):
        rank_rows(asked, P := unrolled(), TOP, views=DisplacedGradients(sides, P, most=2))


def test_sentences_and_positions_in_the_split():
    """Rows are named by their position in the entire split, whatever their lengths and whichever are kept."""
    asked = text_problem()
    kept = torch.tensor([1, 2, 5, 6, 7, 8, 12, 15])
    asked = replace(asked, train=asked.train.keep(kept), left_out=[0])
    scores = attribute(all_left_out(asked), Identity("Grad-Dot"))
    ranked = rank_rows(asked, Identity("Grad-Dot"), 2)
    assert ranked["train"].values.tolist() == kept.tolist()
    for test in range(4):
        best = scores.isel(test=test).sortby(scores.isel(test=test), ascending=False)["left_out"].values
        assert ranked[ROW].isel(test=test).values.tolist() == [*best[:2], *best[-2:]]


@pytest.mark.parametrize("name", ["Grad-Dot", "CG", "DataInf"])
@pytest.mark.parametrize("tests, block_bytes", [(4, 1), (30, 2**28)])
def test_sentences_in_any_order_of_their_lengths(name, tests, block_bytes):
    """They go through the network by their lengths, and all that comes out is in their own order.

    There are fewer tests than left-out rows, or more: P is multiplied with either side.
    """
    asked, method = text_problem(lambda k: Sentences(k, dropout=0.0), tests=tests), METHODS[name]
    assert not asked.train.by_length().equal(torch.arange(17)) and not asked.test.by_length().equal(torch.arange(tests))
    by_rows = replace(asked, train=replace(asked.train, lengths=None), test=replace(asked.test, lengths=None))
    expected = attribute(all_left_out(by_rows), method.make()).values
    tolerance = {"rtol": 1e-7, "atol": 1e-9 * np.abs(expected).max()}
    np.testing.assert_allclose(
        attribute(all_left_out(asked), method.make(), block_bytes=block_bytes), expected, **tolerance
    )
    ranked, plain = (rank_rows(one, method.make(), TOP, block_bytes=block_bytes) for one in (asked, by_rows))
    for what in (SCORE, MEAN, SELF):
        np.testing.assert_allclose(ranked[what], plain[what], **tolerance)
    np.testing.assert_array_equal(ranked[ROW], slow_ends(expected, TOP)[1])


def test_ties_and_missing_scores():
    """Equal scores are ranked by position, the same from both ends; NaN is ranked nowhere."""
    asked = problem(rows=6, tests=1, left_out=[0])
    coordinates = {"test": [0], "left_out": range(6)}
    for values, expected in [
        ([1.0, 3.0, 1.0, 1.0, 0.0, 3.0], [1, 5, 0, 2, 3, 4]),
        ([2.0] * 6, [0, 1, 2, 3, 4, 5]),
    ]:
        scores = xr.DataArray([values], coordinates, ["test", "left_out"])
        for top in (1, 2, 3, 4, 6):
            ranked = rank_scores(scores, asked, top)
            assert ranked[ROW].values[0].tolist() == [expected[rank - 1] for rank in ranked["rank"].values]
    missing = rank_scores(xr.DataArray([[np.nan, 1.0, np.nan, 3, 2, 0]], coordinates, ["test", "left_out"]), asked, 2)
    assert missing[ROW].values.tolist() == [[3, 4, 1, 5]] and SELF not in missing


@pytest.mark.parametrize("top", [0, 24, 2.0, True, "all"])
def test_more_rows_than_there_are(top):
    with pytest.raises(UserError, match=r"top \(rank.top\) must be a whole number from 1 to 23 .*, found"):
        rank_rows(problem(), Identity("Grad-Dot"), top)


def test_a_method_of_a_run_ranks_by_the_amounts_of_its_training():
    asked = problem()
    method = Method("unrolled_gn", "Unrolled-GN", UnrolledGaussNewton("Unrolled-GN"))
    ranked = method.rank(asked, TOP, replace(SGD, evaluate_every=[2, 9]))
    assert ranked.values["step"].values.tolist() == [2, 9] and not ranked.notes


def test_a_large_dual_is_not_decomposed_for_few_test_examples():
    """Polynomials in the dual give the scores of the eigendecomposition, and fewer rows the self-influence."""
    asked = problem("classification")

    def unrolled(most_rows):
        P = UnrolledGaussNewton("Unrolled-GN").for_training(training_recursion(SGD, asked))
        P.most_rows = most_rows
        return P

    scores, P = attribute(all_left_out(asked), unrolled(None)), unrolled(20)
    ranked = rank_rows(asked, P, TOP, self_influence_rows=20)
    assert P.diagnostics["path"].startswith("polynomials of degree") and P.diagnostics["path"].endswith("in the dual")
    np.testing.assert_allclose(ranked[SCORE], slow_ends(scores.values, TOP)[0], rtol=1e-9)
    assert P.notes["self-influence"] == "self-influence with curvature over 10 of 23 training rows"
    few = unrolled(None)
    few.curvature_rows = 10
    np.testing.assert_allclose(ranked[SELF], rank_rows(asked, few, TOP)[SELF], rtol=1e-9)


@pytest.mark.parametrize("name", ["EK-FAC", "Exact-GN"])
@pytest.mark.parametrize("network", ["mlp", "transformer"])
def test_both_products_of_gradients_that_are_prepared_for_both(name, network):
    """Scores and self-influence begin with the same work, which is done once."""
    question = problem("classification", network)
    P = METHODS[name].make().fit(question)
    source = GradientSource(question, P.factored)
    products, gradients = P @ P.phi(source(question.test)), P.phi(source(question.train))
    both = P.for_both(gradients)
    assert both is not gradients
    np.testing.assert_allclose(products.inner(both), products.inner(gradients), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(P.quadratic_form(both), P.quadratic_form(gradients), rtol=1e-12)
