"""Cosine, Pearson, Spearman and their means against scipy and by hand."""

import numpy as np
import pytest
import scipy.stats
import torch

from fimo.comparison.agreement import Mean, cosine, pearson, spearman
from fimo.reference import comparison as reference


@pytest.fixture
def pair():
    random = np.random.default_rng(0)
    effects = random.normal(size=(3, 5, 11))
    scores = random.normal(size=(5, 11)).round(1)  # with ties
    return scores, effects


def test_against_scipy(pair):
    scores, effects = pair
    for t in range(3):
        for j in range(5):
            a, b = scores[j], effects[t, j]
            assert cosine(*pair)[t, j] == pytest.approx(reference.cosine(a, b), rel=1e-12)
            assert pearson(*pair)[t, j] == pytest.approx(scipy.stats.pearsonr(a, b).statistic, rel=1e-10)
            assert spearman(*pair)[t, j] == pytest.approx(scipy.stats.spearmanr(a, b).statistic, rel=1e-10)


@pytest.mark.parametrize("scale", [1e-300, 1e-20, 1.0, 1e200])
def test_tiny_and_huge_vectors_keep_their_direction(pair, scale):
    scores, effects = pair
    np.testing.assert_allclose(cosine(scores * scale, effects * 1e-12), cosine(scores, effects), rtol=1e-12)
    if scale == 1e-20:  # what torch makes of them
        shrunk = torch.cosine_similarity(torch.tensor(scores * scale), torch.tensor(effects[0]), dim=-1).numpy()
        assert not np.allclose(shrunk, cosine(scores, effects[0]))


def test_vectors_without_direction_are_nan_and_not_counted():
    scores, effects = np.ones((3, 4)), np.arange(12.0).reshape(3, 4)
    scores[1], effects[2] = [1, 2, 3, 4], 0
    assert np.isnan(cosine(scores, effects)).tolist() == [False, False, True]
    assert np.isnan(pearson(scores, effects)).tolist() == [True, False, True]
    assert np.isnan(spearman(scores, effects)).tolist() == [True, False, True]
    assert Mean.of(pearson(scores, effects)).count == 1 and np.isnan(Mean.of(pearson(scores, effects)).sem)


def test_mean_and_standard_error():
    values = np.array([1.0, 2.0, np.nan, 6.0])
    mean = Mean.of(values)
    assert (mean.mean, mean.count) == (3.0, 3)
    assert mean.sem == pytest.approx(scipy.stats.sem([1, 2, 6]))
    assert np.isnan(Mean.of(np.array([np.nan])).mean)
    np.testing.assert_array_equal(Mean.of(np.array([[1, 3], [np.nan, np.nan]])).mean, [2, np.nan])
