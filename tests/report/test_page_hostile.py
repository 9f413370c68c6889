"""report.html with texts that are not meant well, pages of rankings and removals, keys, colours and paper."""

import numpy as np
import pandas as pd
import pytest
from made_pages import HOSTILE, rank_page, run_page, verify_page
from page_clicks import controls, plotted, tab

from fimo.descriptions import Cell, Sentence, TableRow, Token

# What a browser puts in place of half a letter, and of a zero byte where it is set as text.
NAMES = [text for text in HOSTILE if "\x00" not in text]


def hostile(split, number):
    """Hostile texts as column, cell, target, sentence, token, class and plain text."""
    text = NAMES[number % len(NAMES)]
    if number % 3 == 0:
        return TableRow([(text, text)], [Cell(text, text, 1.0), Cell(f"{text} 2", text, 0.5, 0.25)])
    return Sentence([text], [[Token(0, 4, text)]], text) if number % 3 == 1 else text


def hostile_page(width):
    more = {
        "notes": NAMES,
        "record": {"config": {"a": NAMES}, "overrides": NAMES, "methods": {NAMES[0]: {"notes": NAMES}}},
    }
    claims = pd.DataFrame([{"claim": text, "statistic": text, "note": text, "verdict": text} for text in NAMES])
    label = lambda split, number: f"{number} ({NAMES[number % len(NAMES)]})"  # noqa: E731
    return run_page(hostile, label, (NAMES[0], NAMES[3]), claims=claims, watched=NAMES[1], title=NAMES[2], **more)


@pytest.mark.parametrize("width", [pytest.param(1280, marks=pytest.mark.slow), 400])
def test_hostile_texts_are_texts(opened, width):
    browsed = opened(hostile_page(width).html(), width)
    for view in ("Curves", "Scatter", "Example", "About"):
        tab(browsed, view)
        assert browsed.evaluate("document.documentElement.scrollWidth") <= width, view
        root = browsed.locator(f"#view-{view.lower()}")
        assert root.locator("script, b:not([style]):not(.numbers b), img, iframe").count() == 0
    browsed.evaluate("document.querySelector('details').open = true")
    texts = browsed.evaluate("[...document.querySelectorAll('#view-about bdi')].map(e => e.textContent)")
    assert set(NAMES) - {text for text in NAMES if len(text) > 280} <= set(texts)
    tab(browsed, "Curves")
    browsed.locator("#view-curves .chart").focus()
    browsed.keyboard.press("ArrowRight")
    assert NAMES[0] in browsed.locator("#view-curves .tip").inner_text()
    tab(browsed, "Scatter")
    browsed.locator("#view-scatter .chart").focus()
    browsed.keyboard.press("ArrowRight")
    assert "<script>" in browsed.locator("#view-scatter .xtitle").text_content()
    assert browsed.title() == NAMES[2] == browsed.locator("h1").inner_text()
    assert browsed.evaluate("window.hacked") is None


def test_ten_thousand_characters_are_clipped_and_can_be_reached(opened):
    long = next(text for text in NAMES if len(text) > 9000)
    browsed = opened(run_page(lambda split, number: long).html(), hash="#example")
    head = browsed.locator("#view-example .test-card")
    assert len(head.inner_text()) < 500 and "show all 10,000 characters" in head.inner_text()
    head.locator(".more").click()
    assert long in head.inner_text()
    head.get_by_text("show less").click()
    assert len(head.inner_text()) < 500


def test_text_that_turns_around_ends_with_itself(opened):
    turned = "\u202eabc"
    browsed = opened(run_page(label=lambda split, number: turned).html(), hash="#example")
    heading = browsed.locator("#view-example .test-card h2")
    assert heading.inner_text() == f"Test example {turned}" and heading.locator("bdi").inner_text() == turned
    assert browsed.locator("#view-example option").first.text_content().startswith(f"\u2068{turned}")


def test_tokens_are_marked_in_their_sentence(opened):
    browsed = opened(run_page().html(), hash="#example")
    browsed.get_by_role("button", name="next test example").click()
    head = browsed.locator("#view-example .test-card .sentence")
    assert head.inner_text() == "a film 😀 that is unknowable, cut"
    assert head.locator(".token").all_inner_texts() == ["a", "film", "😀", "unknowable"]
    assert head.locator(".unknown").all_inner_texts() == ["unknowable"]
    assert head.locator(".cut").all_inner_texts() == [", cut"]


