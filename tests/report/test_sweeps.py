"""The table and the figure of a sweep."""

import numpy as np
import pandas as pd
import pytest

from fimo.comparison.sweeps import Job, sweep_table
from fimo.report.sweeps import sweep_figure
from fimo.report.tables import readable_cells

NAN = float("nan")


def job(cosines, **swept):
    """A job with the given centred cosines, by label, at steps 10, 20, … of five a step."""
    rows = [
        {"method": label, "adjustment": adjustment, "step": 10 * t, "epoch": 2.0 * t, "n_seeds": 3}
        | {"cosine_mean": value if adjustment == "centred" else -1, "cosine_sem": value / 10}
        for label, values in cosines.items()
        for adjustment in ("none", "centred")
        for t, value in enumerate(values, 1)
    ]
    return Job({key.replace("_", "."): value for key, value in swept.items()}, pd.DataFrame(rows))


SWEPT = [
    job({f"CG (λ = {scale} λ0)": [0.1, 0.5, 0.3], "EK-FAC": [0.2, NAN, scale / 100]}, times_damping=str(scale))
    for scale in (10, 1, 100)
]


def test_the_table_has_the_first_best_and_last_step():
    table = sweep_table(SWEPT)
    assert table["times.damping"].tolist() == ["1", "1", "10", "10", "100", "100"]
    assert table["method"].tolist()[:2] == ["CG (λ = 1 λ0)", "EK-FAC"] and set(table["seeds"]) == {3}
    row = table.iloc[0]
    assert [row[f"{moment} epoch"] for moment in ("first", "best", "last")] == [2, 4, 6]
    assert [row[f"{moment} cosine_mean"] for moment in ("first", "best", "last")] == [0.1, 0.5, 0.3]
    assert [row[f"{moment} cosine_sem"] for moment in ("first", "best", "last")] == pytest.approx([0.01, 0.05, 0.03])
    assert table.iloc[1]["best epoch"] == 2 and table.iloc[5]["best epoch"] == 6


def test_the_table_for_people():
    cells = readable_cells(sweep_table([job({"CG": [NAN, NAN]}, optimizer="sgd"), job({"CG": [0.25]}, times_lr="3")]))
    assert list(cells)[:6] == ["optimizer", "times.lr", "method", "seeds", "first epoch", "first cosine"]
    assert cells.iloc[0].tolist() == ["sgd", "–", "CG", "3", "2", "–", "2", "–", "4", "–"]
    assert cells.iloc[1].tolist() == ["–", "3", "CG", "3", "2", *["0.250 ± 0.025", "2"] * 2, "0.250 ± 0.025"]


def shown(axes):
    return {line.get_label(): (line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axes.lines}


def test_a_swept_number_is_the_horizontal_axis_and_variants_of_a_method_are_one_line():
    first, best, last = sweep_figure(SWEPT, "damping").axes
    assert [axes.get_title(loc="left") for axes in (first, best, last)] == ["first step", "best step", "last step"]
    assert shown(first) == {"CG": ([1, 10, 100], [0.1] * 3), "EK-FAC": ([1, 10, 100], [0.2] * 3)}
    assert shown(best)["EK-FAC"] == ([1, 10, 100], [0.2, 0.2, 1.0])
    assert shown(last)["EK-FAC"] == ([1, 10, 100], [0.01, 0.1, 1.0])
    assert {axes.get_xscale() for axes in (first, best, last)} == {"log"} and last.get_xlabel() == "times.damping"


def two_keys(names):
    return [
        job({"CG": [lr / 10 + place, 0.2]}, optimizer=name, times_lr=str(lr))
        for place, name in enumerate(names)
        for lr in (1, 3)
    ]


def test_a_second_key_is_overlaid_with_a_line_style_for_each_value():
    figure = sweep_figure(two_keys(["sgd", "adam"]), "optimizers")
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["first step", "best step", "last step"]
    lines = {line.get_linestyle(): line.get_ydata().tolist() for line in figure.axes[0].lines}
    assert lines == {"-": pytest.approx([0.1, 0.3]), "--": pytest.approx([1.1, 1.3])}
    assert figure.axes[0].get_xscale() == "linear"
    entries = zip(figure.legends[0].get_texts(), figure.legends[0].get_lines(), strict=True)
    styles = {text.get_text(): line.get_linestyle() for text, line in entries}
    assert styles == {"CG": "-", "optimizer=sgd": "-", "optimizer=adam": "--"}


def test_more_values_than_line_styles_have_rows_of_panels():
    axes = sweep_figure(two_keys("abcde"), "optimizers").axes
    assert [panel.get_title(loc="left") for panel in axes] == [
        f"optimizer={name}, {moment} step" for name in "abcde" for moment in ("first", "best", "last")
    ]
    assert shown(axes[3]) == {"CG": ([1, 3], [1.1, pytest.approx(1.3)])}


def test_methods_may_be_what_is_swept():
    jobs = [
        job({label: [0.1]}, method=name, times_lr=lr) for name, label in (("cg", "CG"), ("trak", "TRAK")) for lr in "13"
    ]
    first = sweep_figure(jobs, "").axes[0]
    assert (
        shown(first) == {"CG": ([1, 3], [0.1, 0.1]), "TRAK": ([1, 3], [0.1, 0.1])} and first.get_xlabel() == "times.lr"
    )


def test_jobs_that_lack_a_key_are_drawn_too():
    jobs = [job({"CG": [0.1]}, times_lr="1"), job({"CG": [0.2]}, times_lr="3", optimizer="adam")]
    first = sweep_figure(jobs, "").axes[0]
    drawn = {line.get_linestyle(): (line.get_xdata().tolist(), line.get_ydata().tolist()) for line in first.lines}
    assert drawn == {"-": ([1], [0.1]), "--": ([3], [0.2])}


def test_two_variants_of_a_method_in_one_job_keep_their_labels():
    jobs = [job({"CG": [0.1], "CG (λ = 1 λ0)": [0.2]}, further_seeds=seeds) for seeds in "13"]
    assert set(shown(sweep_figure(jobs, "").axes[0])) == {"CG", "CG (λ = 1 λ0)"}


def test_without_a_number_each_job_has_a_panel_with_its_curves():
    jobs = [job({"CG": [0.1, 0.2], "TRAK": [0.3, -0.4]}, further_leave_out=scheme) for scheme in ("drop", "mask")]
    figure = sweep_figure(jobs, "leave_out")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["further.leave.out=drop", "further.leave.out=mask"]
    assert shown(figure.axes[1])["TRAK"] == ([2, 4], [0.3, -0.4])
    assert figure.axes[0].get_ylim()[0] == pytest.approx(-0.45)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["CG", "TRAK"]
    assert np.isfinite(figure.get_size_inches()).all()
