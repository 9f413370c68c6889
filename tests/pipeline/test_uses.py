"""rank and verify as commands and from Python: files, what is found again, and what is refused."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
from configs import RANKED, app, make_run

from fimo.errors import UserError

VERIFY = (*RANKED, "verify.shares=[0.02,0.1]", "verify.tests=2", "verify.random=3")


def test_files_of_a_ranking(ranked):
    results = ranked / "results" / "ranks"
    ranking = pd.read_csv(results / "ranking.csv")
    assert list(ranking) == ["method", "step", "test", "rank", "train", "score", "test_name", "train_name"]
    assert set(ranking["method"]) == {"Grad-Dot", "CG", "Unrolled-GN"}
    steps = ranking.groupby("method")["step"].unique()
    assert np.isnan(steps["CG"]).all() and len(steps["Unrolled-GN"]) == 2
    one = ranking.query("method == 'CG' and test == 0")
    rows = len(pd.read_csv(results / "self_influence.csv").query("method == 'CG'"))
    assert one["rank"].tolist() == [*range(1, 9), *range(rows - 7, rows + 1)]
    assert one["score"].is_monotonic_decreasing and one["train"].is_unique
    for name in ("self_influence.csv", "mean_scores.csv"):
        table = pd.read_csv(results / name)
        assert list(table) == ["method", "step", "train", "score", "train_name"]
        assert len(table) == 4 * rows and table["score"].notna().all()
    text = (results / "ranking.md").read_text()
    assert text.count("## Test example") == 3 and "self-influence" in text and "| the row's own loss |" in text
    assert text.count("The final model says ") == 3 and "first 3 of 6 test examples" in text
    assert "</html>" in (results / "report.html").read_text()


def test_a_ranking_is_found_again(ranked, caplog):
    options = (*RANKED, "rank.top=8", "rank.amounts=[1,2]", "name=ranks")
    before = (ranked / "results" / "ranks" / "run.json").stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        assert app(ranked, *options, name="rank") == 0
    assert "CG: ranking found in" in caplog.text and "ranking: found in" in caplog.text
    assert (ranked / "results" / "ranks" / "run.json").stat().st_mtime_ns == before


def test_of_few_rows_all_are_ranked(tmp_path):
    few = (*RANKED[:1], "method=[grad_dot]", "data.train_rows=12", "data.test_count=2", "data.left_out=2")
    assert app(tmp_path, *few, "name=few", name="rank") == 0
    ranking = pd.read_csv(tmp_path / "results" / "few" / "ranking.csv")
    assert ranking.groupby("test")["train"].nunique().tolist() == [12, 12]
    with pytest.raises(UserError, match=r"top \(rank.top\) must be a whole number from 1 to 12 .*, found 20"):
        app(tmp_path, *few, "rank.top=20", name="rank")


@pytest.mark.parametrize("left_out", ["[1,4]", "{random: 3, share: 0.1}"])
def test_a_ranking_does_not_depend_on_what_is_left_out(ranked, caplog, left_out):
    options = ("rank.top=8", "rank.amounts=[1,2]", f"data.left_out={left_out}", f"name=other{len(left_out)}")
    with caplog.at_level(logging.INFO):
        assert app(ranked, *RANKED, *options, name="rank") == 0
    assert "computed" not in caplog.text
    before, after = (ranked / "results" / name / "ranking.csv" for name in ("ranks", f"other{len(left_out)}"))
    assert before.read_bytes() == after.read_bytes()


@pytest.fixture(scope="module")
def verified(ranked, drawing):
    with drawing():
        assert app(ranked, *VERIFY, "name=verified", name="verify") == 0
    return ranked


def test_files_of_a_verification(verified):
    results = verified / "results" / "verified"
    removal = pd.read_csv(results / "removal.csv")
    columns = ["method", "test", "share", "rows", "predicted", "measured_mean", "measured_sem"]
    assert list(removal)[:7] == columns
    assert set(removal["method"]) == {"Grad-Dot", "CG", "Unrolled-GN", "random rows"}
    assert (removal.groupby("method").size() == 4).all() and set(removal["test"]) == {0, 1}
    assert removal["measured_mean"].notna().all()
    text = (results / "removal.md").read_text()
    assert "Removing the" in text and "random rows:" in text and "</html>" in (results / "report.html").read_text()
    assert (results / "removal.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((results / "run.json").read_text())
    assert record["compared"] == [0, 1] and set(record["methods"]) == {"Grad-Dot", "CG", "Unrolled-GN"}


def test_a_verification_is_found_again(verified, caplog):
    with caplog.at_level(logging.INFO):
        assert app(verified, *VERIFY, "name=verified", name="verify") == 0
    assert "verification: found in" in caplog.text and "2 of 2 seeds found" in caplog.text


def test_a_stored_ranking_is_verified(verified):
    """The groups and predictions of the rows that it keeps are those of the methods themselves."""
    folder = verified / "results" / "ranks"
    options = (*VERIFY[:-3], "verify.shares=[0.005,0.01]", "verify.tests=2", "verify.random=3")
    assert app(verified, *options, f"verify.ranking={folder}", "name=stored", name="verify") == 0
    assert app(verified, *options, "name=anew", name="verify") == 0
    stored, anew = (pd.read_csv(verified / "results" / name / "removal.csv") for name in ("stored", "anew"))
    pd.testing.assert_frame_equal(stored, anew)


def test_labels_that_were_made_wrong(tmp_path):
    """Every detector's numbers are those of its file, against a loop over pairs; `flipped.csv` says which are wrong."""
    few = ("experiment=breast_cancer", "data.flip=0.05", "data.test_count=6", "method=[grad_dot,embedding]")
    assert app(tmp_path, *few, "name=flipped", name="rank") == 0
    results = tmp_path / "results" / "flipped"
    found = pd.read_csv(results / "detection.csv").set_index(["detector", "by"])
    assert set(found.index.get_level_values("by")) == {"self-influence", "mean harm", "loss", "margin", "random order"}
    assert ("Embedding", "self-influence") not in found.index
    wrong, losses = pd.read_csv(results / "flipped.csv")["train"], pd.read_csv(results / "losses.csv")
    mean = pd.read_csv(results / "mean_scores.csv").query("method == 'Grad-Dot'")
    own = pd.read_csv(results / "self_influence.csv").query("method == 'Grad-Dot'")
    assert own["score"].is_monotonic_decreasing
    own = own.sort_values("train", ignore_index=True)
    for key, values in {
        ("Grad-Dot", "self-influence"): own["score"],
        ("Grad-Dot", "mean harm"): -mean["score"],
        ("the row itself", "loss"): losses["loss"],
        ("the row itself", "margin"): -losses["margin"],
    }.items():
        flags = losses["train"].isin(wrong).to_numpy()
        pairs = [one > other for one in values[flags.tolist()] for other in values[(~flags).tolist()]]
        assert np.isclose(found.loc[key, "auc"], np.mean(pairs))
        first = np.argsort(-values.to_numpy(), kind="stable")[: len(wrong)]
        assert np.isclose(found.loc[key, "precision"], flags[first].mean()) and found.loc[key, "wrong"] == len(wrong)
    assert "made wrong (data.flip)" in (results / "ranking.md").read_text()


