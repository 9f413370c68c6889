"""Functions of G times gradients: the same however many others they are multiplied with."""

import numpy as np
import pytest
from problems import problem
from recursions import recursion

from fimo.gradients import GradientSource
from fimo.gradients.base import for_products
from fimo.reference import curvature as reference
from fimo.reference import methods as dense
from fimo.reference.unrolled import unrolled
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton


@pytest.mark.parametrize("steps", [[3], [1, 2, 3, 4, 5, 6]])
@pytest.mark.parametrize("task, network", [("regression", "mlp"), ("classification", "convolutional")])
def test_products_are_taken_back_where_the_others_are_many(task, network, steps):
    asked = problem(task, network)
    P = UnrolledGaussNewton("Unrolled-GN").for_training(recursion(steps)).fit(asked)
    source = GradientSource(asked, P.factored)
    rows = source(asked.train)
    G, g = dense.gauss_newton(asked), reference.training_gradients(asked)
    test = GradientSource(asked, factored=False)(asked.test).flat()
    matrices = unrolled(G, recursion(steps).learning_rates)[[step - 1 for step in steps]]
    expected = (test @ matrices @ g.T).numpy()
    for others in (0, 23, 46):
        products = for_products(P @ source(asked.test), others)
        found = products.inner(rows).reshape(expected.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9 * np.abs(expected).max())
        # One function of 4 gradients is less than 23 rows, six of them than 46; with squared error they are more than
        # the eigenvectors.
        count = 4 * len(steps)
        assert ("_taken_back" in vars(products)) == (count < others and count <= len(P.spectrum.vectors))
