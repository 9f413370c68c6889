"""Tables as people have them: every kind of file, column and name, and what comes out: rows, or a sentence."""

import gzip
import lzma
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch
from configs import DATA, data_module, needs_data
from own_tables import CLASSES, DAYS, ROWS, TABLE, TEST, TRAIN, jsonl, parquet, text, with_column, write, zipped

from fimo.errors import UserError

SAME = {
    "CSV": ("t.csv", text(), ()),
    "spaces behind commas": ("t.csv", text().replace(",", ", "), ()),
    "tabs": ("t.tsv", text(sep="\t"), ()),
    "tabs in .txt": ("t.txt", text(sep="\t"), ()),
    "semicolons": ("t.csv", text(sep=";"), ()),
    "semicolons and decimal commas": ("t.csv", text(sep=";", decimal=","), ()),
    "bars": ("t.csv", text(sep="|"), ()),
    "a separator by option": ("t.csv", text(sep="^"), ("data.source.separator='^'",)),
    "decimal commas by option": ("t.csv", text(sep=";", decimal=","), ("data.source.decimal=','",)),
    "gzip": ("t.csv.gz", gzip.compress(text().encode()), ()),
    "xz": ("t.tsv.xz", lzma.compress(text(sep="\t").encode()), ()),
    "zip": ("t.csv.zip", zipped(table=text()), ()),
    "a byte-order mark": ("t.csv", b"\xef\xbb\xbf" + text().encode(), ()),
    "UTF-16": ("t.csv", text().encode("utf-16"), ("data.source.encoding=utf-16",)),
    "line ends of Windows": ("t.csv", text().replace("\n", "\r\n"), ()),
    "blank lines": ("t.csv", text().replace("\n", "\n\n", 9), ()),
    "JSON lines": ("t.jsonl", jsonl(), ()),
    "JSON lines compressed": ("t.jsonl.gz", gzip.compress(jsonl().encode()), ()),
    "Parquet": ("t.parquet", parquet(), ()),
    "nullable types": ("t.parquet", parquet(TABLE.convert_dtypes()), ()),
    "categories": ("t.parquet", parquet(TABLE.astype({"kind": "category", "label": "category"})), ()),
    "decimals": ("t.parquet", parquet(TABLE.assign(size=[Decimal(str(number)) for number in TABLE["size"]])), ()),
    "an index of its own": ("t.parquet", parquet(TABLE.set_index("size")[["count", "kind", "label"]]), ()),
    "a range as the index": ("t.parquet", parquet(TABLE.set_axis(range(7, 7 + 3 * ROWS, 3))), ()),
    "row numbers left by a filter": ("t.parquet", parquet(TABLE.set_axis(np.arange(ROWS) ** 2)), ()),
    "a dropped column of long texts": ("t.csv", text(with_column("note", "x" * 140000)), ("data.source.drop=[note]",)),
    "an id": ("t.csv", text(with_column("key", [f"k{n}" for n in range(ROWS)])), ("data.source.id=key",)),
    "dropped dates": ("t.csv", text(with_column("day", DAYS)), ("data.source.drop=[day]",)),
    "labels with another name": ("t.csv", text(TABLE.rename(columns={"label": "yes"})), ("data.source.target=yes",)),
}


@pytest.mark.parametrize("name, content, overrides", SAME.values(), ids=SAME)
def test_the_same_rows(name, content, overrides, load_table):
    data, expected = load_table(name, content, *overrides), load_table("expected.csv", text())
    for rows, others in ((data.train, expected.train), (data.test_all, expected.test_all)):
        assert torch.equal(rows.inputs, others.inputs) and torch.equal(rows.targets, others.targets)


@needs_data
@pytest.mark.parametrize("ending, write", [("csv.gz", "to_csv"), ("parquet", "to_parquet"), ("jsonl", "to_json")])
def test_real_rows_are_the_same_bit_for_bit_in_every_format(ending, write, tmp_path):
    table = pd.read_csv(f"{DATA}/fico/heloc_dataset_v1.csv").head(600)
    options = {"to_csv": {"index": False, "sep": ";"}, "to_json": {"orient": "records", "lines": True}}.get(write, {})
    table.to_csv(tmp_path / "t.csv", index=False)
    getattr(table, write)(tmp_path / f"t.{ending}", **options)
    target = "data.source.target=RiskPerformance"
    loaded = [
        data_module("csv", DATA, f"data.source.file={tmp_path}/t.{kind}", target, CLASSES).load()
        for kind in ("csv", ending)
    ]  # fmt: skip
    assert torch.equal(loaded[0].train.inputs, loaded[1].train.inputs) and loaded[0].classes == loaded[1].classes


