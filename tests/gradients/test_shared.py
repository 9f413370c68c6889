"""What several methods make of the same rows is made once, and is what each would make by itself."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from methods import METHODS
from problems import problem

from fimo.attribution import attribute
from fimo.curvature import gauss_newton_factor
from fimo.curvature.gauss_newton_factor import GaussNewtonFactor
from fimo.curvature.sampling import Sampling
from fimo.curvature.spectrum import DualSpectrum
from fimo.elapsed import Elapsed
from fimo.gradients import GradientSource
from fimo.gradients.cotangents import of_curvature, of_fisher
from fimo.gradients.shared import MOST_HELD, shared_curvature


@pytest.fixture
def question():
    return problem("classification", "mlp")


def test_the_same_dual_is_made_once(question):
    with shared_curvature() as shared:
        first = GaussNewtonFactor.of(GradientSource(question))
        again = GaussNewtonFactor.of(GradientSource(replace(question, left_out=torch.tensor([1]))))
        assert again is first and shared.saved.seconds > 0
        assert DualSpectrum.of(GradientSource(question)).dual is first
        few = partial(question.sampled, 5)
        assert DualSpectrum.of(GradientSource(few())) is DualSpectrum.of(GradientSource(few()))
    assert GaussNewtonFactor.of(GradientSource(question)) is not first


def test_what_takes_part_in_it_counts_as_if_it_had_been_made(monkeypatch, question):
    """A spectrum whose dual was there costs both, to a method that finds it."""
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(Elapsed, "now", classmethod(lambda cls: cls(next(clock))))
    with shared_curvature() as shared:
        GaussNewtonFactor.of(GradientSource(question))  # 10 seconds
        DualSpectrum.of(GradientSource(question))  # 10 more
        assert shared.saved.seconds == 10
        before = shared.saved
        DualSpectrum.of(GradientSource(question))
        assert (shared.saved - before).seconds == 20


def changed(question, **rows):
    return replace(question, train=replace(question.train, **rows))


@pytest.mark.parametrize(
    "other",
    [
        lambda q: GaussNewtonFactor.of(GradientSource(q, factored=False)),
        lambda q: GaussNewtonFactor.of(GradientSource(q), torch.float32),
        lambda q: GaussNewtonFactor.of(GradientSource(q), root=of_fisher),
        lambda q: GaussNewtonFactor.of(GradientSource(q.sampled(5))),
        lambda q: GaussNewtonFactor.of(GradientSource(changed(q, targets=q.train.targets.flip(0)))),
        lambda q: GaussNewtonFactor.of(GradientSource(changed(q, inputs=q.train.inputs + 1))),
        lambda q: GaussNewtonFactor.of(GradientSource(replace(q, train=q.train.keep(slice(1, None))))),
        lambda q: GaussNewtonFactor.of(GradientSource(q.to(dtype=torch.float64))),
    ],
    ids=["form", "dtype", "root", "fewer rows", "labels", "inputs", "other rows", "another copy of the network"],
)  # fmt: skip
def test_what_differs_in_anything_is_made_anew(question, other):
    with shared_curvature() as shared:
        first = GaussNewtonFactor.of(GradientSource(question))
        assert other(question) is not first and shared.saved.seconds == 0


def test_few_are_held(question):
    with shared_curvature() as shared:
        for rows in range(3, 9):
            GaussNewtonFactor.of(GradientSource(question.sampled(rows)))
            assert len(shared.held["dual"]) <= MOST_HELD
        assert [len(one.rows) for one in shared.held["dual"]] == [7, 8]


def test_methods_that_share_have_the_scores_that_they_have_alone(question):
    methods = {name: method for name, method in METHODS.items() if not name.startswith("LiSSA-H")}
    alone = {name: attribute(question, method.make()) for name, method in methods.items()}
    with shared_curvature() as shared:
        for name, method in methods.items():
            np.testing.assert_array_equal(attribute(question, method.make()), alone[name])
    assert shared.saved.seconds > 0


@pytest.mark.parametrize("root", [of_curvature, of_fisher])
@pytest.mark.parametrize("parts", [1, 3, 100])
def test_a_gram_that_is_made_block_by_block(question, root, parts, monkeypatch):
    source = GradientSource(question)
    expected = GaussNewtonFactor.of(source, root=root).gram
    monkeypatch.setattr(gauss_newton_factor, "GRAM_BYTES", 2 * 32 * len(expected))  # two rows in a block
    monkeypatch.setattr(gauss_newton_factor, "PARTS", parts)
    np.testing.assert_allclose(GaussNewtonFactor.of(source, root=root).gram, expected, rtol=1e-12, atol=1e-14)
    assert GaussNewtonFactor.of(source, torch.float32, root).gram.dtype == torch.float32


@pytest.mark.parametrize("kind", ["sampled", "sketched"])
def test_the_same_draws_have_the_same_dual(question, kind):
    """Each method draws for itself; of other draws, or of the exact curvature, it is another one."""
    with shared_curvature():
        first, again = (GaussNewtonFactor.of(GradientSource(Sampling(2, 0, kind).of(question))) for _ in range(2))
        assert again is first
        for other in (Sampling(2, 1, kind).of(question), Sampling(1, 0, kind).of(question), question):
            assert GaussNewtonFactor.of(GradientSource(other)) is not first
