"""Tables: real workbooks, splits, and the errors for bad ones."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets
from configs import DATA, config, data_module, needs_data
from hydra.utils import instantiate
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from fimo.data.features import Features
from fimo.data.left_out import kept_rows, listed_groups, read_left_out
from fimo.data.tables import Bundled, Table, cell_text
from fimo.data.tabular import TabularData
from fimo.errors import UserError

REAL = {"concrete": (927, 103, range(0, 900, 9)), "energy": (691, 77, [*range(0, 693, 7), 690])}


@pytest.fixture
def workbook(tmp_path):
    """Writes the energy workbook with changes, where the config looks for it, and loads it."""

    def load(change, *overrides):
        table = change(pd.read_excel(Path(DATA) / "energy/ENB2012_data.xlsx", engine="calamine"))
        (tmp_path / "energy").mkdir(exist_ok=True)
        table.to_excel(tmp_path / "energy/ENB2012_data.xlsx", index=False)
        return data_module("energy", tmp_path, *overrides).load()

    return load


@needs_data
@pytest.mark.parametrize("name", REAL)
def test_the_papers_splits_of_the_real_workbooks(name):
    train, test, left_out = REAL[name]
    data = data_module(name, DATA).load()
    assert (len(data.train), len(data.test), data.inputs, data.outputs) == (train, test, 8, 1)
    assert data.left_out.rows.tolist() == list(left_out) and data.train.index.tolist() == list(range(train))
    for values in (data.train.inputs, data.train.targets):
        np.testing.assert_allclose(values.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(values.std(0, correction=0), 1, rtol=1e-5)
    file = {"concrete": "concrete/Concrete_Data.xls", "energy": "energy/ENB2012_data.xlsx"}[name]
    raw = pd.read_excel(Path(DATA) / file, engine="calamine").to_numpy()
    rows, held_out = train_test_split(raw, test_size=0.1, random_state=0)
    target = 8  # the first of energy's two targets, concrete's only one
    expected = (held_out[:, target] - rows[:, target].mean()) / rows[:, target].std()
    np.testing.assert_allclose(data.test.targets[:, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(
        data.test.inputs, (held_out[:, :8] - rows[:, :8].mean(0)) / rows[:, :8].std(0), rtol=1e-4, atol=1e-6
    )


@needs_data
@pytest.mark.parametrize("name, count", [("concrete", 8), ("energy", 8), ("diabetes", 10), ("breast_cancer", 30)])
def test_inputs_are_standardised_to_the_last_bit(name, count):
    data, cfg = data_module(name, DATA).load(), config(f"data={name}").data
    inputs = instantiate(cfg.source, _convert_="all").read(Path(DATA)).inputs.to_numpy()
    train, test = train_test_split(inputs, test_size=cfg.test_size, random_state=0)
    scaler = StandardScaler().fit(train)
    for rows, values in ((data.train, train), (data.test_all, test)):
        assert rows.inputs.shape == (len(values), count)
        np.testing.assert_array_equal(rows.inputs, scaler.transform(values).astype("float32"))


@needs_data
def test_rows_are_displayed_in_their_own_units():
    raw = pd.read_excel(Path(DATA) / "energy/ENB2012_data.xlsx", engine="calamine")
    _, test = train_test_split(raw, test_size=0.1, random_state=0)
    row = test.iloc[3]
    cells = ", ".join(f"{name} {row[name]:g}" for name in raw.columns[:8])
    assert data_module("energy", DATA).load().display("test", 3) == f"Y1: {row['Y1']:g}; {cells}"
    assert cell_text(1234567.0) == "1234567" and cell_text(np.float64(0.1234567)) == "0.123457"
    assert cell_text(True) == "True"


def test_a_column_that_is_constant_in_the_training_split():
    inputs = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [5.0, 5.0, 5.0, 6.0]})
    with pytest.raises(UserError, match="Column 'b' has the one value 5 in all 3 training rows"):
        Features.of(Table(inputs, np.arange(4.0)), np.arange(3))


@pytest.mark.parametrize("name, rows, features, outputs", [("diabetes", 442, 10, 1), ("breast_cancer", 569, 30, 2)])
def test_embedded_tables(name, rows, features, outputs, tmp_path):
    data = data_module(name, tmp_path).load()
    assert len(data.train) + len(data.test_all) == rows and len(data.test) == 50 and len(data.left_out) == 50
    assert (data.inputs, data.outputs) == (features, outputs)
    if outputs == 2:
        _, targets = sklearn.datasets.load_breast_cancer(return_X_y=True)
        assert data.train.targets.tolist() == train_test_split(targets, test_size=0.2, random_state=0)[0].tolist()


def test_fewer_training_rows_keep_the_left_out_ones_and_their_numbers(tmp_path):
    whole = data_module("diabetes", tmp_path, left_out=[3, 100, 352]).load()
    part = data_module("diabetes", tmp_path, left_out=[3, 100, 352], train_rows=20).load()
    assert len(part.train) == 20 and part.train.index[part.left_out.rows].tolist() == [3, 100, 352]
    np.testing.assert_array_equal(part.train.inputs, whole.train.inputs[part.train.index])
    np.testing.assert_array_equal(part.test.inputs, whole.test.inputs)
    assert len(data_module("diabetes", tmp_path, train_rows=10**6).load().train) == len(whole.train)


def test_test_count_takes_the_first(tmp_path):
    five, all_ = (data_module("diabetes", tmp_path, test_count=count).load() for count in (5, None))
    assert len(five.test) == 5 and len(five.test_all) == len(all_.test) == 89
    np.testing.assert_array_equal(five.test.inputs, all_.test.inputs[:5])
    with pytest.raises(UserError, match=r"data.test_count must be from 1 to 89 .*, found 90"):
        data_module("diabetes", tmp_path, test_count=90).load()


def test_left_out_as_count_list_and_file(tmp_path):
    assert listed_groups(4, 10).rows.tolist() == [0, 2, 5, 7]
    assert listed_groups([7, 1], 10).rows.tolist() == [7, 1]
    (tmp_path / "a.json").write_text("[7, 1]")
    (tmp_path / "a.txt").write_text("7\n1\n")
    for file in ("a.json", "a.txt"):
        assert listed_groups(str(tmp_path / file), 10).rows.tolist() == [7, 1]
    assert kept_rows(10, 4, [9, 0]).tolist() == [0, 1, 5, 9]
    with pytest.raises(UserError, match="data.train_rows must be at least the 3 left-out examples, found 2"):
        kept_rows(10, 2, [1, 2, 3])


@pytest.mark.parametrize(
    "wanted, text",
    [
        ([0, 10], "data.left_out must name training rows from 0 to 9, found 10"),
        ([-1], "data.left_out must name training rows from 0 to 9, found -1"),
        ([1, 2, 1], "data.left_out must name each training row once, found 1 twice"),
        (0, r"data.left_out must be a count from 1 to 10 \(the training rows\), found 0"),
        (11, "found 11"),
        ([1.5], "data.left_out must hold integers, found 1.5"),
        (1.5, "data.left_out must hold integers, found 1.5"),
        ([], "data.left_out must hold integers, found nothing"),
        (None, "data.left_out must hold integers, found None"),
        ("nowhere.json", "readable file of row numbers or groups, found 'nowhere.json'"),
    ],
)
def test_bad_left_out(wanted, text):
    with pytest.raises(UserError, match=text):
        listed_groups(wanted, 10)


@pytest.mark.parametrize(
    "content, text",
    [
        ("[1, 2", "must be a JSON list of integers or one integer a line"),
        ('[1, "x"]', "must hold integers, found 'x'"),
        ("[true]", "must hold integers, found True"),
        ("3\nx7\n", "must hold integers, found 'x7'"),
        ("--5", "must hold integers, found '--5'"),
        ("", "must hold integers, found nothing"),
    ],
)
def test_bad_left_out_file(content, text, tmp_path):
    (tmp_path / "rows").write_text(content)
    with pytest.raises(UserError, match=text):
        read_left_out(str(tmp_path / "rows"))


@needs_data
class TestBadWorkbooks:
    def test_missing_column(self, workbook):
        with pytest.raises(UserError, match=r"lacks the columns \['X3', 'Y1'\]: expected \['X1'.*found \['X1', 'X2', "):
            workbook(lambda table: table.drop(columns=["X3", "Y1"]))

    def test_text(self, workbook):
        def change(table):
            table = table.astype(object)
            table.loc[3, "X2"] = "many"
            return table

        with pytest.raises(UserError, match="must hold numbers, found 'many' in row 5 of column 'X2'"):
            workbook(change)

    def test_nan(self, workbook):
        with pytest.raises(UserError, match=r"must hold numbers, found an empty cell in row 2 of column 'Y1'"):
            workbook(lambda table: table.assign(Y1=table["Y1"].where(table.index > 0)))

    def test_too_few_rows(self, workbook):
        with pytest.raises(UserError, match="has 700 rows, expected 768"):
            workbook(lambda table: table.head(700))

    def test_other_numbers(self, workbook):
        def change(table):
            return table.assign(X1=table["X1"] + 1)

        with pytest.raises(UserError, match="holds other numbers than the published table"):
            workbook(change)
        assert len(workbook(change, "data.source.sha256=null").train) == 691

    def test_not_a_workbook(self, tmp_path):
        (tmp_path / "energy").mkdir()
        (tmp_path / "energy/ENB2012_data.xlsx").write_bytes(b"<html>not found</html>")
        with pytest.raises(UserError, match="is not an Excel workbook that can be read"):
            data_module("energy", tmp_path).load()

    def test_an_unchanged_copy_is_taken(self, tmp_path):
        shutil.copytree(Path(DATA) / "energy", tmp_path / "energy")
        assert len(data_module("energy", tmp_path).load().train) == 691


def test_classification_needs_no_standardised_target():
    settings = {"name": "x", "batch_size": 8, "data_dir": ".", "left_out": 3, "test_size": 0.5}
    data = TabularData(source=Bundled("load_wine"), task="classification", **settings).load()
    assert data.outputs == 3 and set(data.train.targets.tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    "task, text",
    [("classification", "must have classes, found 214 different labels in 442 rows"), ("ranking", "found 'ranking'")],
)
def test_a_task_that_the_targets_dont_fit(task, text, tmp_path):
    with pytest.raises(UserError, match=text):
        data_module("diabetes", tmp_path, task=task).load()
