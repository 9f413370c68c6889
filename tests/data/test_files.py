"""Tables of one's own: what becomes of each kind of column, the errors for bad ones, and where results go."""

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
import sklearn.datasets
from configs import DATA, app, config, data_module, make_run, needs_data
from hydra.utils import instantiate
from sklearn.model_selection import train_test_split

from fimo.app.config import run_of
from fimo.data.features import Features
from fimo.data.tables import Table
from fimo.errors import UserError
from fimo.pipeline import addresses

FIRST, HELD_OUT = (rows[0] for rows in train_test_split(range(442), test_size=0.2, random_state=0))


@pytest.fixture(scope="module")
def diabetes():
    """Real rows with columns of every kind."""
    table = sklearn.datasets.load_diabetes(as_frame=True, scaled=False).frame
    sex = np.where(table["sex"] == 1, "a", "b")
    decade = (table["age"] // 20).astype(int)
    return pd.DataFrame(
        {"bmi": table["bmi"], "sex": sex, "decade": decade, "high": table["bp"] > 90, "y": table["target"]}
    ).assign(label=np.select([table["target"] < 100, table["target"] < 200], ["low", "middle"], "severe"))


@pytest.fixture
def load(tmp_path, diabetes):
    """Writes the rows with changes and loads them."""

    def run(change=lambda table: table, *overrides, task="classification", target="label", name="table.csv"):
        path = tmp_path / name
        changed = change(diabetes)
        if isinstance(changed, bytes):
            path.write_bytes(changed)
        elif path.suffix == ".parquet":
            changed.to_parquet(path)
        else:
            changed.to_csv(path, index=False)
        return data_module("csv", DATA, *options(path, target, task), *overrides).load()

    return run


def options(path, target="label", task="classification"):
    return f"data.source.file={path}", f"data.source.target={target}", f"data.task={task}"


@pytest.mark.parametrize("name", ["table.csv", "TABLE.CSV", "table.parquet"])
def test_every_kind_of_column_against_pandas(load, diabetes, name):
    data = load(lambda table: table, "data.source.categorical=[decade]", "data.source.drop=[y]", name=name)
    assert (len(data.train), len(data.test_all), len(data.test), len(data.left_out)) == (353, 89, 50, 50)
    one_hot = pd.get_dummies(diabetes.drop(columns=["y", "label"]), columns=["sex", "decade", "high"], dtype=float)
    train, test = train_test_split(one_hot.to_numpy(), test_size=0.2, random_state=0)
    mean, std = train[:, 0].mean(), train[:, 0].std()
    for rows, expected in ((data.train, train), (data.test_all, test)):
        expected[:, 0] = (expected[:, 0] - mean) / std
        np.testing.assert_allclose(rows.inputs, expected, rtol=1e-5, atol=1e-6)
    row = diabetes.iloc[FIRST]
    cells = f"bmi {row['bmi']:g}, sex={row['sex']}, decade={row['decade']}, high={row['high']}"
    assert data.display("train", 0) == f"label: {row['label']}; {cells}"


def test_names_of_features(diabetes):
    inputs = diabetes[["sex", "bmi", "decade"]].astype({"decade": float})
    table = Table(inputs, diabetes["y"].to_numpy(), "y", {"sex": None, "decade": np.array([0, 1, 2, 3, 9])})
    features = Features.of(table, np.arange(400))
    assert features.names == ("bmi", "sex=a", "sex=b", "decade=0", "decade=1", "decade=2", "decade=3", "decade=9")
    assert (features.dense()[:, 7] == 0).all()  # a category that the table has and no row


@pytest.mark.parametrize(
    "labels",
    [
        lambda table: table["label"],
        lambda table: table["label"].map({"low": -5, "middle": 7, "severe": 10**6}),
        lambda table: table["label"].map({"low": 1.0, "middle": 2.0, "severe": 3.0}),
        lambda table: table["label"].astype("category"),
        lambda table: table["label"].map({"low": 0, "middle": 1, "severe": 2}).astype("Int64"),
        lambda table: table["label"] != "low",
    ],
)
@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_labels_are_numbered_in_sorted_order(load, diabetes, labels, name):
    data = load(lambda table: table.assign(label=labels(table)), name=name)
    numbers = {label: number for number, label in enumerate(sorted(set(labels(diabetes))))}
    expected = [numbers[label] for label in labels(diabetes)]
    train, test = train_test_split(expected, test_size=0.2, random_state=0)
    assert data.outputs == len(numbers)
    assert data.train.targets.tolist() == train and data.test_all.targets.tolist() == test


def test_regression(load, diabetes):
    data = load(lambda table: table.drop(columns="label"), task="regression", target="y", name="table.parquet")
    train, test = train_test_split(diabetes["y"].to_numpy(), test_size=0.2, random_state=0)
    np.testing.assert_allclose(data.test_all.targets[:, 0], (test - train.mean()) / train.std(), rtol=1e-5)
    assert data.outputs == 1 and data.display("test", 0).startswith(f"y: {test[0]:g}; bmi ")


def test_few_rows_and_a_path_from_the_working_directory(load, diabetes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    diabetes.head(40).to_csv("few.csv", index=False)
    data = data_module("csv", "nowhere", *options("few.csv")).load()
    assert (len(data.train), len(data.test), len(data.left_out)) == (32, 8, 32)
    assert len(data_module("csv", "nowhere", *options("few.csv"), "data.left_out=[1,5]").load().left_out) == 2


def cell(column, row, value):
    """Change one cell."""
    return lambda table: table.assign(**{column: table[column].astype(object).where(table.index != row, value)})


BAD = {
    "no value": (lambda t: t.assign(bmi=np.nan), r"no value at all in column 'bmi': drop it with .*drop=\[\"bmi\"\]"),
    "missing": (cell("sex", 3, None), "found 1 missing .*, the first in line 5, column 'sex'"),
    "NA": (cell("bmi", 0, "NA"), "found 1 missing .*, the first in line 2, column 'bmi'"),
    "missing target": (cell("label", 9, None), "found 1 missing .*, the first in line 11, column 'label'"),
    "constant": (lambda t: t.assign(bmi=2.5), "has the one value '2.5' in all rows of column 'bmi'"),
    "constant text": (lambda t: t.assign(sex="a"), "has the one value 'a' in all rows of column 'sex'"),
    "text": (cell("bmi", 4, "fat"), r"text in column 'bmi' \(1 of 442 cells are text, the first 'fat' in line 6"),
    "infinite": (cell("bmi", 4, "inf"), "must hold finite numbers, found inf in line 6 of column 'bmi'"),
    "one class": (lambda t: t.assign(label="x"), "target 'label' must have two or more classes, found 'x' only"),
    "all classes": (
        lambda t: t.assign(label=[f"i{row}" for row in t.index]),
        r"target 'label' must have classes, found 442 different labels in 442 rows \(such as 'i0'",
    ),
    "rare class": (
        cell("label", HELD_OUT, "rare"),
        "every class in a training row, found 'rare' in test rows only",
    ),
    "rare category": (cell("sex", HELD_OUT, "c"), r"Column 'sex' has the category 'c' in the test split \(1 test rows"),
    "no column": (lambda t: t.rename(columns={"label": "z"}), "found 'label': it has bmi, sex, decade, high, y, z"),
    "no inputs": (lambda t: t[["label"]], "must hold an input column, found the target 'label' alone"),
    "no rows": (lambda t: t.head(0), "must hold rows below the names of its columns, found none"),
    "one row": (lambda t: t.head(1), "has the one value"),
    "empty": (lambda t: b"", r"can't be read as a CSV table \(No columns to parse"),
    "no names twice": (lambda t: b"a,a,label\n1,2,x\n3,4,y\n", "a name of its own for each column, found 'a' twice"),
    "nameless": (
        lambda t: t.reset_index(names=""),
        r"without a name .* drop it with 'data.source.drop=\[\"Unnamed: 0\"\]",
    ),
    "long rows": (lambda t: b"a,label\n1,x,2\n3,y,4\n", "can't be read as a CSV table"),
    "one long row": (lambda t: b"a,label\n1,x\n3,y,4\n", r"can't be read as a CSV table .*Expected 2 fields in line 3"),
    "short row": (lambda t: b"a,b,label\n1,2,x\n3,4\n", "found 1 missing .*, the first in line 3, column 'label'"),
    "no text": (
        lambda t: b"\xff\xfe\x00\x01",
        "must be text in UTF-8, found another byte in line 1: save it so",
    ),
}


@pytest.mark.parametrize("change, text", BAD.values(), ids=BAD)
def test_bad_tables(load, change, text):
    with pytest.raises(UserError, match=text) as error:
        load(change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda t: b"bmi,label\n1,x\n", "can't be read as a parquet table"),
        (lambda t: t.assign(t=pd.date_range("2000-01-01", periods=len(t))), "found 'datetime64' in column 't'"),
        (lambda t: t.assign(t=[[1, 2]] * len(t)), "must hold numbers, text or booleans, found 'mixed' in column 't'"),
    ],
)
def test_bad_parquet(load, change, text):
    with pytest.raises(UserError, match=text) as error:
        load(change, name="table.parquet")
    assert "\n" not in str(error.value)


