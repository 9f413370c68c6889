"""DataInf's preconditioner apart from the METHODS × PROBLEMS table."""

import numpy as np
import pytest
from methods import HALF
from problems import problem

from fimo.attribution import attribute
from fimo.preconditioners import mean_of_inverses
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.mean_of_inverses import MeanOfInverses
from fimo.reference import gradients as reference
from fimo.reference import methods as dense


class TestMeanOfInverses:
    @pytest.mark.parametrize("network", ["mlp", "convolutional"])
    def test_an_absolute_damping(self, network):
        question = problem("classification", network)
        expected = reference.scores(question, dense.mean_of_inverses(question, damping=0.5))
        np.testing.assert_allclose(attribute(question, MeanOfInverses("DataInf", HALF)), expected, rtol=1e-9)

    def test_training_rows_in_blocks(self):
        question = problem("classification", "convolutional")
        method = MeanOfInverses("DataInf", Damping(0.1, "mean_eigenvalue")).fit(question)
        test = method.source(question.test)
        whole = (method @ test).inner(test)
        method.source.block_rows = 5
        np.testing.assert_allclose((method @ test).inner(test), whole, rtol=1e-10, atol=1e-13)

    def test_training_rows_that_do_not_fit_into_memory(self, monkeypatch):
        question = problem("classification", "mlp")
        method = MeanOfInverses("DataInf", Damping(0.1, "mean_eigenvalue"))
        expected = attribute(question, method)
        monkeypatch.setattr(mean_of_inverses, "KEPT_GRADIENT_BYTES", 0)
        assert isinstance(method.fit(question) @ method.source(question.test), mean_of_inverses.Streamed)
        np.testing.assert_allclose(attribute(question, method), expected, rtol=1e-12)

    def test_a_gradient_that_is_only_rounding_stays_out(self):
        """The bias of an attention layer's keys: softmax doesn't see it."""
        method = MeanOfInverses("DataInf", Damping(0.1, "mean_eigenvalue"))
        attribute(problem("classification", "transformer"), method)
        assert method.notes == {"left out": "P = 0 for parameters whose gradient is zero but for rounding (key.bias)"}
