"""report.html in a real browser, by clicking and by keys: what it shows is what the numbers say."""

import re

import numpy as np
import pytest
from configs import app
from made_pages import run_page
from page_clicks import controls, plotted, tab
from scipy.stats import spearmanr

from fimo.comparison.influential import extremes
from fimo.effect import centre
from fimo.pipeline.results_page import report_page
from fimo.reference.comparison import cosine

WIDE, NARROW = 1280, 400
# A run of seconds for each kind of rows: a table's, a table's with classes, sentences, pictures.
RUNS = {
    "diabetes": ("data.test_count=5", "data.left_out=8", "method=[grad_dot,unrolled_gn]"),
    "breast_cancer": ("data.test_count=4", "data.left_out=6"),
    "reviews": ("data.test_count=4", "data.left_out=6", "method=[grad_dot,unrolled_gn]"),
    "digits": ("data.test_count=4", "data.left_out=6"),
}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """Results folders of `RUNS`, each made when it is first needed."""
    folder = tmp_path_factory.mktemp("runs")

    def of(name):
        made = folder / "results" / name
        if not made.is_dir():
            with pytest.MonkeyPatch.context() as monkeypatch:
                monkeypatch.setattr("fimo.pipeline.results_files.report_page", report_page)
                assert app(folder, f"experiment={name}", *RUNS[name]) == 0
        return made

    return of


@pytest.mark.parametrize(
    "name, width, scheme",
    [
        pytest.param("diabetes", WIDE, "light", marks=pytest.mark.slow),
        ("diabetes", NARROW, "dark"),
        pytest.param("breast_cancer", WIDE, "dark", marks=pytest.mark.slow),
        pytest.param("reviews", NARROW, "light", marks=pytest.mark.slow),
        pytest.param("digits", NARROW, "light", marks=pytest.mark.slow),
    ],
)
def test_every_view_opens(folder_of, opened, name, width, scheme):
    """All four at both widths, light and dark, with no sideways scrolling and no error."""
    content = (folder_of(name) / "report.html").read_bytes()
    assert len(content) < 6_000_000
    browsed = opened(content, width, scheme)
    for view in ("Curves", "Scatter", "Example", "About"):
        tab(browsed, view)
        assert browsed.evaluate("document.documentElement.scrollWidth") <= width, view
        assert browsed.evaluate("getComputedStyle(document.body).backgroundColor") == (
            "rgb(255, 255, 255)" if scheme == "light" else "rgb(21, 24, 28)"
        )
    tab(browsed, "Example")
    browsed.locator("#view-example .card").first.click()
    assert browsed.locator("#row").is_visible()
    kind = {"digits": ".picture", "reviews": ".sentence .token"}.get(name, ".cells tr")
    assert browsed.locator(f"#row {kind}").first.is_visible()
    if name == "digits":
        assert browsed.locator("#row img").evaluate("image => image.complete && image.naturalWidth") == 8
    if name == "diabetes":  # the most different first, all in the dialog
        sizes = [
            abs(float(text.replace("−", "-").split()[0]))
            for text in browsed.locator("#row .deviation").all_inner_texts()
        ]
        assert len(sizes) == 10 and sizes == sorted(sizes, reverse=True)


def test_curves_follow_their_controls(opened):
    made = run_page()
    browsed = opened(made.html())
    controls(browsed, "curves", "agreement").get_by_text("Spearman").click()
    controls(browsed, "curves", "adjustment").get_by_text("none").click()
    rows = made.curves.query("adjustment == 'none'")
    lines = plotted(browsed, "curves")
    assert [line["y"] for line in lines] == [
        pytest.approx(rows.query("method == @label")["spearman_mean"].tolist(), rel=1e-6) for label in made.scores
    ]
    assert "Spearman with the gold standard" in browsed.locator("#view-curves .axis-title").inner_text()
    controls(browsed, "curves", "agreement").get_by_text("cosine").click()
    assert len(plotted(browsed, "curves")) == 3  # the ceiling too
    browsed.locator("#view-curves .chip", has_text="Grad-Dot").click()
    assert [line.get("method") for line in plotted(browsed, "curves")] == [1, None]
    controls(browsed, "curves", "amount").get_by_text("logarithmic").click()
    browsed.wait_for_function("document.querySelector('#view-curves .plot').layout.xaxis.type === 'log'")
    point = rows.query("method == 'Unrolled-GN'").iloc[0]
    browsed.locator("#view-curves .chart").focus()
    browsed.keyboard.press("ArrowRight")
    tip = browsed.locator("#view-curves .tip").inner_text()
    assert f"cosine {point['cosine_mean']:.3f} ± {point['cosine_sem']:.3f}".replace("-", "−") in tip
    assert "n = 5 test examples, 3 seeds" in tip and "after 1 epoch (step 10)" in tip


