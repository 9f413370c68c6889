"""Figures of several data sets and tables over them, on made-up comparisons with known answers."""

import numpy as np
import pandas as pd
import pytest
from made_up import score_of, simulated

from fimo.comparison.sorted_scores import EARLY, LATE, early_and_late, profile, profiles
from fimo.comparison.tables import compare
from fimo.paper.tables import at_few_amounts, cost_table, influential_table, methods_table, published_table
from fimo.report.figures import CEILING, draw_curves, draw_seeds
from fimo.report.influential import Examples
from fimo.report.markdown import decimals_for, with_error
from fimo.report.panels import panels_figure
from fimo.report.tables import readable_cells, table_files


@pytest.fixture(scope="module")
def made():
    truth, seeds = simulated(4, 0.3)
    scores = {"Grad-Dot": score_of(truth[0], seeds[0]), "CG": score_of(truth[-1], seeds[0])}
    return scores, seeds, compare(scores, seeds)


@pytest.mark.parametrize("draw", [draw_curves, draw_seeds])
def test_one_legend_for_all_panels_and_a_reason_in_an_empty_one(made, draw):
    figure = panels_figure(
        {"energy": made[2], "fico": "heloc_dataset_v1.csv is not there", "again": made[2]}, draw, "x", "y"
    )
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["(a) energy", "(b) fico", "(c) again"]
    assert [text.get_text() for text in figure.axes[1].texts] == ["heloc_dataset_v1.csv is not there"]
    (legend,) = figure.legends
    entries = [text.get_text() for text in legend.get_texts()]
    assert entries == ["Grad-Dot", "CG", *([CEILING] if draw is draw_curves else [])]


def test_curves_of_the_asked_measure_and_adjustment(made):
    for measure, adjustment in (("cosine", "centred"), ("spearman", "full")):
        figure = panels_figure({"a": made[2]}, lambda axes, c: draw_curves(axes, c, adjustment, measure), "x", "y")  # noqa: B023
        expected = made[2].curves.query("adjustment == @adjustment and method == 'CG'")[f"{measure}_mean"]
        drawn = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
        np.testing.assert_array_equal(drawn["CG"], expected)
        assert (CEILING in drawn) == (measure == "cosine")  # it is the ceiling of the cosine


def test_sorted_scores_by_hand():
    scores = np.array([[3.0, 0.0, -4.0], [0.0, 10.0, 0.0], [0.0, 0.0, 0.0]])  # the last has no direction
    np.testing.assert_allclose(profile(scores), [(0.6 + 1) / 2, 0, -0.8 / 2])


@pytest.mark.parametrize(
    "epochs, places", [([1, 2, 5, 9, 30], (0, 3)), ([0.1, 0.2, 0.9], (0, 1)), ([0.5, 1, 10], (1, 2)), ([3], (0, 0))]
)
def test_early_and_late(epochs, places):
    assert early_and_late(np.array(epochs)) == places


def test_profiles_of_scores_and_of_further_training(made):
    scores, seeds, _ = made
    lines, epochs = profiles(scores, seeds)
    assert list(lines) == ["Grad-Dot", "CG", EARLY, LATE] and epochs == (1, 2)
    assert all((np.diff(line) <= 0).all() for line in lines.values())
    mean = np.mean([s["loss_left_out"].values[0] - s["loss_full"].values[0][:, None] for s in seeds], 0)
    np.testing.assert_allclose(lines[EARLY], profile(mean - mean.mean(1, keepdims=True)), rtol=1e-9)


def test_table_of_methods(made):
    table = methods_table({"energy": made[2]}).set_index("method")
    curve = made[2].curves.query("adjustment == 'centred' and method == 'CG'").reset_index()
    assert table.loc["CG", "first cosine_mean"] == curve["cosine_mean"][0] and table.loc["CG", "last epoch"] == 4
    assert table.loc["CG", "best cosine_mean"] == curve["cosine_mean"].max() == table.loc["CG", "last cosine_mean"]
    assert table.loc["Grad-Dot", "best epoch"] == 1 and table.loc["CG", "seeds"] == 4


def test_published_numbers_beside_ours_where_both_are_known(made):
    theirs = {
        "unit": "step",
        "amounts": [10, 15, 40],
        "cosine": {"CG": [0.5, 0.6, 0.7], "TRAK": [0, 0, 0]},
        "spearman": {},
        "seeds": {"counts": [1, 4, 100], "cosine": {"CG": [0.1, 0.2, 0.3]}},
    }
    table = published_table(theirs, made[2])
    assert table["amount"].tolist() == [10, 40, 1, 4] and set(table["method"]) == {"CG"}
    ours = made[2].curves.query("adjustment == 'centred' and method == 'CG'")["cosine_mean"].iloc[[0, -1]].to_numpy()
    averaged = made[2].seeds.query("adjustment == 'centred' and method == 'CG'").set_index("n_seeds")["cosine_mean"]
    np.testing.assert_allclose(table["difference"], [*(ours - [0.5, 0.7]), averaged[1] - 0.1, averaged[4] - 0.2])
    assert at_few_amounts(table).equals(table)
    many = pd.DataFrame({"measure": ["cosine", "spearman"] * 25, "amount": np.repeat(np.arange(1, 26), 2)})
    assert at_few_amounts(many)["amount"].tolist() == [1, 5, 25] * 2


