"""Where θ has fewer parameters than the dual has rows, G itself is decomposed: the same numbers, the smaller matrix."""

from dataclasses import replace

import numpy as np
import pytest
from problems import problem
from recursions import close, recursion

from fimo.attribution import attribute
from fimo.optimizers import LinearisedAdam
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.exact_gauss_newton import ExactGaussNewton
from fimo.reference import gradients as reference
from fimo.reference import methods as dense
from fimo.reference.unrolled import adam_scale, adam_unrolled, unrolled
from fimo.unrolled.displaced import DisplacedGradients
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton

STEPS = [1, 3, 10]


@pytest.fixture(params=["linear", "a part of a network"])
def asked(request):
    """18 and 21 parameters, 46 rows of the dual."""
    if request.param == "linear":
        return problem("classification", "linear")
    return problem("classification", "mlp", parameters=["linear_relu_stack.4.*"])


def test_the_damped_inverse(asked):
    method = ExactGaussNewton("Exact-GN", Damping(2, "lambda_0"))
    scores = attribute(asked, method)
    assert method.diagnostics["path"] == "primal" and len(method.spectrum.eigenvalues) == asked.size
    expected = dense.damped_inverse(dense.gauss_newton(asked), 2 * dense.lambda_0(asked))
    close(scores, reference.scores(asked, expected))


@pytest.mark.parametrize("most", [21, 17])
def test_a_decomposition_that_would_take_too_long_gives_way_to_polynomials(most):
    """Of G too, where it has more rows than a ranking decomposes."""
    asked = problem("classification", "linear")
    method = ExactGaussNewton("Exact-GN", Damping(50, "lambda_0"))
    method.most_rows = most
    scores = attribute(asked, method)
    assert ("polynomials" in method.diagnostics["path"]) == (most < asked.size == 18)
    expected = dense.damped_inverse(dense.gauss_newton(asked), 50 * dense.lambda_0(asked))
    close(scores, reference.scores(asked, expected))


def test_further_training_and_where_it_goes(asked):
    method = UnrolledGaussNewton("Unrolled-GN").for_training(recursion(STEPS))
    scores = attribute(asked, method)
    matrices = unrolled(dense.gauss_newton(asked), recursion(STEPS).learning_rates)
    for step in STEPS:
        close(scores.sel(step=step), reference.scores(asked, matrices[step - 1]))
    moved = attribute(asked, method, views=DisplacedGradients("both", method))
    in_dual = UnrolledGaussNewton("Unrolled-GN").for_training(recursion(STEPS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fimo.preconditioners.spectral_filters.is_smaller_in_parameters", lambda *_: False)
        again = attribute(asked, in_dual, views=DisplacedGradients("both", in_dual))
    assert (method.diagnostics["path"], in_dual.diagnostics["path"]) == ("primal", "dual")
    np.testing.assert_allclose(moved, again, rtol=1e-9, atol=1e-11 * float(abs(again).max()))


def test_under_adam(asked):
    asked, rate, epsilon = asked.sampled(12), 0.01, 1e-3
    asked = replace(asked, left_out=problem(rows=12, left_out=(0, 3)).left_out)
    settings = LinearisedAdam(np.full(10, rate), STEPS, 0.9, batch_size=2, epsilon=epsilon)
    method = UnrolledGaussNewton("Unrolled-GN").for_training(settings)
    scores = attribute(asked, method)
    assert method.diagnostics["path"] == "primal"
    scale = adam_scale(asked, 2, epsilon)
    matrices = adam_unrolled(dense.gauss_newton(asked), scale, settings.learning_rates, 0.9)
    for step in STEPS:
        close(scores.sel(step=step), reference.scores(asked, matrices[step - 1]))
