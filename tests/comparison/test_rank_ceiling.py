"""The ceiling of a rank correlation against splits written out, and against scores without noise."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from fimo.comparison.reliability import rank_ceiling


def effects(seeds, tests=40, groups=50, noise=1.0):
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(tests, groups))
    return truth, truth + noise * generator.normal(size=(seeds, tests, groups))


def test_of_two_seeds_there_is_one_split():
    _, two = effects(2)
    c = np.mean([spearmanr(one, other)[0] for one, other in zip(*two, strict=True)])
    assert np.isclose(rank_ceiling(two, np.random.default_rng(1)), np.sqrt(2 * c / (1 + c)))


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_what_a_score_without_noise_comes_to(seeds):
    truth, all_seeds = effects(seeds)
    reached = np.mean([spearmanr(one, mean)[0] for one, mean in zip(truth, all_seeds.mean(0), strict=True)])
    assert rank_ceiling(all_seeds, np.random.default_rng(1)) == pytest.approx(reached, abs=0.02)


def test_noise_alone_and_one_seed():
    generator = np.random.default_rng(2)
    assert rank_ceiling(generator.normal(size=(4, 20, 50)), generator) < 0.4
    assert np.isnan(rank_ceiling(effects(1)[1], generator))
