"""Rankings that exist, verified by command: which of their methods, and those that do not belong to the run."""

import logging

import numpy as np
import pandas as pd
import pytest
from configs import RANKED, app

from fimo.errors import UserError


def test_the_harmful_end_of_a_ranking_names_no_helpful_rows(ranked):
    """With 8 rows at each end there are 16, but the ninth most helpful one is not among them."""
    folder = ranked / "results" / "ranks"
    options = (*RANKED, "verify.shares=[0.02]", "verify.tests=2", "verify.random=3", f"verify.ranking={folder}")
    with pytest.raises(UserError, match="must name as many helpful rows as leave together, 9 .*found 8"):
        app(ranked, *options, name="verify")


def test_a_ranking_of_another_measurement_is_refused(ranked):
    folder = ranked / "results" / "ranks"
    options = (*RANKED, "verify.shares=[0.01]", "verify.tests=2", f"verify.ranking={folder}", "measurement=margin")
    with pytest.raises(UserError, match="ranks rows by what they do to the loss, and this run measures .*margin"):
        app(ranked, *options, name="verify")


def test_only_the_chosen_methods_of_a_ranking_are_verified(ranked, caplog):
    folder = ranked / "results" / "ranks"
    options = (*RANKED[:-1], "verify.shares=[0.01]", "verify.tests=2", "verify.random=2", f"verify.ranking={folder}")
    for method, labels in (("[cg]", {"CG"}), ("[grad_dot,cg]", {"Grad-Dot", "CG"})):
        assert app(ranked, *options, f"method={method}", f"name=only{len(method)}", name="verify") == 0
        removal = pd.read_csv(ranked / "results" / f"only{len(method)}" / "removal.csv")
        assert set(removal["method"]) == {*labels, "random rows"}
    with pytest.raises(UserError, match="has no scores of TRAK, and method= chooses it: the ranking has Grad-Dot"):
        app(ranked, *options, "method=[cg,trak]", name="verify")
    with caplog.at_level(logging.INFO):
        assert app(ranked, *options, "method.curvature_rows=null", "name=all_that_it_has", name="verify") == 0
    removal = pd.read_csv(ranked / "results" / "all_that_it_has" / "removal.csv")
    assert set(removal["method"]) == {"Grad-Dot", "CG", "Unrolled-GN", "random rows"}
    assert "verify.ranking: the methods are those of" in caplog.text


def test_a_ranking_by_other_parameters_is_refused(ranked):
    folder = ranked / "results" / "ranks"
    options = (*RANKED, "verify.shares=[0.01]", "verify.tests=2", f"verify.ranking={folder}")
    with pytest.raises(UserError, match=r"other parameters \(θ: all\), and this run's are .*: give both the same"):
        app(ranked, *options, "parameters=last_layer", name="verify")
    assert app(ranked, *options, "parameters=['*']", "name=by_pattern", name="verify") == 0


OTHER_TRAINING = [
    ("further.epochs=3", r"scores of Unrolled-GN for other further training \(SGD .*, \d+ steps\) than is measured"),
    ("optimizer.lr=0.5", r"for other further training \(SGD \(lr=.*\) than is measured \(SGD \(lr=0.5\), batches of"),
    ("data.batch_size=7", r"batches of 7, \d+ steps\): rank the rows with the further training that is measured"),
]


@pytest.mark.parametrize("option, message", OTHER_TRAINING, ids=[option for option, _ in OTHER_TRAINING])
def test_a_ranking_for_other_further_training_is_refused(ranked, option, message):
    """Also where all else is the same: the scores of Unrolled-GN are a prediction of this training alone."""
    folder = ranked / "results" / "ranks"
    options = (*RANKED, "verify.shares=[0.01]", "verify.tests=2", f"verify.ranking={folder}", option)
    with pytest.raises(UserError, match=message):
        app(ranked, *options, name="verify")


def test_a_ranking_that_changes_where_it_lies_is_verified_anew(ranked, tmp_path):
    table = pd.read_csv(ranked / "results" / "ranks" / "ranking.csv").query("method == 'CG'")
    options = (*RANKED, "verify.shares=[0.01]", "verify.tests=2", "verify.random=2", f"verify.ranking={tmp_path}/a.csv")
    predicted = []
    for factor in (1, 10):
        table.assign(score=factor * table["score"]).drop(columns="method").to_csv(tmp_path / "a.csv", index=False)
        results = set((ranked / "results").iterdir())
        assert app(ranked, *options, "name=mine", name="verify") == 0
        (folder,) = set((ranked / "results").iterdir()) - results - {ranked / "results" / "index.md"}
        predicted.append(pd.read_csv(folder / "removal.csv").query("method == 'a'")["predicted"])
    assert len(predicted[0]) == 2
    np.testing.assert_allclose(predicted[1], 10 * predicted[0])


def test_rankings_that_do_not_fit(ranked, tmp_path):
    folder = ranked / "results" / "ranks"
    other = (*RANKED, "seed=1", f"verify.ranking={folder}", "verify.shares=[0.01]", "verify.tests=2")
    with pytest.raises(UserError, match="ranks the rows of another final model, of other data or by another loss"):
        app(ranked, *other, name="verify")
    with pytest.raises(UserError, match=r"must name as many helpful rows as leave together, \d+ .*found 8 by Grad-Dot"):
        app(ranked, *RANKED, f"verify.ranking={folder}", "verify.shares=[0.5]", "verify.tests=2", name="verify")
    for table, message in (
        ("test,train\n0,1\n", "must have the columns test, train, score, found no score"),
        ("test,train,score\n0,100000,1\n", "belongs to other training rows: it names row 100000"),
        ("test,train,score\n0,1,1\n", "must name as many helpful rows as leave together"),
        ("test,train,score\n0,1,1\n0,1,2\n", "must have one score for each training row, found two of row 1"),
        ("test,train,score\n0,1,x\n", "score in .* must be numbers, found 'x'"),
        ("test,train,score\n0,1,1\n0,2,\n", "score in .* must be finite numbers, found nan in row 2 below the header"),
        ("test,train,score\n0,1,-inf\n0,2,nan\n", "found -inf in row 1 below the header and in 2 rows in all: leave"),
        ("test,train,score\n0,,1\n", "train in .* must be finite numbers, found nan in row 1"),
        ("", "can't be read as CSV"),
        ("test,train,score\n5,1,1\n", "must rank rows for test example 0, found none"),
    ):
        path = tmp_path / "mine.csv"
        path.write_text(table)
        with pytest.raises(UserError, match=message):
            app(ranked, *RANKED, f"verify.ranking={path}", "verify.shares=[0.01]", "verify.tests=2", name="verify")
