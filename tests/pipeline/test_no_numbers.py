"""A method none of whose scores is a number has failed; the others have theirs."""

import pytest
import torch
from problems import problem

import fimo
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.neumann_series import NeumannSeries


def diverging():
    return NeumannSeries("LiSSA", "exact", Damping(1e-3), depth=200, batch_size=None, scales=[1e-3])


def test_a_method_without_a_single_number_has_failed(caplog):
    one, training = problem(), fimo.FurtherTraining(torch.optim.SGD, lr=0.01, epochs=1, batch_size=8)
    with pytest.raises(fimo.MethodFailed, match="LiSSA gives no number for any test example: .* diverged with every"):
        fimo.attribute(one, [diverging()], training)
    with caplog.at_level("WARNING", "fimo"):
        assert list(fimo.attribute(one, [diverging(), "grad_dot"], training)) == ["Grad-Dot"]
    assert "LiSSA has no scores and is left out: LiSSA gives no number" in caplog.text