WRONG = [
    ("rank", "rank.top=0", "rank.top must be a whole number of at least 1, found 0."),
    (
        "rank",
        "rank.top=5000",
        r"top \(rank.top\) must be a whole number from 1 to \d+ .*, found 5000",
    ),
    (
        "rank",
        "rank.amounts=[7]",
        r"amounts \(rank.amounts\) must be a list of epochs.*at most 2, found \[7\]",
    ),
    ("rank", "rank.amounts=-2", "rank.amounts must be a list of numbers above 0, as in .*, or one number, found -2"),
    (
        "verify",
        "verify.shares=[0.0001]",
        r"shares \(verify.shares\) must each be at least one of the \d+ training rows.*is 0 rows",
    ),
    (
        "verify",
        "verify.shares=[1.0]",
        r"shares \(verify.shares\) must each be at least one .* and not all",
    ),
    ("verify", "verify.shares=[]", "verify.shares must be a list of numbers above 0"),
    ("verify", "verify.tests=[3,99]", r"tests \(verify.tests\) must name test examples that are evaluated.*found 99"),
    ("verify", "verify.tests=0", r"tests \(verify.tests\) must be from 1 to 6 .*, found 0"),
    ("verify", "verify.end=worst", r"end \(verify.end\) must be helpful or harmful, found 'worst'"),
    ("verify", "verify.tests=[a]", "verify.tests must be a number of test examples, a list of positions, or null"),
    ("verify", "verify.random=1", "verify.random must be a whole number of at least 2, found 1"),
    ("verify", "+verify.share=[0.1]", "verify has no setting 'share'.*Did you mean verify.shares?"),
    (
        "verify",
        "verify.ranking=nowhere",
        "verify.ranking must be a results folder of rank or a CSV file, found nowhere",
    ),
]


def test_one_number_stands_for_a_list_of_one():
    one, listed = (make_run(f"verify.shares={share}", f"rank.amounts={n}") for share, n in ((0.05, 2), ([0.05], [2])))
    assert (one.removed, one.ranked) == (listed.removed, listed.ranked) and one.ranked.amounts == [2]


@pytest.mark.parametrize("command, option, message", WRONG, ids=[option for _, option, _ in WRONG])
def test_one_sentence_for_what_can_not_be(verified, command, option, message):
    with pytest.raises(UserError, match=message):
        app(verified, *RANKED, option, name=command)