def test_costs_that_are_not_known_are_no_numbers():
    table = cost_table({"energy": {"CG": {"seconds": 1.5, "peak_bytes": 2**31}, "TRAK": {"seconds": 2.0}}})
    assert table["peak memory [GiB]"].tolist()[0] == 2 and np.isnan(table["peak memory [GiB]"][1])


def test_influential_examples_of_the_first_amount(made):
    seeds = made[1]
    table = influential_table(seeds, Examples(lambda split, row: f"{split} {row}"), tests=2)
    mean = np.mean([s["loss_left_out"].values[0] - s["loss_full"].values[0][:, None] for s in seeds], 0)
    best = seeds[0]["left_out"].values[mean[1].argmax()]
    row = table.query("`test row` == '1' and `training example is` == 'most helpful'").iloc[0]
    assert (
        row["training row"] == str(best)
        and row["training example"] == f"train {best}"
        and row["test example"] == "test 1"
    )
    assert row["effect"] == pytest.approx((mean - mean.mean(1, keepdims=True))[1].max())


def test_images_and_bars_in_a_table(made):
    table = influential_table(
        made[1], Examples(lambda split, row: np.zeros((2, 2, 1)) if split == "test" else "a | b"), tests=1
    )
    assert table["test example"].tolist() == ["image 0"] * 2
    markdown = table_files(table, table, [])["md"].decode()
    assert r"a \| b" in markdown and len({line.replace(r"\|", "").count("|") for line in markdown.splitlines()}) == 1


def test_files_of_a_table():
    table = pd.DataFrame(
        {"data set": ["a_b", "c"], "first_mean": [0.5, np.nan], "first_sem": [0.01, np.nan], "n": [3, 4]}
    )
    files = {ending: content.decode() for ending, content in table_files(table, table, ["100 % of it."]).items()}
    rows = ["| data set | first | n |", "|---|--:|--:|", "| a_b | 0.500 ± 0.010 | 3 |", "| c | – | 4 |"]
    assert files["md"].splitlines() == [*rows, "", "100 % of it."]
    assert files["csv"].splitlines()[0] == "data set,first_mean,first_sem,n" and "a_b,0.5,0.01,3" in files["csv"]
    for words in ("% 100 % of it.", r"\toprule", r"a\_b & 0.500 $\pm$ 0.010 & 3 \\", r"c & -- & 4 \\"):
        assert words in files["tex"]


def test_sentences_are_broken_into_lines_within_the_page():
    table = pd.DataFrame({"data set": ["a"], "one": ["word " * 20], "n": [3], "another": ["row " * 20]})
    latex = table_files(table, table, [])["tex"].decode()
    assert latex.startswith(r"\begin{tabular}{lp{0.25\linewidth}rp{0.25\linewidth}}")


def test_numbers_as_text():
    cells = readable_cells(pd.DataFrame({"x": [0.12345, 0.0, 1000.0, 12345.678, np.nan, -0.5]}))["x"]
    assert cells.tolist() == ["0.123", "0.000", "1000.000", "12345.678", "–", "-0.500"]
    cells = readable_cells(pd.DataFrame({"small": [0.001, -0.000123456, 0.0, 0.5]}))["small"]
    assert cells.tolist() == ["1.00e-03", "-1.23e-04", "0.00e+00", "5.00e-01"]  # one way of writing in a column
    assert readable_cells(pd.DataFrame({"n": [3.0, np.nan]}))["n"].tolist() == ["3", "–"]
    pairs = ((0.5123, 0.0131), (0.25, 0.0), (0.1, np.nan), (np.nan, np.nan))
    assert [with_error(*pair) for pair in pairs] == ["0.512 ± 0.013", "0.250 ± 0.000", "0.100", "–"]


@pytest.mark.parametrize(
    "errors, decimals", [([0.05, 0.01], 3), ([0.05, 0.00003], 5), ([2.6e-6, 0.053], 6), ([1e-9], 6), ([0, np.nan], 3)]
)
def test_numbers_of_a_column_share_their_decimals(errors, decimals):
    assert decimals_for(errors) == decimals
    table = pd.DataFrame({"x_mean": np.full(len(errors), 0.3), "x_sem": errors})
    for cell in readable_cells(table)["x"]:
        assert {len(number.partition(".")[2]) for number in cell.split(" ± ")} == {decimals}


def test_a_panel_is_not_needed(made):
    assert len(panels_figure({"fico": "not there"}, draw_curves, "x", "y").legends) == 0


def test_diverged_runs_take_no_part(made):
    scores, seeds, _ = made
    bad = [s.copy(deep=True) for s in seeds]
    bad[1]["loss_left_out"].values[:, :, 2] = np.nan
    lines, _ = profiles(scores, bad)
    assert len(lines[EARLY]) == 29 and np.isfinite(lines[EARLY]).all()