NAMES = {
    "lines": ("t.csv", text(), (), lambda row: f"line {row + 2}"),
    "lines behind a blank one": ("t.csv", "\n" + text(), (), lambda row: f"line {row + 3}"),
    "lines of JSON": ("t.jsonl", jsonl(), (), lambda row: f"line {row + 1}"),
    "rows of Parquet": ("t.parquet", parquet(), (), lambda row: f"row {row}"),
    "ids with zeros": (
        "t.csv",
        text(with_column("key", ["1", "01", *(f"{row:03d}" for row in range(2, ROWS))])),
        ("data.source.id=key",),
        lambda row: f"id {['1', '01'][row] if row < 2 else f'{row:03d}'}",
    ),
    "ids with decimals": (
        "t.parquet",
        parquet(with_column("key", np.arange(ROWS) + 1000000.25)),
        ("data.source.id=key",),
        lambda row: f"id {row + 1000000}.25",
    ),
    "ids": ("t.csv", text(with_column("key", range(900, 940))), ("data.source.id=key",), lambda row: f"id {row + 900}"),
}


@pytest.mark.parametrize("name, content, overrides, expected", NAMES.values(), ids=NAMES)
def test_rows_are_called_as_their_file_calls_them(name, content, overrides, expected, load_table):
    data = load_table(name, content, *overrides)
    assert [data.names.of("train", row) for row in range(len(TRAIN))] == [expected(row) for row in TRAIN]
    assert [data.names.of("test", row) for row in range(len(TEST))] == [expected(row) for row in TEST]


def test_cells_with_line_breaks_are_counted(load_table):
    data = load_table(
        "t.csv", text(TABLE.assign(kind=[["c", "a\nb"][row in (TRAIN[0], TRAIN[1])] for row in range(ROWS)]))
    )
    breaks = np.cumsum(np.isin(np.arange(ROWS), TRAIN[:2])) - np.isin(np.arange(ROWS), TRAIN[:2])
    names = [data.names.of("train", row) for row in range(len(TRAIN))]
    assert names == [f"line {row + 2 + breaks[row]}" for row in TRAIN]


def test_decimal_commas_beside_dates_versions_and_thousands(load_table):
    """A point makes no number of a text that isn't one: 07.08.2020 was 7082020, and 1.2.3 was 123."""
    table = with_column("size", np.array(["0,5", "1.234,5", "2,25", "1,5e-05"])[np.arange(ROWS) % 4]).assign(
        count=np.array(["1.234", "2.000.000", "7"])[np.arange(ROWS) % 3],
        version=np.array(["1.2.3", "1.10.0"])[np.arange(ROWS) % 2],
        day=np.array(["07.08.2020", "08.08.2020"])[np.arange(ROWS) % 2],
    )
    expected = table.assign(
        size=np.array([0.5, 1234.5, 2.25, 1.5e-05])[np.arange(ROWS) % 4],
        count=np.array([1234, 2000000, 7])[np.arange(ROWS) % 3],
    )
    for overrides in ((), ("data.source.decimal=','",)):
        data = load_table("t.csv", text(table, sep=";"), *overrides)
        assert torch.equal(data.train.inputs, load_table("expected.csv", text(expected)).train.inputs)


