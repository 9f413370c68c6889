"""Tables as people have them: what a line of the log says of them, and the sentence of what is refused."""

import gzip

import numpy as np
import pandas as pd
import pytest
import torch
from own_tables import DAYS, ROWS, TABLE, jsonl, parquet, text, with_column, zipped

from fimo.errors import UserError

TOLD = {
    "spellings": (
        with_column("extra", ["Yes", "yes"] * 20),
        (),
        "'extra' has the categories 'Yes' and 'yes', which differ in",
    ),
    "spellings of classes": (
        TABLE.assign(label=["Yes", "yes", "no", "no"] * 10),
        (),
        "The target 'label' has the classes 'Yes' and 'yes', which differ in",
    ),
    "a class that occurs once": (
        TABLE.assign(label=["x"] + ["a", "b"] * 19 + ["a"]),
        ("data.random_state=3",),
        "occur once",
    ),
    "rows twice": (pd.concat([TABLE] * 2), (), "training rows repeat an earlier one: leaving one of them out leaves"),
    "rows in both splits": (
        pd.concat([TABLE] * 2),
        (),
        "of 16 test rows are equal to a training row, inputs and targets",
    ),
    "labels": (TABLE.assign(label=np.arange(ROWS) % 2 * 2 - 1), (), "the labels -1, 1 are the classes 0 to 1"),
    "names that are numbers": (
        TABLE.rename(columns={name: f"{n}.5" for n, name in enumerate(TABLE) if name != "label"}),
        (),
        "is taken for the names of columns, and most of them are numbers (0.5, ",
    ),
    "semicolons": (None, (), "cells are separated by semicolons"),
}


@pytest.mark.parametrize("table, overrides, message", TOLD.values(), ids=TOLD)
def test_what_is_told(table, overrides, message, load_table, caplog):
    caplog.set_level("INFO", "fimo")
    load_table("t.csv", text(sep=";") if table is None else text(table), *overrides)
    assert message in caplog.text


BAD = {
    "one cell of text among real numbers": (
        with_column("extra", [*(f"{n / 7:.3f}" for n in range(ROWS - 1)), "?"]),
        (),
        r"numbers and text in column 'extra' \(1 of 40 cells are text, the first '\?' in line 41\)",
    ),
    "one formatted number": (
        with_column("extra", [*(f"{n / 7:.3f}" for n in range(ROWS - 1)), "1,234.5"]),
        (),
        r"numbers and text in column 'extra' \(1 of 40 cells are text, the first '1,234.5' in line 41\)",
    ),
    "dates": (
        with_column("day", DAYS.strftime("%Y-%m-%d")),
        (),
        "40 different dates in the 40 rows of column 'day' .such as '2020-08-07'.*number of days",
    ),
    "ids": (
        with_column("key", [f"k{n}" for n in range(ROWS)]),
        (),
        """40 different texts .*'key'.*'data.source.id="key"' where it""",
    ),
    "nearly all different": (
        with_column("key", [f"k{n // 2 if n < 20 else n}" for n in range(ROWS)]),
        (),
        "30 different texts",
    ),
    "currency": (
        with_column("price", ["$1,200.50", "$3.00"] * 20),
        (),
        "'price' that look like numbers .'\\$1,200.50'",
    ),
    "other currencies": (with_column("price", ["R$ 1,200", "₩3"] * 20), (), "look like numbers"),
    "per cent": (with_column("share", ["35 %", "4 %"] * 20), (), "look like numbers .'35 %'"),
    "decimal commas in quotes": (
        with_column("size", ["1,5", "2,25"] * 20),
        (),
        "look like numbers .'1,5'.*give data.source.decimal",
    ),
    "thousands": (with_column("count", ["1,200", "3"] * 20), (), "look like numbers|numbers and text"),
    "too large": (
        with_column("size", np.where(np.arange(ROWS) % 2, 1e300, 0)),
        (),
        "'size' has numbers as large as 1e.300, which single prec",
    ),
    "a sentinel": (with_column("size", [1e308, *range(1, ROWS)]), (), "'size' has numbers as large as 1e.308"),
    "too large for single precision": (
        with_column("size", np.arange(ROWS) * 1e38),
        ("data.standardise=false",),
        "as large as 3.9e.39",
    ),
    "ids that repeat": (
        with_column("key", ["a", "b"] * 20),
        ("data.source.id=key",),
        "tells rows apart, found 'a' 20 times in 'key'",
    ),
    "one role": (
        TABLE,
        ("data.source.id=kind", "data.source.weight=kind"),
        "id must name a column that is nothing else, found 'kind'",
    ),
    "three parts": (
        with_column("part", ["train", "test", "dev", "x"] * 10),
        ("data.source.split_column=part",),
        "must hold two values .* found 'dev', 'test', 'train', 'x'",
    ),
    "no test rows": (
        with_column("part", ["fit", "held"] * 20),
        ("data.source.split_column=part",),
        "one of them 'test' for test rows .data.source.split_test.",
    ),
    "no such separator": (
        TABLE,
        ("data.source.separator=';'",),
        "must name columns of .*, found 'label': it has size,count,kind,label",
    ),
    "an encoding": (
        TABLE,
        ("data.source.encoding=utf-99",),
        "data.source.encoding must be an encoding such as utf-8 or latin-1",
    ),
    "stratified numbers": (
        TABLE,
        ("data.stratify=true", "data.source.target=size", "data.task=regression"),
        "data.stratify=true is for data.task=class",
    ),
    "stratified rare class": (
        TABLE.assign(label=["x"] + ["a"] * 39),
        ("data.stratify=true",),
        "both splits, but x occurs once",
    ),
}


