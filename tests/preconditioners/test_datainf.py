"""DataInf: gradients of training rows in any blocks, kept or made anew."""

import numpy as np
import pytest
from problems import problem

from fimo.attribution import attribute
from fimo.gradients import GradientSource
from fimo.gradients.source import mean_squares
from fimo.preconditioners import mean_of_inverses
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.mean_of_inverses import MeanOfInverses


@pytest.mark.parametrize("network", ["mlp", "convolutional"])
def test_it_is_the_same_where_its_gradients_are_made_anew(network, monkeypatch):
    question, scores = problem("classification", network), []
    for most_bytes in (2**30, 0):
        monkeypatch.setattr(mean_of_inverses, "MADE_ONCE_BYTES", most_bytes)
        method = MeanOfInverses("DataInf", Damping(0.1, "mean_eigenvalue"))
        scores.append(attribute(question, method).values)
        assert (method.kept is None) == (most_bytes == 0)
    np.testing.assert_allclose(*scores, rtol=1e-12)


def test_blocks_of_rows_dont_matter():
    question = problem("classification")
    sources = GradientSource(question), GradientSource(question, block_bytes=1)
    whole, small = (mean_squares(question, source.blocks(question.train)) for source in sources)
    assert whole == pytest.approx(small, rel=1e-12)
