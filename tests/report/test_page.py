"""report.html without a browser: what is in it, that nothing in it can end its place, and how large it may be."""

import base64
import html
import json
import re

import numpy as np
import pytest
from configs import QUICK, app
from made_pages import HOSTILE, LEFT_OUT, STEPS, TESTS, describe, rank_page, run_page, verify_page

from fimo.descriptions import Picture
from fimo.errors import UserError
from fimo.pipeline.results_page import report_page
from fimo.report.figures import COLOURS
from fimo.report.page import examples, page
from fimo.report.page.page import as_json
from fimo.report.page.payload import choose_steps, payload, plain


def numbers(array):
    return np.frombuffer(base64.b64decode(array["float32"]), "<f4").reshape(array["shape"])


def data_of(content):
    """The page's data, as a browser takes them: up to the first end of a script element."""
    inside = content.decode().partition('<script type="application/json" id="data">')[2]
    return json.loads(inside[: inside.lower().index("</script")])


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_of_the_users_ends_its_place(text):
    """Cells, names of rows, columns and methods, notes and settings: as they are in the data, nowhere in the markup."""
    made = run_page(
        title=text,
        subtitle=text,
        describe=lambda split, number: text,
        label=lambda split, number: text,
        labels=(text.replace("\ud800", ""), "CG"),
        notes=[text],
        record={"config": {text: text}},
    )
    content = made.html()
    data = data_of(content)
    assert data["train"][0]["text"] == data["train"][0]["label"] == text
    assert data["methods"][0]["label"] == text.replace("\ud800", "")
    assert data["notes"] == [text] and data["record"]["config"] == {text: text}
    markup = re.sub(r'<script type="application/json".*?</script>', "", content.decode(), flags=re.DOTALL)
    title = html.escape(text).encode("utf-8", "replace").decode()
    assert markup.count(title) == 2 and "window.hacked" not in markup.replace(title, "")
    # The browser would end the element at none but the real end.
    assert as_json(text).count("<") == as_json(text).count(">") == 0
    assert json.loads(as_json({text: [text]})) == {text: [text]}


def test_arrays_come_back_as_they_were():
    made = run_page()
    data = payload(made)
    effects = data["effects"]
    assert numbers(effects["values"]) == pytest.approx(made.effects.values, rel=1e-6)
    for label, score, method in zip(made.scores, effects["scores"], data["methods"], strict=True):
        assert numbers(score) == pytest.approx(made.scores[label].values, rel=1e-6)
        assert method["colour"] == COLOURS[label]
    curves = made.curves
    means = numbers(data["curves"]["cosine_mean"])
    assert means.shape == (2, 3, STEPS)
    for place, label in enumerate(made.scores):
        for number, adjustment in enumerate(data["curves"]["adjustments"]):
            expected = curves[(curves["method"] == label) & (curves["adjustment"] == adjustment)]["cosine_mean"]
            assert means[place, number] == pytest.approx(expected.to_numpy(), rel=1e-6)


def test_runs_that_diverged_are_no_numbers():
    made = run_page()
    data = payload(run_page(effects=made.effects.isel(left_out=slice(1, None))))
    values = numbers(data["effects"]["values"])
    assert values.shape == (STEPS, TESTS, LEFT_OUT) and np.isnan(values[..., 0]).all()
    assert np.isfinite(values[..., 1:]).all()


def test_variants_and_own_methods_have_the_colours_of_the_figures():
    looks = payload(run_page(labels=("CG (λ = 10 λ0)", "mine")))["methods"]
    assert looks[0]["colour"] == COLOURS["CG"] and looks[1]["colour"] not in COLOURS.values()


def test_amounts_are_as_many_as_fit():
    score, epochs = run_page().scores, np.arange(1.0, 1001)
    places = choose_steps(epochs, score)
    assert len(places) == 12 and places[0] == 0 and places[-1] == 999 and (np.diff(places) > 0).all()
    assert choose_steps(epochs[:5], score).tolist() == [0, 1, 2, 3, 4]
    wide = {label: array.isel(test=np.arange(2000) % TESTS) for label, array in score.items()}
    assert len(choose_steps(epochs, wide)) < 12


