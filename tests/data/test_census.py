"""ACSIncome: counts, known rows, sparse rows against dense ones, and the errors for bad files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from configs import DATA, config, data_module, needs_data
from hydra.utils import instantiate
from sklearn.model_selection import train_test_split

from fimo.errors import UserError

pytestmark = needs_data
FOLDER = "folktables/2018/1-Year"
MA, NE = f"{FOLDER}/psam_p25.csv", f"{FOLDER}/psam_p31.csv"
COLUMNS = ["AGEP", "COW", "SCHL", "MAR", "OCCP", "POBP", "RELP", "WKHP", "SEX", "RAC1P"]
NUMBERS = ["AGEP", "WKHP"]
CATEGORIES = [name for name in COLUMNS if name not in NUMBERS]


def source(*overrides, folder=DATA):
    return instantiate(config("data=folktables", f"paths.data_dir={folder}", *overrides).data.source, _convert_="all")


@pytest.fixture(scope="module")
def data():
    return data_module("folktables", DATA, sparse=True).load()


@pytest.fixture(scope="module")
def people():
    return pd.read_csv(Path(DATA) / MA)


def test_counts(data):
    assert (len(data.train), len(data.test_all), len(data.test)) == (30085, 10029, 100)
    assert (data.inputs, data.outputs, len(data.left_out)) == (784, 2, 100)
    assert data.left_out.rows[-1] == 29450 and data.left_out.rows[1] == 359
    targets = np.concatenate([data.train.targets, data.test_all.targets])
    assert round(targets.mean(), 5) == 0.46844


@pytest.mark.parametrize("state, rows, share, features", [("CO", 31306, 0.41436, 784), ("NE", 10785, 0.31229, 680)])
def test_other_states(state, rows, share, features):
    data = data_module("folktables", DATA, f"data.source.states=[{state}]", left_out=3).load()
    targets = np.concatenate([data.train.targets, data.test_all.targets])
    assert (len(targets), round(targets.mean(), 5), data.inputs) == (rows, share, features)


def test_two_states_are_one_table():
    both, first, second = (source(f"data.source.states=[{names}]").read(Path(DATA)) for names in ("NE,CO", "NE", "CO"))
    pd.testing.assert_frame_equal(both.inputs, pd.concat([first.inputs, second.inputs], ignore_index=True))
    codes = {name: len(np.union1d(first.categories[name], second.categories[name])) for name in CATEGORIES}
    assert {name: len(found) for name, found in both.categories.items()} == codes


def test_dense_rows_against_pandas():
    dense = data_module("folktables", DATA, "data.source.states=[NE]", left_out=3, sparse=False).load()
    people = pd.read_csv(Path(DATA) / NE)
    one_hot = pd.get_dummies(people[COLUMNS].astype(dict.fromkeys(CATEGORIES, int)), columns=CATEGORIES, dtype=float)
    train, test = train_test_split(one_hot, test_size=0.25, random_state=0)
    mean, std = train[NUMBERS].mean(), train[NUMBERS].std(ddof=0)
    for split, rows in ((train, dense.train), (test, dense.test_all)):
        expected = split.assign(**((split[NUMBERS] - mean) / std))
        assert rows.inputs.dtype.is_floating_point and rows.inputs.shape == expected.shape
        np.testing.assert_allclose(rows.inputs, expected, rtol=1e-5, atol=1e-6)
        assert (rows.inputs[:, 2:].sum(1) == 8).all()


def test_sparse_rows_are_the_dense_ones(data):
    assert isinstance(data.train.inputs, dict)
    dense = data_module("folktables", DATA, sparse=False).load()
    for mine, theirs in ((data.train, dense.train), (data.test, dense.test), (data.test_all, dense.test_all)):
        columns, values = mine.inputs["columns"].numpy(), mine.inputs["values"].numpy()
        assert (
            columns.shape == values.shape == (len(mine), 10) and columns.dtype == "int64" and values.dtype == "float32"
        )
        matrix = np.zeros((len(mine), data.inputs), dtype="float32")
        for row in range(len(mine)):
            matrix[row, columns[row]] = values[row]
        np.testing.assert_array_equal(theirs.inputs, matrix)
        np.testing.assert_array_equal(theirs.targets, mine.targets)


def test_a_known_row(data, people):
    train, _ = train_test_split(np.arange(len(people)), test_size=0.25, random_state=0)
    row = people.iloc[train[0]]
    assert (row["AGEP"], row["WKHP"], row["OCCP"], row["PINCP"]) == (51, 30, 850, 20000)
    text = "AGEP 51, COW=1, SCHL=21, MAR=1, OCCP=850, POBP=25, RELP=1, WKHP 30, SEX=2, RAC1P=1"
    assert data.display("train", 0) == f"income above 50,000: 0; {text}"
    assert data.train.targets[0] == 0


@pytest.mark.parametrize("optimizer, lr", [("sgd", 1e-4), ("adam", 1e-6)])
@pytest.mark.parametrize("size, epochs, final_epochs", [("paper", 25, 100), ("laptop", 25, 100), ("smoke", 2, 2)])
def test_the_papers_settings(optimizer, lr, size, epochs, final_epochs):
    cfg = config("experiment=folktables", f"optimizer={optimizer}", f"size={size}", "method=cg")
    assert (cfg.final.optimizer, cfg.final.lr, cfg.final.batch_size, cfg.final.epochs) == (
        "sgd",
        1e-2,
        128,
        final_epochs,
    )
    assert (cfg.optimizer.lr, cfg.further.epochs, cfg.data.batch_size) == (lr, epochs, 128)
    assert (cfg.data.test_size, cfg.data.random_state, cfg.method.cg.damping.scale) == (0.25, 0, 100)
    assert list(cfg.model.hidden) == [128, 128] and cfg.data.sparse and cfg.model.sparse


@pytest.mark.parametrize(
    "override, text",
    [
        ("states=[XX]", r"states must name states by two letters, each once, as \[MA,NY\], found 'XX'"),
        ("states=[NE,NE]", r"each once, .* found \['NE', 'NE'\]"),
        ("states=[]", r"found \[\]"),
        ("year=2013", "data.source.year must be a year from 2014, found 2013"),
        ("horizon=2-Year", "data.source.horizon must be 1-Year or 5-Year, found '2-Year'"),
        ("categorical=[COW,AGE]", r"data.source.categorical must name columns of \['AGEP', .*found 'AGE'"),
    ],
)
def test_bad_settings(override, text):
    with pytest.raises(UserError, match=text):
        source(f"data.source.{override}").read(Path(DATA))


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda t: t.drop(columns=["OCCP", "PWGTP"]), r"psam_p31.csv lacks the columns \['OCCP', 'PWGTP'\]"),
        (lambda t: t.assign(ST=25), r"must hold people of NE \(ST 31\), found another state's"),
        (lambda t: t.assign(SCHL="x"), "has text in column 'SCHL', which must hold numbers"),
        (lambda t: t.assign(COW=t["COW"].where(t.index != 7)), "lacks values of 1 people, the first in line 9"),
        (lambda t: t.head(0), "has no people in it"),
        (lambda t: t.assign(WKHP=0), "has no people with work and income"),
    ],
)
def test_bad_files(change, text, tmp_path):
    (tmp_path / FOLDER).mkdir(parents=True)
    change(pd.read_csv(Path(DATA) / NE)).to_csv(tmp_path / NE, index=False)
    with pytest.raises(UserError, match=text):
        source("data.source.states=[NE]").read(tmp_path)


def test_a_file_that_is_no_table(tmp_path):
    (tmp_path / FOLDER).mkdir(parents=True)
    for content in (b"", b"\x80\x81\xff\n\xff", b"a,b\n1,2\n1,2,3\n"):
        (tmp_path / NE).write_bytes(content)
        with pytest.raises(UserError, match="psam_p31.csv is not a table of people") as error:
            source("data.source.states=[NE]").read(tmp_path)
        assert "\n" not in str(error.value)


def test_the_name_that_relp_has_since_2019(tmp_path):
    (tmp_path / "folktables/2019/1-Year").mkdir(parents=True)
    table = pd.read_csv(Path(DATA) / NE).rename(columns={"RELP": "RELSHIPP"})
    table.to_csv(tmp_path / "folktables/2019/1-Year/psam_p31.csv", index=False)
    newer = source("data.source.states=[NE]", "data.source.year=2019").read(tmp_path)
    pd.testing.assert_frame_equal(newer.inputs, source("data.source.states=[NE]").read(Path(DATA)).inputs)


def test_filter_of_folktables(tmp_path):
    (tmp_path / FOLDER).mkdir(parents=True)
    table = pd.read_csv(Path(DATA) / NE)
    table.loc[0, "AGEP"], table.loc[1, "WKHP"], table.loc[2, "PINCP"] = 16, np.nan, 100
    table.loc[1, "COW"] = np.nan  # of someone who is not kept: that is no gap
    table.to_csv(tmp_path / NE, index=False)
    assert len(source("data.source.states=[NE]").read(tmp_path).targets) == len(table) - 3
