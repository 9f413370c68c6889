"""Tables with several targets, with labels of 0 and 1, and with a column of weights."""

import json

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
from configs import DATA, app, data_module, make_run
from sklearn.model_selection import train_test_split

from fimo.errors import UserError
from fimo.models.losses import BinaryCrossEntropy
from fimo.pipeline import addresses

FIRST, HELD_OUT = (rows[0] for rows in train_test_split(range(442), test_size=0.2, random_state=0))
LABELS = "data.source.target=[high,heavy]"


@pytest.fixture(scope="module")
def table():
    """Real rows with two labels, two numbers to predict, and how often each counts."""
    known = sklearn.datasets.load_diabetes(as_frame=True, scaled=False).frame
    return pd.DataFrame(
        {
            "age": known["age"],
            "s5": known["s5"],
            "high": known["bp"] > 95,
            "heavy": (known["bmi"] > 27).astype(int),
            "y": known["target"],
            "visits": (known["age"] // 20).astype(int),
        }
    )


@pytest.fixture
def load(tmp_path, table):
    """Writes the rows with changes and loads them."""

    def run(*overrides, change=lambda rows: rows, task="multilabel"):
        change(table).to_csv(tmp_path / "table.csv", index=False)
        return data_module(
            "csv", DATA, f"data.source.file={tmp_path / 'table.csv'}", f"data.task={task}", *overrides
        ).load()

    return run


def test_several_labels(load, table):
    data = load(LABELS)
    train, test = train_test_split(table[["high", "heavy"]].to_numpy(float), test_size=0.2, random_state=0)
    assert data.outputs == 2 and data.train.targets.tolist() == train.tolist()
    assert data.test_all.targets.tolist() == test.tolist()
    row = table.iloc[FIRST]
    cells = f"age {row['age']:g}, s5 {row['s5']:g}, y {row['y']:g}, visits {row['visits']}"
    assert data.display("train", 0) == f"high: {row['high']}, heavy: {row['heavy']}; {cells}"


@pytest.mark.parametrize("target", ["data.source.target=heavy", "data.source.target=[heavy]"])
def test_one_label(load, table, target):
    data = load(target)
    expected = train_test_split(table["heavy"].to_list(), test_size=0.2, random_state=0)[0]
    assert data.outputs == 1 and data.train.targets[:, 0].tolist() == expected
    assert data.display("train", 0).startswith(f"heavy: {table['heavy'][FIRST]}; age ")


def test_several_numbers_are_standardised_each(load, table):
    data = load("data.source.target=[s5,y]", task="regression")
    train, test = train_test_split(table[["s5", "y"]].to_numpy(), test_size=0.2, random_state=0)
    assert data.outputs == 2
    np.testing.assert_allclose(data.test_all.targets, (test - train.mean(0)) / train.std(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("task, target, inputs", [("multilabel", "[high,heavy]", 3), ("classification", "heavy", 5)])
def test_weights_are_no_input_and_belong_to_training_rows(load, table, task, target, inputs):
    data = load(f"data.source.target={target}", "data.source.weight=visits", "data.train_rows=100", task=task)
    expected = train_test_split(table["visits"].to_numpy(), test_size=0.2, random_state=0)[0]
    assert data.train.weights.tolist() == expected[data.train.index].tolist() and len(data.train) == 100
    assert data.test.weights is None and data.test_all.weights is None
    assert data.inputs == inputs and data.train.plain.targets.shape[1:] == ((2,) if task == "multilabel" else ())
    assert data.display("train", 0).endswith(f"; weight visits {table['visits'][FIRST]}")
    assert "visits" not in data.display("test", 0)


def test_rows_of_one_weight_are_a_group(load, table):
    data = load(LABELS, "data.source.weight=visits", "data.left_out={by: visits}")
    assert len(data.left_out) == table["visits"].nunique()


def cell(column, row, value):
    """Change one cell."""
    return lambda table: table.assign(**{column: table[column].astype(object).where(table.index != row, value)})


WEIGHT = "data.source.weight needs numbers of at least 0, found "


@pytest.mark.parametrize(
    "change, text",
    [
        (cell("visits", 4, -1), WEIGHT + r"'-1' in line 6 of column 'visits' of .*table.csv \(1 such cells\)"),
        (cell("visits", 4, "often"), WEIGHT + "'often' in line 6 of column 'visits'"),
        (lambda t: t.assign(visits="often"), WEIGHT + "'often' in line 2 of column 'visits'"),
        (cell("visits", 4, "inf"), "must hold finite numbers, found inf in line 6 of column 'visits'"),
        (cell("visits", 4, None), "found 1 missing .*, the first in line 6, column 'visits'"),
        (lambda t: t.assign(visits=0), "needs a number above 0 in some training row, found nothing but 0 in column 'v"),
        (lambda t: t[["high", "heavy", "visits"]], "found the targets 'high, heavy' alone, with 'visits'"),
        (cell("heavy", 6, 2), r"needs 0 or 1 in the target 'heavy', found '2' in line 8 \(1 of 442 values are o"),
        (lambda t: t.assign(heavy=np.where(t["heavy"], "yes", "no")), "0 or 1 in the target 'heavy', found '(yes|no)'"),
        (lambda t: t.assign(heavy=(t.index == HELD_OUT) * 1), "target 'heavy' has one value in all training rows"),
    ],
)
def test_bad_tables(load, change, text):
    with pytest.raises(UserError, match=text) as error:
        load(LABELS, "data.source.weight=visits", change=change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "overrides, task, text",
    [
        ([LABELS], "classification", "needs one target, found high, heavy: choose data.task=multilabel"),
        (["data.source.target=[high,y]"], "multilabel", "needs 0 or 1 in the target 'y', found '151' in line 2"),
        (["data.source.target=[high,high]"], "multilabel", r"several once each, found \['high', 'high'\]"),
        (["data.source.target=[]"], "multilabel", r"several once each, found \[\]"),
        (["data.source.target=[high,z]"], "multilabel", "data.source.target must name columns of .*, found 'z'"),
        ([LABELS, "data.source.drop=[heavy]"], "multilabel", "a column that is nothing else, found 'heavy'"),
        ([LABELS, "data.source.weight=z"], "multilabel", "data.source.weight must name columns of .*, found 'z'"),
        ([LABELS, "data.source.weight=high"], "multilabel", "must name a column that is nothing else, found 'high'"),
        ([LABELS], "labels", "data.task must be regression, classification or multilabel, found 'labels'"),
    ],
)
def test_bad_settings(load, overrides, task, text):
    with pytest.raises(UserError, match=text):
        load(*overrides, task=task)


def chosen(path, *overrides):
    return "data=csv", f"data.source.file={path}", LABELS, "data.task=multilabel", *overrides


def test_results_know_the_weights_and_the_loss_is_that_of_labels(tmp_path, table):
    table.to_csv(tmp_path / "table.csv", index=False)
    runs = [
        make_run(*chosen(tmp_path / "table.csv", *more, f"paths.output_dir={tmp_path}"))
        for more in ([], ["data.source.weight=visits"], ["data.source.weight=y"])
    ]
    assert len({addresses.final_model(run).hash for run in runs}) == 3
    assert type(runs[0].objective) is BinaryCrossEntropy


def test_class_numbers_are_no_labels(tmp_path, table):
    table.to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(UserError, match="found class numbers: choose data.task=multilabel"):
        app(
            tmp_path,
            *("data=csv", f"data.source.file={tmp_path / 'table.csv'}", "data.source.target=heavy"),
            *("data.task=classification", "objective=binary_cross_entropy"),
        )


def test_a_run_with_both(tmp_path, table):
    table.to_csv(tmp_path / "table.csv", index=False)
    few = ("data.test_count=4", "data.left_out=4", "method=[grad_dot,ekfac,exact_gn]", "data.source.weight=visits")
    assert app(tmp_path, *chosen(tmp_path / "table.csv", "name=both", *few)) == 0
    assert np.isfinite(pd.read_csv(tmp_path / "results/both/scores.csv")["score"]).all()
    (path,) = tmp_path.glob("outputs/csv/final/*/metrics.json")
    metrics = json.loads(path.read_text())
    assert metrics["train"]["loss"] > 1.5 * metrics["test"]["loss"] and 0 < metrics["train"]["accuracy"] < 1
    text = (tmp_path / "results/both/influential.md").read_text()
    assert "weight visits" in text and "> high: " in text
