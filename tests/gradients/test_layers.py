"""Gradients of sequences in factors, against the gradients as they are."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from fimo.curvature import gauss_newton_factor
from fimo.curvature.gauss_newton_factor import GaussNewtonFactor
from fimo.gradients import GradientSource, linear, sequences
from fimo.gradients.convolution import Conv2dGradients
from fimo.gradients.cotangents import of_curvature
from fimo.gradients.embedding import EmbeddingGradients
from fimo.gradients.factored import factorisation_of
from fimo.gradients.linear import LinearGradients
from fimo.gradients.norms import LayerNormGradients
from fimo.gradients.segments import Segment
from fimo.gradients.sequences import LinearSequenceGradients
from fimo.models.losses import OBJECTIVES
from fimo.problem import Problem
from fimo.rows import Rows


class Words(nn.Module):
    """Embeddings of words (0 pads) and places, layers over the sequence with and without bias, a mean, a head."""

    def __init__(self, outputs, width=16):
        super().__init__()
        self.words, self.places = nn.Embedding(11, width, padding_idx=0), nn.Embedding(6, width)
        self.up, self.norm = nn.Linear(width, 40, bias=False), nn.LayerNorm(40)
        self.down, self.own = nn.Linear(40, width), nn.Parameter(torch.randn(width))
        self.head = nn.Linear(width, outputs)

    def forward(self, inputs):
        x = self.words(inputs["words"]) + self.places(torch.arange(inputs["words"].shape[1])[None])
        x = x + self.down(torch.tanh(self.norm(self.up(x)))) * self.own
        return self.head(torch.tanh(x).mean(1))


@pytest.fixture(params=["regression", "classification"])
def words(request):
    torch.manual_seed(0)
    rows, tests = 9, 4
    inputs = {"words": torch.randint(0, 11, (rows + tests, 5))}
    targets = torch.randn(13, 1) if request.param == "regression" else torch.randint(0, 3, (13,))
    everything = Rows(inputs, targets, torch.arange(rows + tests))
    network = Words(1 if request.param == "regression" else 3).eval()
    train, test = everything.keep(slice(0, rows)), everything.keep(slice(rows, None))
    return Problem(network, OBJECTIVES[request.param], train, test, torch.tensor([0, 4])).to(dtype=torch.float64)


def require_rotated(rotated, matrices):
    """Gradients in other coordinates, in factors, are the matrices `[row, fan-out, fan-in]`, a few rows at a time."""
    close = {"rtol": 1e-9, "atol": 1e-12}
    weights = torch.rand(matrices.shape[1:], dtype=torch.float64)
    np.testing.assert_allclose(torch.cat(list(rotated.pieces())), matrices, **close)
    np.testing.assert_allclose(rotated.squared_entries(), matrices.square().sum(0), **close)
    np.testing.assert_allclose(rotated.weighted_squares(weights), (matrices.square() * weights).sum((1, 2)), **close)


@pytest.fixture(params=[1, None], ids=["row by row", "as many rows as fit"])
def piece_bytes(request, monkeypatch):
    """What a piece of rotated gradients may take."""
    if request.param:
        for room in (sequences, linear):
            monkeypatch.setattr(room, "LAYER_GRADIENT_BYTES", request.param)
        monkeypatch.setattr("fimo.gradients.layers.CACHE_BYTES", request.param)


def test_what_is_kept_in_factors(words):
    factorisation = factorisation_of(words.network, words.train[slice(0, 2)][0])
    assert set(factorisation.layers) == {"words", "places", "up", "norm", "down", "head"} and factorisation.others == (
        "own",
    )
    kinds = {type(part) for part in GradientSource(words)(words.test).parts}
    assert {LinearGradients, LinearSequenceGradients, EmbeddingGradients, LayerNormGradients} <= kinds


@pytest.mark.parametrize("matrices", [None, True, False])
@pytest.mark.parametrize("most_bytes", [1, 64 * 2**20])
def test_all_that_gradients_can_do(words, most_bytes, matrices, monkeypatch):
    monkeypatch.setattr(sequences, "PLACE_PAIR_BYTES", most_bytes)
    monkeypatch.setattr(sequences, "LAYER_GRADIENT_BYTES", most_bytes)
    if matrices is not None:
        monkeypatch.setattr(LinearSequenceGradients, "_matrices_are_cheaper", lambda *_: matrices)
    short, long = GradientSource(words), GradientSource(words, factored=False)
    assert short.factored and not long.factored
    for cotangents in ({}, {"cotangents": of_curvature}):
        ours, theirs = ([source(rows, **cotangents) for rows in (words.test, words.train)] for source in (short, long))
        close = {"rtol": 1e-9, "atol": 1e-12}
        np.testing.assert_allclose(ours[0].inner(ours[1]), theirs[0].inner(theirs[1]), **close)
        for name, products in theirs[0].inner_per_parameter(theirs[1]).items():
            np.testing.assert_allclose(ours[0].inner_per_parameter(ours[1])[name], products, **close)
            np.testing.assert_allclose(ours[0].squares()[name], theirs[0].squares()[name], **close)
        factors, weights = torch.rand(len(ours[0].norms())), torch.rand(2, len(ours[0].norms())).double()
        np.testing.assert_allclose(ours[0].scaled(factors).norms(), theirs[0].scaled(factors).norms(), **close)
        combined, expected = (g[0].linear_combination(weights).inner(g[1]) for g in (ours, theirs))
        np.testing.assert_allclose(combined, expected, **close)


def test_gradients_as_they_are_and_their_squares_in_a_basis(words, piece_bytes):
    ours, theirs = GradientSource(words)(words.train), GradientSource(words, factored=False)(words.train)
    for name in ("words", "places", "up", "down", "head"):
        part = ours.part(f"{name}.weight")
        expected = theirs.tensors[f"{name}.weight"]
        np.testing.assert_allclose(part.matrices(), expected, rtol=1e-9, atol=1e-12)
        if name in ("up", "down", "head"):
            with_bias = (
                expected if part.bias is None else torch.cat([expected, theirs.tensors[part.bias][..., None]], 2)
            )
            left, right = (torch.rand(size, size, dtype=torch.float64) for size in with_bias.shape[1:])
            require_rotated(part.rotated(left, right), left.T @ with_bias @ right)


def test_blocks_of_rows(words, monkeypatch):
    source = GradientSource(words, block_bytes=1)
    assert source.block_rows == 1
    first, *others = source.blocks(words.train)
    blocks = first.joined(others)
    dense, test = GradientSource(words, factored=False)(words.train), source(words.test)
    expected = dense.inner(GradientSource(words, factored=False)(words.test))
    np.testing.assert_allclose(blocks.inner(test), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(blocks.inner(blocks), dense.inner(dense), rtol=1e-9, atol=1e-12)
    factors = torch.rand(9)
    np.testing.assert_allclose(blocks.scaled(factors).norms(), dense.scaled(factors).norms(), rtol=1e-9)
    for name, products in dense.inner_per_parameter(dense).items():
        np.testing.assert_allclose(
            blocks.inner_per_parameter(source(words.train))[name], products, rtol=1e-9, atol=1e-12
        )
    K = GaussNewtonFactor.of(source).gram
    rows = GradientSource(words, factored=False)(words.train, of_curvature)
    np.testing.assert_allclose(K, rows.inner(rows), rtol=1e-9, atol=1e-12)
    monkeypatch.setattr(gauss_newton_factor, "GRAM_BYTES", 200)  # in pieces
    np.testing.assert_allclose(GaussNewtonFactor.of(source).gram, K, rtol=1e-12, atol=1e-14)
    assert GaussNewtonFactor.of(source, torch.float32).gram.dtype == torch.float32


CONVOLUTIONS = {
    "plain": nn.Conv2d(2, 4, 3),
    "no bias, oblong": nn.Conv2d(2, 4, (1, 3), bias=False),
    "stride": nn.Conv2d(2, 4, 3, stride=(2, 1)),
    "padding": nn.Conv2d(2, 4, 3, padding=(1, 2), stride=2),
    "dilation": nn.Conv2d(2, 4, (2, 3), dilation=(3, 2), padding=1),
    "same": nn.Conv2d(2, 4, (2, 4), padding="same", dilation=(1, 2)),
    "valid": nn.Conv2d(2, 4, 2, padding="valid"),
}


def pictures(convolution, sizes=(2, 6, 7), outputs=3):
    """Some images of a channel more than one, and a convolution with a head."""
    random = torch.Generator().manual_seed(0)
    rows = Rows(torch.randn(11, *sizes, generator=random), torch.arange(11) % outputs, torch.arange(11))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        width = convolution(rows.inputs[:1]).flatten(1).shape[1]
        network = nn.Sequential(convolution, nn.Tanh(), nn.Flatten(), nn.Linear(width, outputs)).eval()
    train, test = rows.keep(slice(0, 8)), rows.keep(slice(8, None))
    return Problem(network, OBJECTIVES["classification"], train, test, torch.tensor([0])).to(dtype=torch.float64)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("most_bytes", [1, 64 * 2**20])
def test_convolutions_in_factors(name, most_bytes, monkeypatch):
    monkeypatch.setattr(sequences, "PLACE_PAIR_BYTES", most_bytes)
    monkeypatch.setattr(Conv2dGradients, "is_cheaper", staticmethod(lambda *_: True))
    problem = pictures(copy.deepcopy(CONVOLUTIONS[name]))
    source, dense = GradientSource(problem), GradientSource(problem, factored=False)
    assert source.factored and type(source(problem.test).part("0.weight")) is Conv2dGradients
    close = {"rtol": 1e-9, "atol": 1e-12}
    for cotangents in ({}, {"cotangents": of_curvature}):
        ours, theirs = ([s(rows, **cotangents) for rows in (problem.test, problem.train)] for s in (source, dense))
        np.testing.assert_allclose(ours[0].inner(ours[1]), theirs[0].inner(theirs[1]), **close)
        for parameter, products in theirs[0].inner_per_parameter(theirs[1]).items():
            np.testing.assert_allclose(ours[0].inner_per_parameter(ours[1])[parameter], products, **close)
            np.testing.assert_allclose(ours[0].squares()[parameter], theirs[0].squares()[parameter], **close)
        part, weight = ours[1].part("0.weight"), theirs[1].tensors["0.weight"].flatten(2)
        np.testing.assert_allclose(part.matrices(), weight, **close)
        with_bias = weight if part.bias is None else torch.cat([weight, theirs[1].tensors["0.bias"][..., None]], 2)
        left, right = (torch.rand(size, size, dtype=torch.float64) for size in with_bias.shape[1:])
        require_rotated(part.rotated(left, right), left.T @ with_bias @ right)


@pytest.mark.parametrize(
    "convolution, taken",
    [
        (nn.Conv2d(2, 4, 3), False),  # the factors of 20 pixels are larger than 72 weights
        (nn.Conv2d(2, 64, 3, stride=3), False),  # smaller, but dearer to multiply
        (nn.Conv2d(2, 64, (5, 6), stride=6), True),
        (nn.Conv2d(2, 64, (5, 6), stride=6, groups=2), False),
        (nn.Conv2d(2, 64, (5, 6), stride=6, padding_mode="circular"), False),
    ],
)
def test_convolutions_are_taken_in_factors_where_these_are_cheaper_to_multiply(convolution, taken):
    problem = pictures(convolution)
    factorisation = factorisation_of(problem.network, problem.train[slice(0, 2)][0])
    assert (factorisation is not None and "0" in factorisation.layers) is taken
    if taken:
        assert factorisation.extra_bytes == 1 * 60 * 8  # the patches of a row's only pixel


def test_memory_of_a_row_counts_what_is_dense_and_what_is_unfolded(words):
    source = GradientSource(words)
    assert source.factorisation.extra_bytes == 16 * 8  # the parameter in no layer
    assert source(words.test).held_bytes > 0


def test_numbers_of_tokens_may_be_of_single_precision():
    """A token and a row make one number, which is larger than the largest of 32 bits here."""
    torch.manual_seed(0)
    tokens, deltas = torch.randint(100_000, 200_000, (20_000, 2)), torch.randn(20_000, 2, 1)
    short, long = (
        EmbeddingGradients("words", None, (Segment(numbers, deltas),), 256_000) for numbers in (tokens.int(), tokens)
    )
    some = EmbeddingGradients("words", None, (Segment(tokens[-3:], deltas[-3:]),), 256_000)
    torch.testing.assert_close(some.inner(short), some.inner(long))
