"""Rows from a function of one's own (data=own), and which test examples are evaluated (data.tested)."""

import own_rows
import pandas as pd
import pytest
import torch
from configs import QUICK, app, make_run

from fimo.errors import UserError
from fimo.pipeline import addresses

NO_METHOD = "method=[grad_dot]"


def own(name, task="classification", *overrides):
    return make_run("data=own", f"data._target_=own_rows.{name}", f"data.task={task}", "size=smoke", *overrides)


@pytest.mark.parametrize("task", ["classification", "regression", "multilabel"])
def test_rows_are_as_they_were_returned(task):
    data = own(task, task).dataset
    (inputs, targets), (test_inputs, _) = getattr(own_rows, task)()
    assert torch.equal(data.train.inputs, torch.tensor(inputs).float()) and data.inputs == 4
    assert torch.equal(data.test_all.inputs, torch.tensor(test_inputs).float())
    expected = torch.tensor(targets) if task == "classification" else torch.tensor(targets).float().reshape(20, -1)
    assert torch.equal(data.train.targets, expected)
    assert data.outputs == {"classification": 3, "regression": 1, "multilabel": 2}[task]
    assert data.display("train", 2).startswith(f"inputs {inputs[2, 0]:.4g} ") and data.names.of("train", 2) is None


def test_datasets_mappings_and_other_inputs():
    expected = own("classification").dataset
    assert torch.equal(own("datasets").dataset.train.inputs, expected.train.inputs)
    named = own("mappings").dataset
    assert torch.equal(named.train.inputs, expected.train.inputs) and named.names.of("train", 3) == "person 3"
    assert named.train.weights.tolist() == [float(row % 3) for row in range(20)] and named.names.of("test", 0) is None
    assert own("tokens").dataset.inputs in range(40, 51)
    pictures = own("images").dataset
    assert pictures.inputs == 3 and pictures.display("train", 0).shape == (4, 4, 3)


def test_what_the_function_takes_is_added():
    doubled = own("classification", "classification", "+data.scale=2.0")
    assert torch.equal(doubled.dataset.train.inputs, torch.tensor(2 * own_rows.INPUTS[:20]).float())
    with pytest.raises(UserError, match=r"own_rows.classification must take the arguments size .*\+data.folder="):
        own("classification", "classification", "+data.size=2")


def test_results_know_what_it_returned(monkeypatch):
    first = addresses.final_model(own("classification")).hash
    assert addresses.final_model(own("classification")).hash == first
    monkeypatch.setattr(own_rows, "INPUTS", own_rows.INPUTS + 1e-6)
    assert addresses.final_model(own("classification")).hash != first


@pytest.mark.parametrize(
    "name, task, text",
    [
        ("nothing", "classification", r"own_rows.nothing must return \(train, test\), found NoneType"),
        ("three", "classification", r"own_rows.three must return \(train, test\), found tuple of 3"),
        (
            "unknown_key",
            "classification",
            "train of own_rows.unknown_key must be .*, found a mapping with inp",
        ),
        ("few_names", "classification", "must have a name of its own for each of its 20 rows, found 1"),
        ("regression", "classification", r"needs class numbers 0, 1, … \[row\] as the targets of train of own_rows.r"),
        ("classification", "multilabel", r"needs 0 or 1 \[row, label\] as the targets .* from 0 to 2"),
        ("other_widths", "regression", "must give all rows as many targets, found 1 and 2"),
        (
            "classification",
            "ranking",
            "data.task must be one of regression, .*, found 'ranking'",
        ),
        ("nobody", "classification", r"data._target_ must name a function that returns \(train, test\) .*my_data.make"),
        ("INPUTS", "classification", "data._target_ must name a function, found 'own_rows.INPUTS', a ndarray"),
    ],
)
def test_what_is_refused(name, task, text):
    with pytest.raises(UserError, match=text) as error:
        own(name, task).dataset  # noqa: B018
    assert "\n" not in str(error.value)


def test_a_run(tmp_path):
    options = ("data=own", "data._target_=own_rows.mappings", "data.task=classification", "data.left_out=4")
    assert app(tmp_path, "experiment=breast_cancer", *options, "data.test_count=3", "name=own") == 0
    scores = pd.read_csv(tmp_path / "results/own/scores.csv")
    assert scores["left_out_name"].tolist()[:4] == [f"person {row}" for row in scores["left_out"][:4]]
    assert "test_name" not in scores and "(person " in (tmp_path / "results/own/influential.md").read_text()


class TestTested:
    def test_positions_in_their_order(self):
        chosen = make_run(QUICK[0], QUICK[2], "data.tested=[7,2]", "size=smoke").dataset
        assert chosen.test.index.tolist() == [7, 2]
        assert torch.equal(chosen.test.inputs, chosen.test_all.inputs[[7, 2]])

    @pytest.mark.parametrize("tested", ["[89]", "[-1]", "[2,2]", "[]", "first", "[a]"])
    def test_what_is_refused(self, tested):
        with pytest.raises(UserError, match=r"data.tested must (be positions|name test examples from 0 to 88)"):
            make_run(QUICK[0], QUICK[2], f"data.tested={tested}", "size=smoke").dataset  # noqa: B018

    def test_regression_has_no_mistakes(self, tmp_path):
        with pytest.raises(UserError, match="misclassified needs an objective of classes or labels, found S"):
            app(tmp_path, *QUICK, "data.tested=misclassified")

    def test_mistakes_of_the_final_model(self, tmp_path):
        options = ("experiment=breast_cancer", "data.tested=misclassified", "data.left_out=4", "final.epochs=1")
        assert app(tmp_path, *options, "data.test_count=3", "name=wrong") == 0
        run = make_run(*options, "data.test_count=3", "size=smoke", f"paths.output_dir={tmp_path}/outputs")
        problem, every = run.problem, run.dataset.test_all
        wrong = problem.network(every.inputs).argmax(1) != every.targets
        expected = wrong.nonzero().flatten()[:3].tolist()
        assert problem.test.index.tolist() == expected != [0, 1, 2]
        scores = pd.read_csv(tmp_path / "results/wrong/scores.csv")
        assert sorted(scores["test"].unique()) == expected
        assert app(tmp_path, *options, "data.test_count=3", "name=wrong") == 0
        retraining = ("further.gold=retraining", "optimizer.lr=0.05", "size=smoke")
        retrained = make_run(*options, *retraining, "data.test_count=3", f"paths.output_dir={tmp_path}/outputs")
        assert retrained.initial_problem.test.index.tolist() == expected