def test_parquet_with_a_name_twice(tmp_path):
    table = pyarrow.table(
        [pyarrow.array([1, 2]), pyarrow.array([3, 4]), pyarrow.array(["x", "y"])], ["a", "a", "label"]
    )
    pyarrow.parquet.write_table(table, tmp_path / "twice.parquet")
    with pytest.raises(UserError, match="a name of its own for each column, found 'a' twice"):
        data_module("csv", DATA, *options(tmp_path / "twice.parquet")).load()


@pytest.mark.parametrize(
    "overrides, text",
    [
        (["data.source.drop=[nope]"], "data.source.drop must name columns of .*, found 'nope': it has bmi, sex"),
        (["data.source.categorical=[nope]"], "data.source.categorical must name columns"),
        (
            ["data.source.drop=[label]"],
            "must name a column that is nothing else, found 'label', which data.source.",
        ),
        (["data.task=regression"], r"needs numbers in the target 'label', found '\w+' in line 2 \(442 of 442 values"),
        (["data.source.target=bmi"], "must have classes, found the number 32.1: choose data.task=regression"),
        (["data.source.file=table.xlsx"], "must end in .csv, .*or .parquet, found 'table.xlsx'"),
        (["data.source.file=/nowhere.csv"], "must be a file of a table, found none at /nowhere.csv"),
        (["data.source.sha256=abc"], "must have the data.source.sha256 abc, found [0-9a-f]{64}"),
        (["data.test_size=0.999"], "data.test_size=0.999 of 442 rows leaves none for training"),
    ],
)
def test_bad_settings(load, overrides, text):
    with pytest.raises(UserError, match=text):
        load(lambda table: table, *overrides)