def test_a_ranking_has_examples_and_self_influence(opened):
    made = rank_page()
    browsed = opened(made.html())
    assert browsed.get_by_role("tab").all_inner_texts() == ["Example", "Self-influence", "About"]
    rows = made.ranking.query("method == 'Unrolled-GN' and step == 10 and test == 2").sort_values("score")
    browsed.get_by_role("button", name="next test example").click()
    browsed.get_by_role("button", name="next test example").click()
    browsed.locator("#view-example input[type=range]").fill("0")
    column = browsed.get_by_label("Unrolled-GN", exact=True).and_(browsed.locator(".column"))
    assert "after 0.5" in column.inner_text()
    expected = [f"train {row}" for row in rows.query("score < 0")["train"][:3]]
    assert column.locator("ol.harmful .name").all_inner_texts() == expected
    column.locator("ol.harmful .card").first.click()
    assert "Self-influence" in browsed.locator("#row").inner_text()
    browsed.keyboard.press("Escape")
    tab(browsed, "Self-influence")
    top = made.self_influence.query("method == 'Grad-Dot'").nlargest(20, "score")
    assert browsed.locator("#view-self-influence .name").all_inner_texts() == [f"train {row}" for row in top["train"]]


def test_a_removal_has_predictions_means_and_verdicts(opened):
    made = verify_page()
    browsed = opened(made.html(), 400)
    assert browsed.get_by_role("tab").all_inner_texts() == ["Removal", "About"]
    text = browsed.locator("#view-removal").inner_text()
    assert "CG beats random rows" in text and "Removing 15 rows raises it." in text
    assert browsed.locator("#view-removal .sentences img").count() == 1  # test example 2 is a picture
    assert "75 %" in text and "0.500 ± 0.100" in text
    controls(browsed, "removal", "taken out").get_by_text("2 %").click()
    cg = made.removal.query("method == 'CG' and share == 0.02")
    points = plotted(browsed, "removal")
    assert points[0]["x"] == pytest.approx(cg["predicted"].tolist()) and points[2]["x"] == []
    assert points[0]["y"] == pytest.approx(cg["measured_mean"].tolist())
    (mean, error) = cg["measured_mean"].mean(), cg["measured_mean"].std() / np.sqrt(len(cg))
    means = plotted(browsed, "removal", 1)
    assert means[0]["x"] == pytest.approx([1, 2, 5]) and means[0]["y"][1] == pytest.approx(mean)
    browsed.locator("#view-removal .chart").nth(1).focus()
    browsed.keyboard.press("ArrowRight")
    browsed.keyboard.press("ArrowRight")
    assert f"± {error:.2g}"[:7] in browsed.locator("#view-removal .tip").nth(1).inner_text()
    assert browsed.evaluate("document.documentElement.scrollWidth") <= 400


def test_keys_colours_and_paper(opened):
    browsed = opened(run_page().html())
    browsed.get_by_role("tab", name="Curves").focus()
    browsed.keyboard.press("ArrowRight")
    assert browsed.evaluate("document.activeElement.textContent") == "Scatter"
    browsed.keyboard.press("End")
    assert browsed.locator("#view-about").is_visible() and browsed.url.endswith("#about")
    browsed.keyboard.press("Home")
    # Methods keep their colours, light and dark, but those that could not be seen on a dark ground.
    swatches = (
        "[...document.querySelectorAll('#view-curves .chip .swatch')].map(e => getComputedStyle(e).backgroundColor)"
    )
    assert browsed.evaluate(swatches) == ["rgb(0, 114, 178)", "rgb(51, 34, 136)"]
    browsed.get_by_role("button", name="dark colours").click()
    assert browsed.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 28)"
    light = [[int(c) for c in text[4:-1].split(",")] for text in browsed.evaluate(swatches)]
    assert all(max(colour) > 130 for colour in light)
    browsed.get_by_role("radio", name="cosine").focus()
    browsed.keyboard.press("ArrowRight")
    assert "Pearson with" in browsed.locator("#view-curves .axis-title").inner_text()
    assert browsed.evaluate("document.activeElement.value") == "pearson"
    browsed.emulate_media(media="print")
    browsed.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    browsed.wait_for_function("[...document.querySelectorAll('.view')].every(view => !view.hidden)")
    assert browsed.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not browsed.locator(".tabs").is_visible()