def test_scatter_shows_scores_and_effects(opened):
    made = run_page()
    browsed = opened(made.html(), hash="#scatter")
    controls(browsed, "scatter", "method").locator("select").select_option(label="\u2068Unrolled-GN\u2069")
    browsed.get_by_role("button", name="next test example").click()
    browsed.locator("#view-scatter input[type=range]").fill("1")
    score = made.scores["Unrolled-GN"].isel(step=1, test=1).values
    gold = centre(made.effects).isel(step=1, test=1).values
    (points,) = plotted(browsed, "scatter")
    assert points["x"] == pytest.approx(score, rel=1e-5) and points["y"] == pytest.approx(gold, rel=1e-4, abs=1e-9)
    agreements = cosine(score, gold), np.corrcoef(score, gold)[0, 1], spearmanr(score, gold).statistic
    expected = [f"{value:.3f}".replace("-", "−") for value in agreements]
    assert re.findall(r"−?\d\.\d{3}", browsed.locator("#view-scatter .numbers").inner_text()) == expected
    # The point with the lowest score, by keys; its row beside the chart.
    browsed.locator("#view-scatter .chart").focus()
    browsed.keyboard.press("ArrowRight")
    lowest = made.scores["Unrolled-GN"]["left_out"].values[score.argmin()]
    assert f"train {lowest}" in browsed.locator("#view-scatter .tip").inner_text()
    assert f"train {lowest}" in browsed.locator("#view-scatter .side").inner_text()
    tab(browsed, "Example")
    assert "test 1" in browsed.locator("#view-example .test-card h2").inner_text()


def test_the_mouse_finds_points(opened):
    browsed = opened(run_page().html(), hash="#scatter")
    box = browsed.evaluate(
        "(() => { const plot = document.querySelector('#view-scatter .plot'), {xaxis, yaxis} = plot._fullLayout,"
        " points = plot.data.at(-1), at = plot.getBoundingClientRect();"
        " return [at.x + xaxis._offset + xaxis.d2p(points.x[3]), at.y + yaxis._offset + yaxis.d2p(points.y[3])]; })()"
    )
    browsed.mouse.move(*box)
    browsed.wait_for_selector("#view-scatter .tip.open")
    assert "train 9" in browsed.locator("#view-scatter .tip").inner_text()
    browsed.mouse.click(*box)
    assert "train 9" in browsed.locator("#row h2").inner_text()


def test_examples_are_the_ends_of_each_ranking(opened):
    made = run_page()
    browsed = opened(made.html(), hash="#example")
    rankings = {
        "gold standard": centre(made.effects).isel(step=-1),
        **{label: score.isel(step=-1) if "step" in score.dims else score for label, score in made.scores.items()},
    }
    gold = extremes(rankings["gold standard"].sel(test=0), 3)
    for label, scores in rankings.items():
        ends, column = (
            extremes(scores.sel(test=0), 3),
            browsed.get_by_label(label, exact=True).and_(browsed.locator(".column")),
        )
        for end in ("helpful", "harmful"):
            rows = [row for row, _ in getattr(ends, end)]
            assert column.locator(f"ol.{end} .name").all_inner_texts() == [f"train {row}" for row in rows]
            also = [row for row in rows if row in dict(getattr(gold, end))] if label != "gold standard" else []
            assert column.locator(f"ol.{end} .also .name").all_inner_texts() == [f"train {row}" for row in also]
    browsed.locator("#view-example .chip", has_text="Unrolled-GN").click()
    assert browsed.locator("#view-example .column h3").all_inner_texts() == ["gold standard", "Grad-Dot"]


def test_a_training_row_leads_to_its_test_examples(opened):
    made = run_page()
    browsed = opened(made.html(), hash="#example")
    browsed.locator("#view-example .column").first.locator(".name").first.focus()
    browsed.keyboard.press("Enter")
    row = int(browsed.locator("#row h2").inner_text().split()[-1])
    effects = centre(made.effects).isel(step=-1).sel(left_out=row).to_series().sort_values(ascending=False)
    first = browsed.locator("#row .on-tests tbody tr").first
    helped = first.locator("td").first.locator("bdi").all_inner_texts()
    assert helped == [f"test {test}" for test in effects[effects > 0].index[:3]]
    first.locator("button").first.click()
    assert not browsed.locator("#row").is_visible()
    assert f"test {effects.index[0]}" in browsed.locator("#view-example .test-card h2").inner_text()
    browsed.locator("#view-example .card").first.click()
    browsed.keyboard.press("Escape")
    assert not browsed.locator("#row").is_visible()