@pytest.mark.parametrize("table, overrides, sentence", BAD.values(), ids=BAD)
def test_what_is_refused(table, overrides, sentence, load_table):
    with pytest.raises(UserError, match=sentence) as error:
        load_table("t.csv", text(table), *overrides)
    assert "\n" not in str(error.value)


FILES = {
    "decimal points beside commas": (
        "t.csv",
        text(with_column("eighth", ["0,5", "1,5"] * 20), sep=";"),
        "numbers as text in column 'size' .'0.126' in line 2., in quotes or with another decimal sign",
    ),
    "numbers as text": ("t.jsonl", jsonl(TABLE.astype({"size": str})), "numbers as text in column 'size' .* in line 1"),
    "two files in one": ("t.csv.zip", zipped(a=text(), b=text()), "it must hold one file, found 2"),
    "a broken archive": ("t.csv.zip", text().encode(), "must be a file of text, and can't be read"),
    "a broken gzip": (
        "t.csv.gz",
        gzip.compress(text().encode())[:20] + b"\xff" * 30,
        "must be a file of text, and can't be read",
    ),
    "Latin-1": (
        "t.csv",
        text(TABLE.assign(kind=["ä", "b"] * 20)).encode("latin-1"),
        "text in UTF-8, found another byte in line 2: .*data.source.encoding",
    ),
    "not compressed": ("t.csv.gz", text().encode(), "must be a file of text, and can't be read"),
    "half an object": ("t.jsonl", jsonl()[:-20], "can't be read as JSON lines .* in line 40"),
    "lists": ("t.jsonl", '{"a": [1]}', "line 1 is no object of numbers, texts and booleans"),
    "timestamps": (
        "t.parquet",
        parquet(with_column("day", DAYS)),
        "found 'datetime64' in column 'day': make it one of these, a number of days",
    ),
    "gaps": (
        "t.parquet",
        parquet(TABLE.assign(count=TABLE["count"].astype("Int64").where(TABLE["count"] > 3))),
        "missing .*, the first in row",
    ),
}


@pytest.mark.parametrize("name, content, sentence", FILES.values(), ids=FILES)
def test_files_that_are_refused(name, content, sentence, load_table):
    with pytest.raises(UserError, match=sentence) as error:
        load_table(name, content)
    assert "\n" not in str(error.value)


def test_latin_1_by_option(load_table):
    table = TABLE.assign(kind=["ä", "b"] * 20)
    data = load_table("t.csv", text(table).encode("latin-1"), "data.source.encoding=latin-1")
    assert torch.equal(data.train.inputs, load_table("expected.csv", text(table)).train.inputs)


def test_formatted_numbers_as_categories(load_table):
    data = load_table("t.csv", text(with_column("share", ["35 %", "4 %"] * 20)), "data.source.categorical=[share]")
    assert data.inputs == 7
