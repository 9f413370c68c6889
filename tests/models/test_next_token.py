"""The loss of language models, its curvature, and what is measured of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from decoders import language_problem, token_rows
from methods import METHODS
from torch.func import hessian, vmap
from torch.nn import functional

import fimo
from fimo.attribution import attribute
from fimo.curvature.sampling import Sampling
from fimo.errors import MethodFailed, UserError
from fimo.models import evaluation
from fimo.models.next_token import MOST_COLUMNS, NextToken
from fimo.models.objective import Objective
from fimo.models.own_objective import as_objective
from fimo.models.weighted import for_rows
from fimo.problem import Problem
from fimo.rows import NO_LOSS

LOSS = NextToken()


@pytest.fixture
def rows():
    return token_rows(5)


@pytest.fixture
def outputs():
    return torch.randn(5, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def one_by_one(outputs, targets):
    """−log p of each predicted token, in loops."""
    losses = []
    for logits, labels in zip(outputs, targets, strict=True):
        places = [place for place in range(1, len(labels)) if labels[place] != NO_LOSS]
        losses.append([-torch.log_softmax(logits[place - 1], 0)[labels[place]] for place in places])
    return losses


def test_the_loss_is_the_mean_over_predicted_tokens(rows, outputs):
    losses = one_by_one(outputs, rows.targets)
    torch.testing.assert_close(LOSS.loss(outputs, rows.targets), torch.stack([sum(r) / len(r) for r in losses]))
    torch.testing.assert_close(fimo.completion(outputs, rows.targets), torch.stack([sum(r) for r in losses]))
    shorter = torch.tensor([0, 1])[rows.lengths[:2].argsort()][:1]
    inputs, targets = rows[shorter]
    places = inputs["input_ids"].shape[1]
    cut = LOSS.loss(outputs[shorter, :places], targets)
    torch.testing.assert_close(cut, LOSS.loss(outputs[shorter], targets))


def test_it_is_the_librarys(rows, outputs):
    """Of one row, transformers' loss of labels is the same mean."""
    for k in range(5):
        theirs = functional.cross_entropy(outputs[k, :-1], rows.targets[k, 1:])
        torch.testing.assert_close(LOSS.loss(outputs[k : k + 1], rows.targets[k : k + 1])[0], theirs)


class PerTwo(NextToken):
    """Another loss, which the closed form is not of."""

    def loss(self, outputs, targets):
        return super().loss(outputs, targets) / 2


def several(sequences):
    """So many answers to each row, of which the first counts."""
    return lambda tensor: torch.stack([tensor, *[tensor.flip(0)] * (sequences - 1)], 1)


@pytest.mark.parametrize("objective", [LOSS, PerTwo()])
@pytest.mark.parametrize("form", [lambda tensor: tensor, several(1), several(3)], ids=["one", "one of one", "three"])
@pytest.mark.parametrize("places", [6, 5])
def test_the_gradient_is_that_of_autograd(rows, outputs, objective, form, places):
    outputs, targets = form(outputs[:, :places]), form(rows.targets)
    expected = torch.func.grad(lambda some: objective.loss(some, targets).sum())(outputs)
    found = objective.gradient(outputs, targets)
    for truth in (expected, Objective.gradient(objective, outputs, targets)):
        torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-14)


def halved(outputs, targets):
    return LOSS.loss(outputs, targets) / 2


def asked(objective, **settings):
    one = language_problem(**settings)
    return Problem(one.network, objective, one.train, one.test, one.left_out)


def plain(outputs, targets):
    """The same loss, by one who takes it that there are as many labels as places."""
    losses = functional.cross_entropy(outputs[:, :-1].mT, targets[:, 1:], ignore_index=NO_LOSS, reduction="none")
    return losses.sum(1) / (targets[:, 1:] != NO_LOSS).sum(1)


def of_real_numbers(outputs, targets):
    return plain(outputs, targets.long())


