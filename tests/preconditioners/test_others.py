"""EK-FAC and TRAK; dampings and their units."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from curvlinops import EKFACLinearOperator
from methods import SIZE, projections
from problems import NoLayers, problem
from torch import nn

from fimo.attribution import attribute
from fimo.errors import MethodFailed, UserError
from fimo.gradients import GradientSource
from fimo.gradients.cotangents import of_curvature
from fimo.gradients.source import mean_square
from fimo.preconditioners import projections as random_projections
from fimo.preconditioners.conjugate_gradients import ConjugateGradients
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.exact_gauss_newton import ExactGaussNewton
from fimo.preconditioners.identity import Identity
from fimo.preconditioners.kronecker_factors import KroneckerFactors
from fimo.preconditioners.neumann_series import NeumannSeries
from fimo.preconditioners.projections import RandomSigns, SparseSigns
from fimo.preconditioners.random_projection import RandomProjection, automatic_size
from fimo.reference import gradients as reference
from fimo.reference import methods as dense

TASKS = ["regression", "classification"]
HALF = Damping(0.5)


class TestDamping:
    @pytest.mark.parametrize("network", ["mlp", "convolutional"])
    @pytest.mark.parametrize("task", TASKS)
    def test_units(self, task, network):
        question = problem(task, network)
        source, G = GradientSource(question), dense.gauss_newton(question)
        assert mean_square(source) == pytest.approx(dense.lambda_0(question), rel=1e-10)
        assert mean_square(source, of_curvature) == pytest.approx(G.trace().item() / len(G), rel=1e-10)
        facts: dict = {}
        assert Damping(3, "lambda_0").of_curvature(source, facts) == pytest.approx(3 * dense.lambda_0(question))
        assert facts["damping"] == "3 λ0" and facts["damping_value"] > 0
        mean = Damping(0.1, "mean_eigenvalue").of_curvature(source, facts)
        assert mean == pytest.approx(0.1 * G.trace().item() / len(G))
        assert Damping(0.25).of_curvature(source, facts) == 0.25 and facts["damping"] == "0.25"

    @pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf"), "much", None, True])
    def test_a_scale_that_is_no_damping(self, scale):
        with pytest.raises(UserError, match=f"damping.scale must be a number above 0, found {scale!r}"):
            Damping(scale)

    def test_a_unit_that_is_none(self):
        with pytest.raises(UserError, match="damping.unit must be one of absolute, lambda_0, .*, found 'x'"):
            Damping(1, "x")

    def test_a_unit_that_is_zero(self):
        question = problem(network="linear")
        question.train.targets.copy_(question.network(question.train.inputs).detach())
        with pytest.raises(UserError, match="A damping of 10 λ0 is 0.0, since all gradients vanish"):
            attribute(question, ConjugateGradients("CG", Damping(10, "lambda_0")))


class TestKroneckerFactors:
    @pytest.mark.parametrize("outputs", [1, 3])
    def test_exact_for_one_linear_layer_with_squared_error(self, outputs):
        question = problem(network="linear")
        if outputs > 1:
            torch.manual_seed(3)
            question = wider(question, outputs)
        expected = reference.scores(question, dense.damped_inverse(dense.gauss_newton(question), 0.5))
        np.testing.assert_allclose(attribute(question, KroneckerFactors("EK-FAC", HALF)), expected, rtol=1e-9)

    @pytest.mark.parametrize("task", TASKS)
    @pytest.mark.parametrize("network", ["mlp", "convolutional", "transformer"])
    def test_equals_curvlinops(self, task, network):
        """Each layer's block of the operator as a dense matrix, damped by its own mean eigenvalue and inverted."""
        question = problem(task, network)
        modules = [m for m in question.network.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
        expected = 0
        for module in modules:
            parameters = list(module.parameters())
            operator = EKFACLinearOperator(
                question.network,
                nn.MSELoss() if task == "regression" else nn.CrossEntropyLoss(),
                parameters,
                [question.train[slice(None)]],
                fisher_type="type-2",
                separate_weight_and_bias=False,
                num_per_example_loss_terms=1,
            )
            matrix = operator @ torch.eye(sum(p.numel() for p in parameters), dtype=torch.float64)
            inverse = dense.damped_inverse(matrix, 0.1 * matrix.trace() / len(matrix))
            places = places_of(question.network, parameters)
            test, train = reference.gradients(question)
            expected = expected + test[:, places] @ inverse @ train[:, places].T / len(question.train)
        method = KroneckerFactors("EK-FAC", Damping(0.1, "mean_eigenvalue"))
        np.testing.assert_allclose(attribute(question, method), expected, rtol=1e-7, atol=1e-9 * expected.abs().max())
        assert ("left out" in method.notes) == (network != "mlp")

    def test_parameters_elsewhere_are_named(self):
        method = KroneckerFactors("EK-FAC", Damping(0.1, "mean_eigenvalue"))
        attribute(problem("regression", "convolutional"), method)
        assert method.notes["left out"].startswith("P = 0 for parameters outside linear and two-dimensional conv")
        assert method.notes["left out"].endswith(" (body.1.weight, body.1.bias)")

    def test_a_network_without_such_layers(self):
        question = replace(problem(), network=NoLayers(5, 1).double().eval())
        with pytest.raises(
            UserError, match=r"EK-FAC needs weights of .* layers, and θ of the network NoLayers has none: choose"
        ):
            attribute(question, KroneckerFactors("EK-FAC", HALF))


def wider(question, outputs):
    """The same rows with several targets."""
    inputs = (question.train.inputs, question.test.inputs)
    targets = [torch.cat([torch.sin(k * x.sum(1, keepdim=True)) for k in range(1, outputs + 1)], 1) for x in inputs]
    train, test = (
        type(rows)(rows.inputs, y, rows.index) for rows, y in zip((question.train, question.test), targets, strict=True)
    )
    return type(question)(nn.Linear(5, outputs).double().eval(), question.objective, train, test, question.left_out)


def places_of(network, parameters):
    """Where some parameters lie among all, flat."""
    places, start = {}, 0
    for parameter in network.parameters():
        places[id(parameter)] = torch.arange(start, start + parameter.numel())
        start += parameter.numel()
    return torch.cat([places[id(parameter)] for parameter in parameters])


class TestRandomProjection:
    @pytest.mark.parametrize("network", ["mlp", "convolutional"])
    @pytest.mark.parametrize("task", TASKS)
    def test_without_projection_it_is_the_dense_solution(self, task, network):
        question = problem(task, network)
        method = RandomProjection("TRAK", projection=None, ridge=HALF)
        identity = torch.eye(sum(p.numel() for p in question.network.parameters()), dtype=torch.float64)
        expected = reference.scores(question, dense.random_projection(question, identity, 0.5))
        np.testing.assert_allclose(attribute(question, method), expected, rtol=1e-8)

    def test_for_squared_error_it_is_twice_gauss_newton_with_twice_the_damping(self):
        question = problem()
        trak = attribute(question, RandomProjection("TRAK", projection=None, ridge=HALF))
        exact = attribute(question, ExactGaussNewton("Exact-GN", Damping(1.0)))
        np.testing.assert_allclose(trak, 2 * exact, rtol=1e-8)

    def test_several_projections_are_averaged(self):
        question = problem("classification")
        matrices = [dense.random_projection(question, S) for S in projections(question, 3)]
        expected = [reference.scores(question, matrix) for matrix in matrices]
        assert np.abs(expected[0] - expected[1]).max() > 1e-3 * np.abs(expected[0]).max()
        scores = attribute(question, RandomProjection("TRAK", SIZE, projections=3))
        np.testing.assert_allclose(scores, np.mean(expected, 0), rtol=1e-3, atol=1e-4 * np.abs(scores).max())

    def test_another_seed_shares_no_projection(self):
        """The spread over seeds is that of independent projections."""
        first, second = (RandomProjection("TRAK", SIZE, projections=5, seed=seed).fit(problem()) for seed in (0, 1))
        drawn = [tuple(p.signs.flatten().tolist()) for p, _ in [*first.factors, *second.factors]]
        assert len(set(drawn)) == 10

    def test_a_large_projection_is_sparse(self, monkeypatch):
        monkeypatch.setattr(random_projections, "DENSE_PROJECTION_ENTRIES", 0)
        question = problem("classification")
        method = RandomProjection("TRAK", SIZE).fit(question)
        ((projection, _),) = method.factors
        S = projection.project(torch.eye(question.size)).double()
        assert (S.abs().sum(1) == 1).all() and (S.abs().max(1).values == 1).all() and "sparse" in method.notes
        expected = reference.scores(question, dense.random_projection(question, S))
        scores = attribute(question, RandomProjection("TRAK", SIZE))
        np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())

    @pytest.mark.parametrize("kind", [RandomSigns, SparseSigns])
    def test_projections_keep_inner_products_on_average(self, kind):
        found = [kind(6, 4, seed).project(torch.eye(6)) for seed in range(2000)]
        np.testing.assert_allclose(torch.stack([S @ S.T for S in found]).mean(0), torch.eye(6), atol=0.06)

    def test_a_singular_kernel_is_an_error(self):
        text = "The kernel of TRAK is singular with projection size 40, n = 23 training rows and ridge 0: choose a sma"
        with pytest.raises(UserError, match=text):
            attribute(problem(), RandomProjection("TRAK", 40))
        attribute(problem(), RandomProjection("TRAK", 40, ridge=Damping(0.01, "mean_eigenvalue")))

    def test_a_projection_that_does_not_fit_into_memory(self):
        with pytest.raises(UserError, match="kernels of projection size 1{20}, .*: choose a smaller projection"):
            attribute(problem(), RandomProjection("TRAK", int("1" * 20)))

    @pytest.mark.parametrize("distinct, size", [(10, 8), (3, 2), (1, 1)])
    def test_the_automatic_size_follows_the_rank(self, distinct, size):
        """Few distinct rows: the scores are those of the size that fits, to the bit, and a note says so."""
        question = problem(rows=40, left_out=(0, 13))
        repeated = question.train.keep(torch.arange(40) % distinct)
        question = replace(question, train=replace(repeated, index=torch.arange(40)))
        method = RandomProjection("TRAK", projections=2)
        scores = attribute(question, method)
        np.testing.assert_array_equal(scores, attribute(question, RandomProjection("TRAK", size, projections=2)))
        assert method.diagnostics["projection"] == size < automatic_size(40, question.size)
        assert method.notes["rank"].startswith(f"projection size {size}, since the features of the training rows have")
        with pytest.raises(MethodFailed, match=f"singular with projection size {2 * size},"):
            attribute(question, RandomProjection("TRAK", 2 * size))

    def test_features_that_are_all_zero_have_no_size(self):
        question = problem(network="linear")
        zero = replace(question.train, inputs=torch.zeros_like(question.train.inputs))
        network = nn.Linear(5, 1, bias=False).double().eval()
        with pytest.raises(MethodFailed, match="singular with projection size 1,"):
            attribute(replace(question, network=network, train=zero), RandomProjection("TRAK"))

    def test_too_many_parameters_for_none(self):
        question = replace(problem(), network=nn.Sequential(nn.Linear(5, 2000), nn.Linear(2000, 1)).double().eval())
        with pytest.raises(UserError, match="TRAK without projection needs a kernel of 1.5 GiB for 14001 parameters"):
            attribute(question, RandomProjection("TRAK", None))

    def test_the_papers_sizes(self):
        sizes = [automatic_size(n, 10**6) for n in (5, 353, 691, 4095, 4096, 67349)]
        assert sizes == [4, 256, 512, 512, 2048, 2048] and automatic_size(691, 100) == 32


