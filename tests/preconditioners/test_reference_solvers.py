"""The plain loops that the benchmark times give what the package gives."""

import numpy as np
from methods import METHODS
from problems import problem

from fimo.attribution import attribute
from fimo.reference import gradients as reference
from fimo.reference import methods as dense
from fimo.reference import solvers as plain


def check(name, solve, question, rtol):
    test, train = reference.gradients(question)
    expected = [(train @ solve(g)).numpy() / len(question.train) for g in test]
    np.testing.assert_allclose(attribute(question, METHODS[name].make()), expected, rtol=rtol)


def test_conjugate_gradients():
    question = problem()
    damping = 10 * dense.lambda_0(question)
    check("CG", lambda g: plain.conjugate_gradients(question, g, damping, 1e-12), question, 1e-8)


def test_mean_of_inverses():
    question = problem()
    gradients = plain.training_gradients(question)
    check("DataInf", lambda g: plain.mean_of_inverses(question, g, gradients, 0.1), question, 1e-8)


def test_kronecker_factors():
    question = problem()
    bases = plain.kronecker_bases(question)
    check("EK-FAC", lambda g: plain.kronecker_factors(question, g, bases, 0.1), question, 1e-7)