@pytest.mark.parametrize("loss", [plain, of_real_numbers])
@pytest.mark.parametrize("weighted", [False, True])
def test_targets_are_cut_with_the_padding_for_a_loss_of_ones_own(loss, weighted, monkeypatch):
    monkeypatch.setattr(evaluation, "EVALUATION_SEQUENCES", 2)
    questions = [asked(objective) for objective in (loss, LOSS)]
    if loss is of_real_numbers:
        one = questions[0]
        train, test = (replace(rows, targets=rows.targets.double()) for rows in (one.train, one.test))
        questions[0] = Problem(one.network, loss, train, test, one.left_out)
    if weighted:
        weights = torch.arange(1.0, 10)
        questions = [replace(one, train=one.train.weighted_by(weights), test=one.test) for one in questions]
    own, theirs = (evaluation.metrics(one.network, one.objective, one.train)["loss"] for one in questions)
    assert own == pytest.approx(theirs, rel=1e-12)
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.1, epochs=2, batch_size=4, dtype=torch.float64)
    golds = [fimo.further_train(one, training, seeds=1)["loss_left_out"] for one in questions]
    np.testing.assert_allclose(*golds, rtol=1e-10)


def test_targets_without_places_are_not_cut():
    """A time and whether it was seen, or more numbers than a sequence has places, for a few outputs a sequence."""
    for outputs, targets in ((1, 2), (2, 10)):
        plain_rows = replace(token_rows(4), targets=torch.rand(4, targets))
        for rows in (plain_rows, plain_rows.weighted_by(torch.ones(4))):
            loss = for_rows(as_objective(lambda f, y: f[:, 0] + y.sum(1)), rows)
            torch.testing.assert_close(loss.loss(torch.zeros(4, outputs), rows.targets), rows.plain.targets.sum(1))


@pytest.mark.parametrize("label", ["CG", "EK-FAC", "DataInf"])
@pytest.mark.parametrize("own, same", [(plain, LOSS), (halved, PerTwo())])
def test_methods_take_a_loss_of_ones_own(own, same, label):
    """Of outputs with several axes, of rows that have several lengths."""
    scores, expected = (attribute(asked(one, words=5), METHODS[label].make()) for one in (own, same))
    np.testing.assert_allclose(scores, expected, rtol=1e-8, atol=1e-10 * np.abs(expected).max())


def test_a_loss_of_ones_own_with_many_outputs_has_no_exact_curvature():
    one = asked(halved, words=60)
    for label, what in (("CG", "curvature"), ("EK-FAC", "curvature"), ("TRAK", "output function of TRAK")):
        with pytest.raises(MethodFailed, match=rf"The {what} of a loss of one's own .* 360 outputs \[6, 60\]: choose"):
            attribute(one, METHODS[label].make())
    assert np.isfinite(attribute(one, METHODS["CG (empirical Fisher)"].make())).all()


def test_the_exact_root(rows, outputs):
    root = LOSS.curvature_root(outputs, rows.targets).flatten(1, 2)
    loss = lambda f, y: LOSS.loss(f.unflatten(0, (6, 9))[None], y[None])[0]  # noqa: E731
    torch.testing.assert_close(root @ root.mT, vmap(hessian(loss))(outputs.flatten(1), rows.targets))
    with pytest.raises(MethodFailed, match=r"a gradient for each token and word of a row, 6,000 here: choose curv"):
        LOSS.curvature_root(torch.zeros(1, 6, 1001), torch.zeros(1, 6, dtype=torch.long))
    assert MOST_COLUMNS < 6000


@pytest.mark.parametrize("kind, objective", [("sampled", LOSS), ("sketched", LOSS), ("sampled", halved)])
def test_drawn_roots_are_unbiased(kind, objective):
    """The mean of RRᵀ over many draws is the exact curvature, within five standard errors."""
    one, draws = asked(objective, rows=4, left_out=(0, 1), words=5), 4000
    outputs = one.outputs(one.parameters, one.train.inputs).detach()
    drawn = Sampling(draws, 0, kind).of(one)
    columns = drawn.objective.curvature_root(outputs, drawn.train.targets).flatten(1, 2) * draws**0.5
    exact = one.objective.curvature_root(outputs, one.train.targets).flatten(1, 2)
    products = torch.einsum("raks,rbks->rabs", columns[:, :, None], columns[:, :, None])
    error = (products.mean(-1) - exact @ exact.mT).abs()
    bound = 5 * products.std(-1) / draws**0.5
    assert (error <= bound + 1e-12).all() and float((exact @ exact.mT).abs().max()) > 0.01


