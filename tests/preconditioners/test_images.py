"""Every method on images: convolutions, maxima over pixels, batch normalisation, against explicit matrices."""

import numpy as np
import pytest
import torch
from methods import METHODS

from fimo.attribution import attribute
from fimo.curvature.gauss_newton_factor import gram_bytes
from fimo.curvature.products import PrimalCurvature, curvature
from fimo.data.image_sources import Digits
from fimo.data.images import ImageData
from fimo.gradients.source import GradientSource
from fimo.models.convolutional import SmallConvolutional
from fimo.models.losses import OBJECTIVES
from fimo.models.resnet import ResNet9
from fimo.preconditioners.conjugate_gradients import ConjugateGradients
from fimo.preconditioners.damping import Damping
from fimo.problem import Problem
from fimo.reference import gradients as reference


def digits(make, rows=13):
    settings = {"left_out": 3, "train_rows": rows, "test_count": 2}
    data = ImageData(name="digits", batch_size=8, source=Digits(), data_dir=".", **settings).load()
    torch.manual_seed(0)
    network = make(data.inputs, data.outputs)
    network(data.train.inputs)  # in training mode: running statistics that say something
    asked = Problem(network.eval(), OBJECTIVES["classification"], data.train, data.test, data.left_out)
    return asked.to(dtype=torch.float64)


def small(inputs, outputs):
    return SmallConvolutional(inputs, outputs, [2, 3])


def residual(inputs, outputs):
    return ResNet9(inputs, outputs, width=1)


@pytest.mark.parametrize("label", [label for label, method in METHODS.items() if not method.only])
def test_equals_the_explicit_matrix(label):
    question, method = digits(small), METHODS[label]
    expected = reference.scores(question, method.matrix(question), method.unit)
    scores = attribute(question, method.make())
    np.testing.assert_allclose(scores, expected, rtol=method.rtol, atol=method.rtol * np.abs(expected).max())


@pytest.mark.parametrize("label", METHODS)
def test_takes_a_resnet(label):
    scores = attribute(digits(residual), METHODS[label].make())
    assert scores.shape == (2, 3) and (np.isfinite(scores).all() or label == "LiSSA-H")


@pytest.mark.parametrize("make", [small, residual])
def test_dual_and_primal_agree(make):
    question = digits(make)
    dual, primal = (
        ConjugateGradients("CG", Damping(10, "lambda_0"), tolerance=1e-10, dual_bytes=limit) for limit in (2**30, 0)
    )
    np.testing.assert_allclose(attribute(question, dual), attribute(question, primal), rtol=1e-6, atol=1e-14)
    assert (dual.diagnostics["path"], primal.diagnostics["path"]) == ("dual", "primal")


def test_the_dual_is_left_where_its_gram_does_not_fit():
    question = digits(small)
    source = GradientSource(question)
    wide, narrow = (gram_bytes(source, dtype) for dtype in (torch.float64, torch.float32))
    assert (wide, narrow) == ((13 * 9) ** 2 * 8, (13 * 9) ** 2 * 4)
    paths = {wide: "dual", wide - 1: "dual in float32", narrow: "dual in float32", narrow - 1: "primal"}
    for limit, path in paths.items():
        assert curvature(question, "gauss_newton", limit).path == path


@pytest.mark.parametrize("make", [small, residual])
def test_hessian_products_are_differences_of_gradients(make):
    """vmap has no rule for maxima over pixels differentiated twice: columns then go one after another."""
    question = digits(make)
    vectors = torch.randn(question.size, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def mean_gradient(move):
        parameters = torch.nn.utils.parameters_to_vector(question.network.parameters()).detach()
        moved = digits(make)
        torch.nn.utils.vector_to_parameters(parameters + move, moved.network.parameters())
        return GradientSource(moved, factored=False)(moved.train).flat().mean(0)

    found, step = PrimalCurvature(question, "hessian").matvec(vectors), 1e-6
    for column in range(2):
        move = step * vectors[:, column]
        expected = (mean_gradient(move) - mean_gradient(-move)) / (2 * step)
        torch.testing.assert_close(found[:, column], expected, rtol=1e-4, atol=1e-5)