def test_each_picture_is_stored_once_and_smaller_where_they_are_many(monkeypatch):
    made = run_page(
        describe=lambda split, number: Picture(
            np.random.default_rng(number).integers(0, 256, (200, 100, 3), np.uint8), "x"
        )
    )
    data = payload(made)
    assert len(data["pictures"]) == TESTS + LEFT_OUT
    assert {example["picture"] for split in ("train", "test") for example in data[split]} == set(
        range(TESTS + LEFT_OUT)
    )
    monkeypatch.setattr(examples, "PICTURES_BYTES", 100_000)
    assert sum(map(len, payload(made)["pictures"])) < 100_000 < sum(map(len, data["pictures"]))


@pytest.mark.parametrize(
    "made, lower",
    [(run_page, "data.test_count, data.left_out"), (rank_page, "rank.top"), (verify_page, "verify.tests")],
)
def test_a_page_that_would_open_slowly_is_refused(made, lower, monkeypatch):
    assert len(made().html()) < 2_500_000
    monkeypatch.setattr(page, "MOST_BYTES", 1_000_000)
    with pytest.raises(UserError, match=rf"must have less than 1 MB to open at once, found 2\.\d MB: lower .*{lower}"):
        made().html()


def test_views_without_data_have_none():
    assert payload(rank_page())["effects"] is None and payload(rank_page())["curves"] is None
    assert payload(verify_page())["ranking"] is None and payload(verify_page())["selfInfluence"] is None


def test_rankings_are_cut_to_what_can_be_looked_at():
    made = rank_page()
    data = payload(made)
    entry = data["ranking"]["entries"][1][-1]
    assert entry["step"] == 20 and entry["epoch"] == 1.0
    rows = made.ranking.query("method == 'Unrolled-GN' and step == 20 and test == 3 and score > 0")
    expected = rows.sort_values("score", ascending=False)
    places, values = entry["helpful"][3]
    assert [data["train"][place]["number"] for place in places] == expected["train"].tolist()
    assert values == pytest.approx(expected["score"].tolist())
    own = data["selfInfluence"][0]
    top = made.self_influence.query("method == 'Grad-Dot'").nlargest(20, "score")["train"]
    assert [data["train"][place]["number"] for place in own["top"]] == top.tolist()


def test_a_ranking_has_fewer_rows_where_the_page_would_be_too_large(monkeypatch):
    made = rank_page(self_influence=None, describe=lambda split, number: f"{number} {1000 * 'x'}")
    sizes = []
    for ends in ((4,), (1,)):
        monkeypatch.setattr(page, "ENDS", ends)
        sizes.append(len(made.html()))
    monkeypatch.setattr(page, "ENDS", (4, 1))
    monkeypatch.setattr(page, "MOST_BYTES", sizes[0] - 1)
    content = made.html()
    assert sizes[0] > sizes[1] == len(content)
    assert [len(rows) for rows, _ in data_of(content)["ranking"]["entries"][0][0]["helpful"]] == [1] * TESTS


def test_the_nearest_columns_of_a_wide_table_are_left_out(monkeypatch):
    monkeypatch.setattr(examples, "MOST_CELLS", 2)
    (row,) = [example for example in payload(run_page())["test"] if example["number"] == 0]
    assert [cell[0] for cell in row["cells"]] == ["job", "age"] and row["columns"] == len(describe("test", 0).cells)


def test_what_json_does_not_have_is_none_or_text():
    assert plain({"a": float("nan"), 3: np.float32(2), "c": (np.int64(1), {1.5})}) == {
        "a": None,
        "3": 2.0,
        "c": [1, [1.5]],
    }


def test_a_run_whose_page_is_too_large_has_all_its_other_results(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("fimo.pipeline.results_files.report_page", report_page)
    (tmp_path / "results/diabetes/report.html").unlink()
    assert app(tmp_path, *QUICK) == 0
    assert b"</html>" in (tmp_path / "results/diabetes/report.html").read_bytes()
    (tmp_path / "results/diabetes/report.html").unlink()
    monkeypatch.setattr(page, "MOST_BYTES", 1_000_000)
    assert app(tmp_path, *QUICK) == 0
    folder = tmp_path / "results/diabetes"
    assert not (folder / "report.html").exists() and (folder / "curves.csv").is_file()
    assert "report.html must have less than 1 MB" in (folder / "table.md").read_text()
    assert "report.html must have less than 1 MB" in capsys.readouterr().out
    assert app(tmp_path, *QUICK) == 0
    assert f"comparison: found in {folder}" in capsys.readouterr().out
