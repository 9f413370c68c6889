"""rank and verify where a method, a recursion or some seeds are missing."""

import json

import pandas as pd
import pytest
from configs import app

from fimo.errors import MethodFailed, UserError


def test_a_method_whose_scores_are_no_numbers_names_no_rows(tmp_path):
    """A recursion that diverged fails the method, and not by naming the rows that stand first."""
    diverging = ("method=[grad_dot,lissa]", "method.lissa.scale=1e-4", "method.lissa.depth=200")
    asked = ("experiment=diabetes", "data.test_count=2", "verify.tests=2", "verify.random=2", "verify.shares=[0.05]")
    assert app(tmp_path, *asked, *diverging, "name=one", name="verify") == 3
    removal = pd.read_csv(tmp_path / "results" / "one" / "removal.csv")
    assert set(removal["method"]) == {"Grad-Dot", "random rows"}
    assert "gives no number for any test" in (tmp_path / "results" / "one" / "removal.md").read_text()
    with pytest.raises(MethodFailed, match="gives no number for any test example: 2 of 2 gradients diverged"):
        app(tmp_path, *asked, *diverging[1:], "method=lissa", name="verify")


def test_a_recursion_that_diverged_has_no_self_influence_and_detects_nothing(tmp_path):
    diverging = ("method=[grad_dot,lissa]", "method.lissa.scale=1e-4", "method.lissa.depth=200")
    asked = ("experiment=breast_cancer", "data.test_count=2", "data.flip=0.05")
    assert app(tmp_path, *asked, *diverging, "name=one", name="rank") == 3
    results = tmp_path / "results" / "one"
    assert set(pd.read_csv(results / "self_influence.csv")["method"]) == {"Grad-Dot"}
    assert not any("LiSSA" in name for name in pd.read_csv(results / "detection.csv")["detector"])
    text = (results / "ranking.md").read_text()
    assert "gives no number for any test example: 2 of 2 gradients diverged with every scale (0.0001).\n" in text


def test_seeds_of_other_jobs(tmp_path):
    """A job verifies with the seeds that are there and says so; the last one does not find what the first one wrote."""
    asked = ("experiment=diabetes", "data.test_count=2", "verify.random=2", "verify.shares=[0.05]")
    options = (*asked, "method=grad_dot", "further.jobs=3", "name=jobs")
    with pytest.raises(UserError, match=r"has none of the 2 seeds yet: the other jobs \(further.jobs\) compute them"):
        app(tmp_path, *options, "further.job=2", name="verify")
    results = tmp_path / "results" / "jobs"
    for job, compared, words in ((0, [0], "SGD, 1 seed,"), (1, [0, 1], "SGD, 2 seeds,")):
        assert app(tmp_path, *options, f"further.job={job}", name="verify") == 0
        assert json.loads((results / "run.json").read_text())["compared"] == compared
        assert words in (results / "removal.md").read_text()
    assert pd.read_csv(results / "removal.csv").query("method == 'Grad-Dot'")["measured_sem"].notna().all()