class TestSplits:
    def test_a_file_of_test_rows(self, load_table, tmp_path):
        TABLE.tail(10)[["label", "kind", "count", "size"]].to_csv(tmp_path / "later.csv", index=False)
        data = load_table("t.csv", text(TABLE.head(30)), f"data.source.test_file={tmp_path / 'later.csv'}")
        assert (len(data.train), len(data.test_all)) == (30, 10)
        assert data.names.of("train", 0) == "line 2" and data.names.of("test", 9) == "line 11 of later.csv"
        head = TABLE["size"].head(30).to_numpy()
        expected = (TABLE["size"].to_numpy() - head.mean()) / head.std()
        np.testing.assert_allclose(torch.cat([data.train.inputs, data.test_all.inputs])[:, 0], expected, rtol=1e-5)

    @pytest.mark.parametrize(
        "values, overrides",
        [(("train", "test"), ()), (("Train", "Test"), ()), ((False, True), ("data.source.split_test=true",)),
         ((0, 1), ("data.source.split_test=1",)), (("fit", "held out"), ("data.source.split_test='held out'",))],
    )  # fmt: skip
    def test_a_column_that_says_it(self, values, overrides, load_table):
        table = with_column("part", [values[row % 4 == 3] for row in range(ROWS)])
        data = load_table("t.csv", text(table), "data.source.split_column=part", *overrides)
        assert [data.names.of("test", row) for row in range(10)] == [f"line {row + 2}" for row in range(3, ROWS, 4)]
        assert data.train.inputs.shape == (30, 5)

    def test_the_same_share_of_each_class(self, load_table):
        table = TABLE.assign(label=["rare" if row < 10 else "usual" for row in range(ROWS)])
        data = load_table("t.csv", text(table), "data.stratify=true")
        assert torch.bincount(data.test_all.targets).tolist() == [2, 6]

    def test_numbers_as_they_are(self, load_table):
        data = load_table(
            "t.csv", text(), "data.standardise=false", task="data.task=regression", target="data.source.target=size"
        )
        sizes = TABLE["size"].to_numpy(dtype="float32")
        assert data.train.targets[:, 0].tolist() == sizes[TRAIN].tolist()
        assert data.train.inputs[:, 0].tolist() == TABLE["count"][TRAIN].tolist()


def test_missing_texts_that_are_values(load_table):
    table = text(TABLE.assign(kind=np.array(["NA", "None", "c"])[np.arange(ROWS) % 3]))
    with pytest.raises(UserError, match=r"found 27 missing .*, the first in line 2, .*add 'data.source.missing=\[\]'"):
        load_table("t.csv", table)
    assert "kind=NA" in load_table("t.csv", table, "data.source.missing=[]").display("train", int(np.argmin(TRAIN % 3)))
    with pytest.raises(UserError, match="found 13 missing"):
        load_table("t.csv", table, "data.source.missing=[None]")
    with pytest.raises(UserError, match="found 1 missing"):
        load_table("t.csv", text().replace(",a,", ",,", 1), "data.source.missing=[]")
    with pytest.raises(UserError, match="found 1 missing .* columns.$"):
        load_table("t.csv", text().replace(",a,", ",,", 1))
    with pytest.raises(UserError, match="found 14 missing .* where 'a' is a value"):
        load_table("t.parquet", parquet(), "data.source.missing=[a]")


@pytest.mark.parametrize(
    "columns, target, overrides",
    [
        (["0", "1", "2", "3"], "data.source.target=3", ()),
        (["size", "count", "kind", "1.0"], "data.source.target=1.0", ()),
        (["size", "count", "on", "no"], "data.source.target=no", ("data.source.categorical=['on']",)),
        (["Größe", "Anzahl (je m²)", "a,b=c", "über > 50K"], "data.source.target='über > 50K'", ()),
    ],
)
def test_names_of_columns_are_compared_as_text(columns, target, overrides, load_table):
    table = TABLE.set_axis(columns, axis=1)
    data = load_table("t.csv", text(table), *overrides, target=target)
    assert torch.equal(data.train.inputs, load_table("expected.csv", text()).train.inputs)


def test_a_name_that_yaml_has_changed(load_table, tmp_path):
    table = TABLE.set_axis(["size", "count", "kind", "yes"], axis=1)
    module = data_module("csv", DATA, f"data.source.file={tmp_path / 't.csv'}", "data.source.target=label", CLASSES)
    write(tmp_path / "t.csv", text(table))
    object.__setattr__(module.source, "target", True)
    assert module.load().classes == ("no", "yes")
    write(tmp_path / "t.csv", text(table.rename(columns={"size": "1", "count": "@ [", "kind": "a: b: c"})))
    assert module.load().classes == ("no", "yes")  # true is not 1, and a name need not be YAML
    write(tmp_path / "t.csv", text(table.assign(on=1)))
    with pytest.raises(UserError, match="must name columns of .*, found 'True': .*write 'data.source.target=\"yes\"'"):
        module.load()
    write(tmp_path / "t.csv", text(TABLE.set_axis(["size", "count", "kind", "010"], axis=1)))
    object.__setattr__(module.source, "target", 10)
    assert module.load().classes == ("no", "yes")
