"""Detectors of wrong labels against pairs and draws written out."""

import numpy as np
import pytest

from fimo.comparison.detection import auc, detection_table, expected_hits


def test_equal_numbers_count_half():
    values, wrong = np.array([3.0, 1, 1, 0, 1]), np.array([True, True, False, False, False])
    pairs = [(a > b) + 0.5 * (a == b) for a in values[wrong] for b in values[~wrong]]
    assert np.isclose(auc(values, wrong), np.mean(pairs))
    assert np.isclose(expected_hits(values, wrong, 2), 1 + 1 / 3)  # of three equal rows one is looked at
    assert np.isnan(auc(values, np.zeros(5, bool))) and np.isnan(auc(values, np.ones(5, bool)))


def test_against_random_draws():
    random = np.random.default_rng(0)
    values, wrong = random.integers(0, 4, 50).astype(float), random.random(50) < 0.2
    count = int(wrong.sum())
    draws = [wrong[np.lexsort((random.random(50), -values))[:count]].sum() for _ in range(4000)]
    assert expected_hits(values, wrong, count) == pytest.approx(np.mean(draws), abs=0.05)


def test_a_row_without_a_number_is_suspected_last():
    wrong = np.array([True, False, False])
    table = detection_table({("A", "loss"): [np.nan, 1, 2], ("B", "loss"): [3, 1, 2]}, wrong)
    assert table["auc"].tolist() == [0, 1] and table["found"].tolist() == [0, 1] and table["wrong"].tolist() == [1, 1]
