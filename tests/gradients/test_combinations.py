"""Linear combinations of gradients in factors, written out or not, against gradients as they are."""

import pytest
import torch
from decoders import causal_lm, language_problem
from problems import problem, text_problem

from fimo.attribution import attribute
from fimo.gradients import GradientSource, combinations, layers
from fimo.gradients.base import for_products
from fimo.gradients.combinations import PartlyWritten
from fimo.gradients.cotangents import of_loss
from fimo.gradients.recomputed import RecomputedGradients
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.mean_of_inverses import MeanOfInverses

FEW, MANY = 0, 10**9  # gradients that a combination is multiplied with: pairs of rows are cheaper, or it as it is
QUESTIONS = {
    "mlp": lambda: problem("classification"),
    "convolutional": lambda: problem("classification", "convolutional"),
    "sentences": text_problem,
    "decoder, tied": lambda: language_problem(
        causal_lm("llama, tied", 40, hidden_size=32, intermediate_size=48), words=40
    ),
}


@pytest.fixture(scope="module", params=QUESTIONS)
def question(request):
    return QUESTIONS[request.param]()


def coefficients(gradients, new_rows, by_name):
    torch.manual_seed(0)
    shape = new_rows, len(gradients)
    if not by_name:
        return torch.randn(shape, dtype=torch.float64)
    return {name: torch.randn(shape, dtype=torch.float64) for name in gradients.names}


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("most_bytes", [1, 2**25])
def test_products_are_the_same_in_both_forms(question, by_name, most_bytes, monkeypatch):
    monkeypatch.setattr(layers, "WRITTEN_PART_BYTES", most_bytes)
    train, test, plain, plain_test = (
        GradientSource(question, factored)(rows)
        for factored in (True, False)
        for rows in (question.train, question.test)
    )
    weights, own = coefficients(train, 3, by_name), coefficients(test, 3, by_name)
    expected = (plain.linear_combination(weights) + plain_test.linear_combination(own)).inner(plain_test)
    combination = train.linear_combination(weights) + test.linear_combination(own)
    few, many = for_products(combination, FEW), for_products(combination, MANY)
    assert few is combination
    assert isinstance(many, PartlyWritten) and len(many.written) == len(train.by_layer())
    for vectors in (few, many):
        torch.testing.assert_close(vectors.inner(test), expected, rtol=1e-9, atol=1e-11 * float(expected.abs().max()))


@pytest.mark.parametrize("by_name", [False, True])
def test_what_does_not_fit_stays_in_factors(by_name, monkeypatch):
    question = problem("classification")
    train = GradientSource(question)(question.train)
    combination = train.linear_combination(coefficients(train, 3, by_name))
    sizes = [3 * 8 * part.size for part in train.by_layer()]
    monkeypatch.setattr(combinations, "WRITTEN_BYTES", sum(sizes[:-1]))
    mixed = for_products(combination, MANY)
    assert list(mixed.written) == [*range(len(sizes) - 1)]
    torch.testing.assert_close(mixed.inner(train), combination.inner(train), rtol=1e-10, atol=1e-12)
    monkeypatch.setattr(combinations, "WRITTEN_BYTES", sizes[-1])
    assert len(sizes) - 1 in for_products(combination, MANY).written  # the others, which are larger, leave it room


def test_gradients_that_are_made_anew_are_not_written_out():
    question = problem("classification")
    source = GradientSource(question)
    anew = RecomputedGradients.of(source, question.train, of_loss, 20_000)
    combination = anew.linear_combination(coefficients(anew, 3, False))
    both = combination + source(question.test).linear_combination(coefficients(question.test, 3, False))
    assert for_products(combination, MANY) is combination and for_products(both, MANY) is both


def test_scores_are_the_same(question, monkeypatch):
    """DataInf's, which are by parameter tensor."""

    forms = []

    def scores(count):
        monkeypatch.setattr(
            "fimo.attribution.for_products",
            lambda vectors, _: forms.append(for_products(vectors, count)) or forms[-1],
        )
        return attribute(question, MeanOfInverses("DataInf", Damping(0.1, "mean_eigenvalue"))).values

    few, many = scores(FEW), scores(MANY)
    assert [isinstance(form, PartlyWritten) for form in forms] == [False, True]
    assert many == pytest.approx(few, rel=1e-8, abs=1e-10 * abs(few).max())
