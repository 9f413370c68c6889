"""Titles and legends stay inside their figures."""

import pytest
from made_up import noisy

from fimo.comparison.sweeps import Job
from fimo.comparison.tables import compare
from fimo.report.figures import curves_figure, draw_curves, seeds_figure
from fimo.report.layout import text_width, wrapped
from fimo.report.panels import panels_figure
from fimo.report.sweeps import sweep_figure

SENTENCE = (
    "energy-further.leave_out=every_step: further training with SGD and 6 seeds, measured on a small computer"
    " in winter, 2026"
)
TITLES = [SENTENCE, "x" * 120, "$a_b$ " * 20]


@pytest.fixture(scope="module")
def comparison():
    scores, seeds = noisy(4, 3, 4, 20, seed=1)
    like = scores["TRAK"]
    scores |= {label: like + 1 for label in ("Grad-Cos", "LiSSA", "LiSSA-H", "EK-FAC", "Unrolled-GN (moved)")}
    return compare(scores, seeds)


def figures(comparison, title):
    curves = comparison.curves
    jobs = [Job({"optimizer.lr": lr, "optimizer": name}, curves) for lr in "123" for name in ("sgd", "adam")]
    yield curves_figure(comparison, title)
    yield seeds_figure(comparison, title)
    yield sweep_figure(jobs, title)
    yield sweep_figure([Job({"further.leave_out": title}, curves), Job({"further.leave_out": "b"}, curves)], title)
    yield panels_figure({title: comparison, "b": comparison, "c": comparison}, draw_curves, "x", "y")


@pytest.mark.parametrize("title", TITLES)
def test_no_title_is_clipped(comparison, title):
    assert len(title) >= 115
    for figure in figures(comparison, title):
        figure.draw_without_rendering()
        titles = [axes._left_title for axes in figure.axes] + ([figure._suptitle] if figure._suptitle else [])
        for text in titles:
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.y0 >= 0
            assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text.get_text()


def test_a_legend_takes_no_third_of_the_picture_and_covers_nothing(comparison):
    for figure in figures(comparison, "energy"):
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box, panels = legend.get_window_extent(), [axes.get_window_extent() for axes in figure.axes]
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.height <= 0.3 * figure.bbox.height
        assert not any(box.overlaps(panel) for panel in panels)
        labels = [text for text in (figure._supxlabel,) if text]
        assert not any(box.overlaps(text.get_window_extent()) for text in labels)


@pytest.mark.parametrize("count", [1, 10])
def test_panels_have_room_below_a_long_legend(comparison, count):
    figure = panels_figure({f"panel {number}": comparison for number in range(count)}, draw_curves, "amount", "cosine")
    figure.draw_without_rendering()
    legend, drawn = figure.legends[0].get_window_extent(), [axes.get_window_extent() for axes in figure.axes]
    assert len(figure.axes) == count and all(box.height > 1.2 * figure.dpi for box in drawn)
    for box in (*drawn, *(axes._left_title.get_window_extent() for axes in figure.axes)):
        assert not legend.overlaps(box) and box.x0 >= 0 and box.x1 <= figure.bbox.x1
    assert not any(figure._supxlabel.get_window_extent().overlaps(box) for box in drawn)


def test_lines_are_no_wider_than_they_may_be():
    for title in TITLES:
        text, size = wrapped(title, 2.5, 11)
        assert max(text_width(line, size) for line in text.splitlines()) <= 2.5
        assert text.replace("\n", "").replace(" ", "") == title.replace(" ", "")
    assert wrapped("short", 2.5, 11) == ("short", 11)
