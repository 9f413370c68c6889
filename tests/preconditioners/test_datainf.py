"""DataInf: gradients of training rows that are kept, or made anew."""

import numpy as np
import pytest
from problems import problem

from fimo.attribution import attribute
from fimo.preconditioners import mean_of_inverses
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.mean_of_inverses import MeanOfInverses


@pytest.mark.parametrize("network", ["mlp", "convolutional"])
def test_it_is_the_same_where_its_gradients_are_made_anew(network, monkeypatch):
    question, scores = problem("classification", network), []
    for most_bytes in (2**30, 0):
        monkeypatch.setattr(mean_of_inverses, "BLOCK_BYTES", most_bytes)
        method = MeanOfInverses("DataInf", Damping(0.1, "mean_eigenvalue"))
        scores.append(attribute(question, method).values)
        assert (method.kept is None) == (most_bytes == 0)
    np.testing.assert_allclose(*scores, rtol=1e-9)