def test_a_constant_target_of_regression(load):
    with pytest.raises(UserError, match="The target 'y' has one value in all training rows"):
        load(lambda table: table.assign(y=1.5), task="regression", target="y")


def test_results_know_the_content(tmp_path, diabetes):
    def address(*overrides):
        run = make_run("data=csv", *options(tmp_path / "table.csv"), f"paths.output_dir={tmp_path}", *overrides)
        return addresses.final_model(run).folder, addresses.scores(run, "cg").folder

    diabetes.to_csv(tmp_path / "table.csv", index=False)
    before = address()
    assert before == address() and before[0].parts[-3] == "csv"
    diabetes.assign(bmi=diabetes["bmi"] + 1).to_csv(tmp_path / "table.csv", index=False)
    assert not set(before) & set(address())
    diabetes.to_csv(tmp_path / "table.csv", index=False)
    assert before == address()
    assert not set(before) & set(address("data.source.categorical=[decade]"))


@needs_data
def test_results_know_the_content_of_people_too(tmp_path):
    source = config("data=folktables", "data.source.states=[NE]")
    folder = tmp_path / "folktables/2018/1-Year"
    folder.mkdir(parents=True)
    whole = pd.read_csv(f"{DATA}/folktables/2018/1-Year/psam_p31.csv")
    found = []
    for table in (whole, whole.head(5000), whole):
        table.to_csv(folder / "psam_p31.csv", index=False)
        source.paths.data_dir = str(tmp_path)
        found.append(addresses.final_model(run_of(source)).hash)
    assert found[0] == found[2] != found[1]


def test_a_whole_run(tmp_path, diabetes):
    diabetes.to_csv(tmp_path / "table.csv", index=False)
    assert app(tmp_path, "data=csv", *options(tmp_path / "table.csv"), "name=mine") == 0
    assert (tmp_path / "results/mine/curves.png").is_file()
    assert instantiate(config("data=csv", *options("x.csv")).data.source).sha256 is None