@pytest.mark.parametrize("objective", [LOSS, halved])
def test_draws_do_not_depend_on_blocks(objective, monkeypatch):
    one = asked(objective, rows=8, words=5)
    drawn, scores = Sampling(2, 3).of(one).train.targets, attribute(one, METHODS["CG (sampled)"].make())
    monkeypatch.setattr("fimo.curvature.sampling.BLOCK_BYTES", 1)
    assert torch.equal(drawn, Sampling(2, 3).of(one).train.targets)
    np.testing.assert_allclose(attribute(one, METHODS["CG (sampled)"].make(), block_bytes=1), scores, rtol=1e-8)


def test_the_output_that_trak_linearises(rows, outputs):
    losses = one_by_one(outputs, rows.targets)
    margins = [torch.stack([-torch.log(torch.expm1(loss)) for loss in row]).mean() for row in losses]
    torch.testing.assert_close(LOSS.output(outputs, rows.targets)[:, 0], torch.stack(margins))


def test_contrast(rows, outputs):
    other = token_rows(5, seed=4).targets
    both = torch.stack([outputs, outputs.flip(0)], 1)
    targets = torch.stack([rows.targets, other], 1)
    pairs = zip(one_by_one(outputs, rows.targets), one_by_one(outputs.flip(0), other), strict=True)
    expected = [sum(a) - sum(b) for a, b in pairs]
    torch.testing.assert_close(fimo.contrast(both, targets), torch.stack(expected))
    torch.testing.assert_close(LOSS.loss(both, targets), LOSS.loss(outputs, rows.targets))
    with pytest.raises(UserError, match="compares two answers to each test row's prompt, .*: name the field"):
        fimo.contrast(outputs, rows.targets)
    with pytest.raises(UserError, match="completion is that of a language model: it needs outputs"):
        fimo.completion(outputs[:, 0], torch.arange(5))


def test_token_accuracy_is_a_mean_over_rows(rows, outputs):
    right = []
    for logits, labels in zip(outputs, rows.targets, strict=True):
        places = [p for p in range(1, 6) if labels[p] != NO_LOSS]
        right.append(np.mean([int(logits[p - 1].argmax() == labels[p]) for p in places]))
    assert LOSS.metrics(outputs, rows.targets) == {"token_accuracy": pytest.approx(np.mean(right))}


class TestTargets:
    def refused(self, targets, sentence, shape=(2, 3, 5)):
        with pytest.raises(UserError, match=sentence):
            LOSS.require_targets(torch.zeros(shape), targets)

    def test_other_forms(self):
        self.refused(torch.zeros(2, 3), r"labels \[row, place\] that are token numbers, found outputs \[2, 3, 5\]")
        self.refused(torch.zeros(2, dtype=torch.long), r"found outputs \[2, 5\]", (2, 5))

    def test_words_that_are_not_there(self):
        self.refused(
            torch.tensor([[1, 5, 2]]), "token numbers from 0 to 4, as the network has 5 words, or -100 .* found 5"
        )

    def test_nothing_to_predict(self):
        self.refused(torch.tensor([[1, 2, 3], [1, -100, -100]]), "found none in row 1: a row of one token, or a prompt")


def test_signs_of_many_words_are_refused():
    with pytest.raises(MethodFailed, match="draws a sign for each token and word of a row, 96,000 here: choose"):
        LOSS.signs.width(LOSS, torch.zeros(1, 6, 16_001), torch.zeros(1, 6, dtype=torch.long))
