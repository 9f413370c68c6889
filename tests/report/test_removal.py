"""removal.md: what its sentences and its table say of few test examples, few groups and other measurements."""

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fimo.comparison.removal import RANDOM_ROWS, Verification
from fimo.report.influential import Examples
from fimo.report.markdown import small_with_error
from fimo.report.removal import draw_removal, removal_figure, removal_markdown, verdicts

EXAMPLES = Examples(lambda split, row: "", lambda split, row: None)


def verification(tests=(0, 1), groups=(6, 6), shares=((0.1, 1), (0.2, 2))):
    keys = [
        (method, test, share, rows)
        for method in ("CG", "Partial", RANDOM_ROWS)
        for test in tests
        for share, rows in shares
        if not (method == "Partial" and share == 0.1)
    ]
    table = pd.DataFrame(keys, columns=["method", "test", "share", "rows"])
    table = table.assign(predicted=10 * table["share"], measured_mean=table["share"], measured_sem=np.nan)
    table = table.assign(loss_full=0.5)
    agreement = pd.DataFrame({"method": ["CG", "Partial"], "right_sign": [1.0, np.nan], "groups": groups})
    agreement = agreement.assign(correlation_mean=0.5, correlation_sem=np.nan, tests=len(tests))
    return Verification(table, agreement)


def test_numbers_stand_below_their_share():
    lines = removal_markdown(verification(), EXAMPLES).splitlines()
    (row,) = [line for line in lines if line.startswith("| Partial")]
    assert row == "| Partial | – | 0.500 | – | – | 0.200 ± 0.000 | 2.000 |"


def test_one_test_example_and_one_row():
    text = removal_markdown(verification((3,), shares=((0.1, 1),)), EXAMPLES)
    assert "For one test example the" in text and "over one test example." in text
    assert "Removing the row that CG names raises the loss at test 3 from 0.5 by 0.100" in text


def test_small_effects_have_a_power_of_ten_of_their_own():
    """Decimals of a table would end before them; rounded the sentence says what the numbers are."""
    made = verification((3,))
    rows = made.table["method"] == "CG"
    table = made.table.assign(measured_mean=np.where(rows, 4.126e-5, -3e-7), measured_sem=1.2e-6, predicted=3e-5)
    sentence = verdicts(replace(made, table=table), "CG", EXAMPLES)[3]
    assert "raises the loss at test 3 from 0.5 by (4.13 ± 0.12) × 10⁻⁵, predicted 3e-05;" in sentence
    assert "random rows: (-0.3 ± 1.2) × 10⁻⁶." in sentence
    assert small_with_error(2e-5, np.nan) == "2.00 × 10⁻⁵" and small_with_error(np.nan, 1) == "–"


def test_groups_that_the_correlation_is_over():
    assert "over all 6 groups" in removal_markdown(verification(), EXAMPLES)
    assert "those that a method has scores for, of at most 6" in removal_markdown(verification(groups=(6, 0)), EXAMPLES)
    text = removal_markdown(verification(groups=(0, 0)), EXAMPLES)
    assert "No rank correlation: a ranking has scores of the rows at its ends only" in text


def test_rows_that_raise_a_measurement_are_not_called_helpful():
    text, figure = (
        removal_markdown(verification(), EXAMPLES, watched="margin"),
        removal_figure(verification(), "", "margin"),
    )
    assert "helpful" not in text and "helpful" not in figure.axes[0].get_xlabel()
    assert "that a method holds most helpful leave" in removal_markdown(verification(), EXAMPLES)


def test_nothing_is_measured_where_all_runs_diverged():
    verified = verification()
    verified.table["measured_mean"] = np.nan
    text = removal_markdown(verified, EXAMPLES)
    assert "Removing the" not in text and "Nothing was measured: further training left the finite numbers." in text


def test_a_single_share_shows_random_rows():
    """A dashed line of one point would not be seen: it has a marker."""
    axes = Figure().subplots()
    draw_removal(axes, verification(shares=((0.1, 1),)))
    assert {line.get_label(): line.get_marker() for line in axes.lines}[RANDOM_ROWS] == "o"
    draw_removal(axes := Figure().subplots(), verification())
    assert {line.get_label(): line.get_marker() for line in axes.lines}[RANDOM_ROWS] == "None"
