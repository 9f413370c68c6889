"""Detectors of wrong labels against pairs and draws written out."""

import numpy as np
import pytest

from fimo.comparison.detection import Detection, auc, detection_table, expected_hits, orders_rows


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


def test_hits_over_rows_looked_at_are_those_of_a_loop():
    """For every number of rows: whole groups of equal numbers, and a share of the one that is cut."""
    random = np.random.default_rng(1)
    values, wrong = random.integers(0, 5, 40).astype(float), random.random(40) < 0.3
    values[3] = np.nan  # stands last
    expected = []
    for count in range(41):
        total, left = 0.0, count
        for value in [4, 3, 2, 1, 0, np.nan]:
            group = np.isnan(values) if np.isnan(value) else values == value
            taken = min(left, group.sum())
            total, left = total + taken * wrong[group].mean(), left - taken
        expected.append(total)
    assert expected_hits(values, wrong, range(41)) == pytest.approx(expected)


def test_the_head_of_an_order():
    values = {("A", "loss"): np.array([0.5, np.nan, 2, 1]), ("B", "margin"): np.array([1.0, 1, 1, 3])}
    detection = Detection(np.array([10, 20, 30, 40]), np.array([False, False, True, True]), values)
    assert detection.head(("A", "loss"), 3).tolist() == [2, 3, 0] == detection.head(("A", "loss"), 4).tolist()
    assert detection.head(("B", "margin"), 1).tolist() == [3] and detection.head(("B", "margin"), 0).tolist() == []
    assert detection.hits(("A", "loss"), [0, 1, 2]).tolist() == [0, 1, 2]
    assert detection.count == 2 and detection.table["auc"].tolist() == [1, 0.75]


def test_numbers_that_differ_by_rounding_order_nothing():
    assert orders_rows([1, 2]) and orders_rows([np.nan, 1e-9, 3e-9])
    assert not orders_rows([1, 1 + 1e-9]) and not orders_rows([0, 0]) and not orders_rows([np.nan, 3])
