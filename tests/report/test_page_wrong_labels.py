"""The view of labels that were made wrong: its data against the detectors, and in a browser by clicking."""

import numpy as np
import pandas as pd
import pytest
from configs import app
from made_pages import HOSTILE, flipped_page, rank_page
from page_clicks import controls, plotted

from fimo.report.page.payload import payload

VIEW = "wrong-labels"


def test_detectors_their_curves_and_their_heads():
    """Against the orders themselves, by a loop over rows that are looked at."""
    made = flipped_page()
    data, detection = payload(made), made.detection
    shown = data["wrongLabels"]
    assert shown["wrong"] == 6 and shown["count"] == 30 and shown["looked"][-1] == 30 and 6 in shown["looked"]
    assert [entry["auc"] for entry in shown["detectors"]] == sorted(detection.table["auc"], reverse=True)
    labels = [method["label"] for method in data["methods"]]
    for entry in shown["detectors"]:
        owner = {"random order": "–"}.get(entry["by"], "the row itself")
        key = (owner if entry["method"] is None else labels[entry["method"]], entry["by"])
        order = np.argsort(-np.asarray(detection.suspicion[key]), kind="stable")
        for looked, hits in zip(shown["looked"], entry["curve"], strict=True):
            assert hits == pytest.approx(detection.wrong[order[:looked]].sum(), abs=1e-3)
        head = [] if entry["by"] == "random order" else order[:20].tolist()
        assert [data["train"][place]["number"] for place in entry["rows"]] == head
        sign = -1 if entry["by"] == "margin" else 1
        assert entry["values"] == pytest.approx(sign * np.asarray(detection.suspicion[key])[head])
    rows = {row["number"]: row for row in data["train"]}
    assert {number for number, row in rows.items() if "right" in row} == set(made.flipped) & set(rows)
    assert rows[1]["right"] == "right 1" and rows[2]["predicted"] == "The final model says 2."


def test_pages_without_flips_have_no_such_view():
    data = payload(rank_page())
    assert data["wrongLabels"] is None and not any("right" in row for row in data["train"])


def test_the_same_self_influence_for_all_rows_is_no_order():
    constant = pd.DataFrame({"method": "Grad-Cos", "step": None, "train": range(30), "score": 2 + 1e-9 * np.arange(30)})
    made = rank_page()
    both = pd.concat([made.self_influence, constant], ignore_index=True)
    data = payload(rank_page(self_influence=both))
    assert [entry is not None for entry in data["selfInfluence"]] == [True, True, False]


@pytest.mark.parametrize("width, scheme", [pytest.param(1280, "light", marks=pytest.mark.slow), (400, "dark")])
def test_wrong_labels_by_clicking(opened, width, scheme):
    made = flipped_page()
    browsed = opened(made.html(), width, scheme, f"#{VIEW}")
    view, table = browsed.locator(f"#view-{VIEW}"), made.detection.table.set_index(["detector", "by"])
    best = table["auc"].idxmax()
    assert best == ("Grad-Dot", "self-influence")
    text = view.inner_text()
    assert "6 labels of 30 training rows were made wrong on purpose" in text
    hits = f"{table.loc[best, 'found']:g} of its first 6 rows have flipped labels"
    loss = f"In the order of the rows' losses it is {table.loc[('the row itself', 'loss'), 'found']:g}."
    assert hits in text and loss in text and "By chance it would be 1.2." in text
    cells = view.locator(".detectors tbody tr").first.locator("td").all_inner_texts()
    assert cells == [f"{table.loc[best, 'auc']:.3f}", f"{table.loc[best, 'precision']:.2f}", cells[2]]
    assert [line["x"][-1] for line in plotted(browsed, VIEW)] == 4 * [30]  # two methods, loss and margin
    controls(browsed, VIEW, "methods order by").get_by_text("mean harm").click()
    assert len(plotted(browsed, VIEW)) == 3 and view.locator(".legend > span").count() == 3

    order = made.detection.head(best, 20)
    assert view.locator(".card .name").all_inner_texts() == [f"train {row}" for row in order[:12]]
    marked = [f"train {row}" for row in order[:12] if row in made.flipped]
    assert view.locator(".card.suspect .name").all_inner_texts() == marked
    assert view.locator(".card .flipped").count() == len(marked)
    assert f"The final model says {order[0]}." in view.locator(".card").first.inner_text()
    view.get_by_role("button", name="show the next 8 rows").click()
    assert view.locator(".card").count() == 20
    browsed.locator(f"#view-{VIEW} .chart").focus()  # its third line, the margin and the loss come first
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown"):
        browsed.keyboard.press(key)
    assert "of 6 flipped labels are among the first" in view.locator(".tip").inner_text()
    browsed.keyboard.press("Enter")
    own = controls(browsed, VIEW, "order by").locator("select").evaluate("list => list.selectedOptions[0].textContent")
    assert own == "\u2068Grad-Dot\u2069, mean harm"
    controls(browsed, VIEW, "order by").locator("select").select_option(label="the row's margin")
    margin = made.detection.head(("the row itself", "margin"), 20)
    assert view.locator(".card .name").all_inner_texts() == [f"train {row}" for row in margin]
    value = -made.detection.suspicion["the row itself", "margin"][margin[0]]
    assert view.locator(".card .score").first.inner_text() == f"−{abs(value):.2f}"
    view.locator(".card.suspect").first.click()
    dialog = browsed.locator("#row")
    assert "⚑ flipped label" in dialog.inner_text() and "The final model says" in dialog.inner_text()
    assert browsed.evaluate("document.documentElement.scrollWidth") <= width


def test_flipped_rows_are_marked_in_the_other_views(opened):
    made = flipped_page()
    browsed = opened(made.html(), hash="#self-influence")
    top = made.self_influence.query("method == 'Grad-Dot'").nlargest(20, "score")["train"]
    assert browsed.locator("#view-self-influence .flipped").count() == sum(row in made.flipped for row in top) > 0
    browsed.get_by_role("tab", name="Example").click()
    rows = [int(name.split()[-1]) for name in browsed.locator("#view-example .card .name").all_inner_texts()]
    assert browsed.locator("#view-example .card .flipped").count() == sum(row in made.flipped for row in rows)


def test_hostile_labels_are_texts(opened):
    text = HOSTILE[0]
    label = {"label": lambda split, number: text, "predicted": {"train": dict.fromkeys(range(30), text)}}
    browsed = opened(flipped_page(**label).html(), hash=f"#{VIEW}")
    assert text in browsed.locator(f"#view-{VIEW} .card").first.inner_text()
    assert browsed.evaluate("window.hacked") is None


@pytest.mark.pictures
def test_a_ranking_with_flips(tmp_path, opened):
    """A picture's label is the one that the model was trained on, and what it was before."""
    options = ("experiment=digits", "size=smoke", "data.flip=0.2", "data.test_count=2", "method=grad_dot")
    assert app(tmp_path, *options, "name=flipped", name="rank") == 0
    results = tmp_path / "results" / "flipped"
    browsed = opened((results / "report.html").read_bytes(), hash=f"#{VIEW}")
    flipped = pd.read_csv(results / "flipped.csv").set_index("train").astype(str)
    cards = browsed.locator(f"#view-{VIEW} .card.suspect")
    assert cards.count()
    for card in cards.all():
        row = flipped.loc[int(card.locator(".name").inner_text().split()[0])]
        text = card.inner_text()
        assert f"{row['flipped_to']}, flipped from {row['label']}" in text
        right = text.endswith("and so does the label.")
        assert right or f"the label is {row['flipped_to']}, with" in text
