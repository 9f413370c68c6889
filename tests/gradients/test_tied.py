"""The weight that an embedding and the head of a language model share: in factors, against gradients as they are."""

import pytest
import torch
from decoders import causal_lm, language_problem

from fimo.gradients import GradientSource
from fimo.gradients.cotangents import of_curvature, of_loss
from fimo.gradients.diagonal_metric import DiagonalMetric
from fimo.gradients.network import NetworkGradients
from fimo.gradients.recomputed import RecomputedGradients
from fimo.gradients.tied import TiedGradients

WIDE = {"hidden_size": 32, "intermediate_size": 48}


@pytest.fixture(scope="module", params=["llama, tied", "gpt2"])
def one(request):
    sizes = WIDE if request.param != "gpt2" else {"n_embd": 32}
    return language_problem(causal_lm(request.param, 40, **sizes), words=40)


def both_forms(problem, rows, cotangents=of_loss, **options):
    factored, dense = (GradientSource(problem, factored, **options)(rows, cotangents) for factored in (True, False))
    assert isinstance(factored, NetworkGradients)
    assert any(isinstance(getattr(part, "rows", part), TiedGradients) for part in factored.parts)
    return factored, dense


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12 * float(expected.abs().max()))


@pytest.mark.parametrize("slices", [2**28, 4000])
@pytest.mark.parametrize("metric", [False, True])
def test_all_products(one, metric, slices, monkeypatch):
    """Also some words after others, and in the coordinates of Adam's metric."""
    for place in ("tied", "rescaled", "layers", "sequences"):
        monkeypatch.setattr(f"fimo.gradients.{place}.LAYER_GRADIENT_BYTES", slices, raising=False)
        monkeypatch.setattr(f"fimo.gradients.{place}.CACHE_BYTES", slices, raising=False)
    coordinates = DiagonalMetric.of_batches(one, 3, 1e-3).gradients if metric else None
    train, plain = both_forms(one, one.train, coordinates=coordinates)
    test, plain_test = both_forms(one, one.test, coordinates=coordinates)
    close(train.inner(test), plain.inner(plain_test))
    close(train.inner(train), plain.inner(plain))
    for name in ("squares", "row_sums", "row_square_sums"):
        ours, theirs = getattr(train, name)(), getattr(plain, name)()
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            close(ours[key].reshape(value.shape), value)
    factors = torch.linspace(-1, 2, len(one.train), dtype=torch.float64)
    close(train.scaled(factors).joined([train]).inner(test), plain.scaled(factors).joined([plain]).inner(plain_test))


def test_blocks_and_single_layers(one):
    source = GradientSource(one)
    expected = GradientSource(one, False)(one.train)
    for most_bytes in (2**30, 20_000):
        anew = RecomputedGradients.of(source, one.train, of_loss, most_bytes)
        close(anew.inner(anew), expected.inner(expected))
        assert set(anew.names) == set(expected.names)


def test_rotated_and_weighted_squares(one):
    """What EK-FAC multiplies: leftᵀ G right, row by row."""
    train, plain = both_forms(one, one.train)
    tied = next(part for part in train.parts if isinstance(part, TiedGradients))
    matrix = plain.tensors[tied.weight]
    close(tied.matrices(), matrix)
    close(tied.matrices(slice(7, 19)), matrix[:, 7:19])
    left, right = torch.linalg.qr(torch.randn(40, 40).double())[0], torch.linalg.qr(torch.randn(32, 32).double())[0]
    close(tied.rotated(left, right).matrices(), left.T @ matrix @ right)
    weights = torch.rand(40, 32).double()
    close(tied.weighted_squares(weights), (matrix.square() * weights).sum((1, 2)))


def test_of_a_few_words():
    """A small vocabulary is dearer in factors: its gradient stays as it is, and layers are in factors all the same."""
    network = causal_lm("llama, tied", 5, hidden_size=32, intermediate_size=48)
    source = GradientSource(language_problem(network, words=5))
    assert source.factored and not source.factorisation.tied
    assert source.scalars(of_curvature) > 1


class HeadFirst(torch.nn.Module):
    """A head that is registered before the embedding, so that θ has its name of the weight."""

    def __init__(self):
        super().__init__()
        self.head, self.embed = torch.nn.Linear(32, 40, bias=False), torch.nn.Embedding(40, 32)
        self.embed.weight = self.head.weight

    def forward(self, inputs):
        return self.head(torch.tanh(self.embed(inputs["input_ids"])))


def test_a_head_that_is_registered_first():
    one = language_problem(HeadFirst(), words=40)
    train, plain = both_forms(one, one.train)
    assert train.names == plain.names == ("head.weight",)
    close(train.inner(train), plain.inner(plain))
    some = GradientSource(one)(one.train, names=["head.weight"])
    close(some.inner(some), plain.inner(plain))
