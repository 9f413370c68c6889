"""FICO's home equity lines of credit: counts, and each special value of each column."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from configs import DATA, config, data_module, needs_data
from hydra.utils import instantiate
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from fimo.errors import Unavailable, UserError

pytestmark = needs_data
FILE = "fico/heloc_dataset_v1.csv"
DELINQUENCY, INQUIRY, RECENT = "MSinceMostRecentDelq", "MSinceMostRecentInqexcl7days", "MaxDelq2PublicRecLast12M"


@pytest.fixture(scope="module")
def raw():
    """The file's rows that are not all -9, as they are."""
    table = pd.read_csv(Path(DATA) / FILE)
    return table[(table.drop(columns="RiskPerformance") > -9).any(axis=1)].reset_index(drop=True)


@pytest.fixture(scope="module")
def table():
    return instantiate(config("data=fico").data.source, _convert_="all").read(Path(DATA))


@pytest.fixture(scope="module")
def data():
    return data_module("fico", DATA).load()


def one_by_one(name, cells):
    """The slow twin: each cell of a column by itself."""
    real = [cell for cell in cells if cell >= 0]
    mean, most = sum(real) / len(real), max(real)
    special = {-8: mean, -9: mean}
    if name == DELINQUENCY:
        special[-7] = most + 1
    if name == INQUIRY:
        special |= {-7: 0, -8: most + 1}
    if name == RECENT:
        special |= {8: 7, 9: 7}
    return [special.get(cell, cell) for cell in cells]


def test_counts(data, table, raw):
    assert (len(data.train), len(data.test_all), len(data.test)) == (8883, 988, 100)
    assert (data.inputs, data.outputs, len(data.left_out)) == (23, 2, 100)
    assert len(table.targets) == 9871
    targets = np.concatenate([data.train.targets, data.test_all.targets])
    assert (targets == 0).sum() == 5136 == (raw["RiskPerformance"] == "Bad").sum()  # Bad is class 0
    assert (targets == 1).sum() == 4735 == (raw["RiskPerformance"] == "Good").sum()


def test_every_column_against_its_twin(table, raw):
    assert list(table.inputs) == list(raw)[1:]
    changed = set()
    for name in table.inputs:
        expected = one_by_one(name, raw[name].tolist())
        np.testing.assert_allclose(table.inputs[name], expected, rtol=1e-12, err_msg=name)
        assert table.inputs[name].min() >= 0
        if expected != raw[name].tolist():
            changed.add(name)
    assert len(changed) == 11


@pytest.mark.parametrize(
    "name, special, count, value",
    [
        (DELINQUENCY, -7, 4664, 84),
        (DELINQUENCY, -8, 176, None),
        (INQUIRY, -7, 1855, 0),
        (INQUIRY, -8, 476, 25),
        (RECENT, 9, None, 7),
        ("ExternalRiskEstimate", -9, 10, None),
        ("NetFractionInstallBurden", -8, 3419, None),
        ("PercentTradesWBalance", -8, 18, None),
    ],
)
def test_special_values(table, raw, name, special, count, value):
    special_rows = raw[name] == special
    assert special_rows.any() and count in (None, special_rows.sum())
    expected = raw[name][raw[name] >= 0].mean() if value is None else value
    np.testing.assert_allclose(table.inputs[name][special_rows.to_numpy()], expected)


def test_a_known_row(table):
    text = table.display(1)
    assert text.startswith("RiskPerformance: Bad; ExternalRiskEstimate 61, MSinceOldestTradeOpen 58, ")
    assert "MSinceMostRecentDelq 84, MaxDelq2PublicRecLast12M 0, " in text
    assert "NetFractionInstallBurden 68.538, " in text  # -8 in the file: the mean


def test_standardised_with_training_statistics(data, table):
    train, test = train_test_split(table.inputs.to_numpy(), test_size=0.1, random_state=0)
    scaler = StandardScaler().fit(train)
    for rows, values in ((data.train, train), (data.test_all, test)):
        np.testing.assert_array_equal(rows.inputs, scaler.transform(values).astype("float32"))


def test_rows_are_displayed_in_their_own_units(data, table):
    train, test = train_test_split(np.arange(9871), test_size=0.1, random_state=0)
    assert data.display("train", 0) == table.display(train[0]) and data.display("test", 99) == table.display(test[99])


@pytest.mark.parametrize(
    "change, text",
    [
        (
            None,
            r"fico/heloc_dataset_v1.csv is not there, .* get it from https://community.fico.com/.* and put it there",
        ),
        (
            lambda text: text[: len(text) // 2],
            "must hold numbers, found an empty cell|has 5[0-9]{3} rows, expected 10459",
        ),
        (
            lambda text: text.replace("Bad", "Poor", 1),
            "must have Bad or Good in column 'RiskPerformance', found 'Poor'",
        ),
        (lambda text: text.replace("AverageMInFile", "X", 1), r"lacks the columns \['AverageMInFile'\]"),
        (lambda text: text.replace("144", "145", 1), "holds other numbers than the published table"),
        (lambda text: text.replace(",144,", ",many,", 1), "must hold numbers, found 'many' in row 2 of column"),
        (lambda text: text.replace("Bad,", "Bad,1,1,", 3), "is not a CSV table"),
        (lambda text: "", "is not a CSV table"),
    ],
)
def test_bad_files(change, text, tmp_path):
    if change is not None:
        (tmp_path / "fico").mkdir()
        (tmp_path / FILE).write_text(change((Path(DATA) / FILE).read_text()))
    with pytest.raises(UserError, match=text) as error:
        data_module("fico", tmp_path).load()
    assert "\n" not in str(error.value) and isinstance(error.value, Unavailable) == (change is None)


def test_a_copy_is_taken_and_another_table_where_it_is_accepted(tmp_path, data):
    shutil.copytree(Path(DATA) / "fico", tmp_path / "fico", copy_function=shutil.copyfile)
    np.testing.assert_array_equal(data_module("fico", tmp_path).load().train.inputs, data.train.inputs)
    text = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(text[: text.rindex("\n", 0, len(text) - 1) + 1])
    accepted = data_module("fico", tmp_path, "data.source.sha256=null", "data.source.rows=null").load()
    assert len(accepted.train) + len(accepted.test_all) == 9870


@pytest.mark.parametrize("optimizer, lr", [("sgd", 1e-4), ("adam", 1e-6)])
@pytest.mark.parametrize("size, epochs, final_epochs", [("paper", 200, 1000), ("laptop", 20, 1000), ("smoke", 2, 2)])
def test_the_papers_settings(optimizer, lr, size, epochs, final_epochs):
    cfg = config("experiment=fico", f"optimizer={optimizer}", f"size={size}", "method=cg")
    assert (cfg.final.optimizer, cfg.final.lr, cfg.final.batch_size, cfg.final.epochs) == (
        "sgd",
        1e-3,
        128,
        final_epochs,
    )
    assert (cfg.optimizer.lr, cfg.further.epochs, cfg.data.batch_size) == (lr, epochs, 128)
    assert (cfg.data.test_size, cfg.data.random_state, cfg.method.cg.damping.scale) == (0.1, 0, 100)
    assert list(cfg.model.hidden) == [128, 128] and cfg.data.left_out[:3] == [0, 176, 286]
