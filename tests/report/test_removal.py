"""removal.md: what its sentences and its table say of few test examples, few groups and other measurements."""

import numpy as np
import pandas as pd

from fimo.comparison.removal import RANDOM_ROWS, Verification
from fimo.report.influential import Examples
from fimo.report.removal import removal_figure, removal_markdown

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