LISSA = {"damping": HALF, "depth": 5, "batch_size": 4, "scales": [10]}


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: Identity("Grad-Dot", phi="half"), "phi of Grad-Dot must be one of raw, unit_length, found 'half'"),
        (lambda: RandomProjection("TRAK", 0), "projection of TRAK must be a whole number of at least 1, found 0"),
        (lambda: RandomProjection("TRAK", "big"), "projection of TRAK must be a whole number .*, found 'big'"),
        (lambda: RandomProjection("TRAK", 5, projections=0), "projections of TRAK must be .* found 0"),
        (lambda: RandomProjection("TRAK", 5, seed=-1), "seed of TRAK must be .* at least 0, found -1"),
        (lambda: ConjugateGradients("CG", HALF, tolerance=0), "tolerance of CG must be between 0 and 1, found 0"),
        (lambda: ConjugateGradients("CG", HALF, max_iterations=0), "max_iterations of CG must be .* found 0"),
        (lambda: NeumannSeries("LiSSA", "gauss_newton", **{**LISSA, "depth": 0}), "depth of LiSSA must .*, found 0"),
        (lambda: NeumannSeries("LiSSA", "fisher", **LISSA), "curvature of LiSSA must be one of .*, found 'fisher'"),
        (lambda: NeumannSeries("LiSSA", "hessian", **{**LISSA, "scales": []}), "scales of LiSSA must be a list"),
        (lambda: NeumannSeries("LiSSA", "hessian", **LISSA, scale=-1), r"numbers above 0, found \[-1\]"),
        (lambda: NeumannSeries("LiSSA", "hessian", **LISSA, repeat=0), "repeat of LiSSA must .*, found 0"),
        (lambda: NeumannSeries("LiSSA", "hessian", **LISSA, dtype="half"), "dtype of LiSSA must be one of float32, fl"),
        (
            lambda: NeumannSeries("LiSSA", "hessian", **{**LISSA, "batch_size": 0}),
            "batch_size of LiSSA .* found 0",
        ),
    ],
)
def test_settings_that_no_method_can_have(make, text):
    with pytest.raises(UserError, match=text):
        make()
