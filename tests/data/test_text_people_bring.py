"""Files of sentences as people have them: pairs, JSON lines, CSV, compressed, other labels; and what is refused."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
import torch
from configs import data_module

from fimo.errors import UserError

TEXTS = [f"sentence {'good' if number % 2 else 'bad'} {number}" for number in range(12)]
OTHERS = [f"other {number % 5}" for number in range(12)]
LABELS = ["yes" if number % 2 else "no" for number in range(12)]
ROWS = [dict(zip(("text", "other", "label"), row, strict=True)) for row in zip(TEXTS, OTHERS, LABELS, strict=True)]


def tabs(*columns):
    return "\n".join("\t".join(cells) for cells in zip(*columns, strict=True)) + "\n"


def parquet(path):
    pd.DataFrame(ROWS).to_parquet(path)


def write(path, content):
    if callable(content):
        content(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def load(tmp_path):
    def from_content(name, content, *overrides, task="classification"):
        file = write(tmp_path / name, content)
        options = (f"data.source.file={file}", f"data.task={task}", "data.left_out=2", *overrides)
        return data_module("text_file", tmp_path, "experiment=reviews", *options).load()

    return from_content


SINGLE = tabs(TEXTS, LABELS)
STRATIFY = "data.stratify=true"
HEADER = "data.source.header=true"
NAMED = ("data.source.text=text", "data.source.label=label")
JSON = "\n".join(json.dumps(row) for row in ROWS)
READ = {
    "a tab": ("a.tsv", SINGLE, ()),
    "another ending": ("a.txt", SINGLE, ()),
    "compressed": ("a.tsv.gz", gzip.compress(SINGLE.encode()), ()),
    "JSON lines": ("a.jsonl", JSON, NAMED),
    "JSON lines with an empty one": ("a.jsonl", JSON.replace("\n", "\n\n", 1), NAMED),
    "CSV": ("a.csv", "text,other,label\n" + tabs(TEXTS, OTHERS, LABELS).replace("\t", ", "), (HEADER, *NAMED)),
    "Parquet": ("a.parquet", parquet, NAMED),
    "the label in front": ("a.tsv", tabs(LABELS, TEXTS), ("data.source.text=1", "data.source.label=0")),
}  # fmt: skip


@pytest.mark.parametrize("name, content, overrides", READ.values(), ids=READ)
def test_the_same_sentences(name, content, overrides, load):
    data, expected = load(name, content, *overrides), load("expected.tsv", SINGLE)
    for part in ("input_ids", "attention_mask"):
        assert torch.equal(data.train.inputs[part], expected.train.inputs[part])
    assert data.train.targets.tolist() == expected.train.targets.tolist() and data.classes == ("no", "yes")
    assert data.display("test", 0) == expected.display("test", 0)


def test_rows_are_named_by_the_lines_of_the_file(load):
    content = 'text,label\n"two\nlines",a\n' + "".join(f"word {n},{'ab'[n % 2]}\n" for n in range(9))
    data = load("a.csv", content, HEADER)
    rows = [("train", row) for row in range(8)] + [("test", row) for row in range(2)]
    lines = {data.display(*row): data.names.of(*row) for row in rows}
    assert lines["two\nlines (a)"] == "line 2" and lines["word 0 (a)"] == "line 4" and lines["word 8 (a)"] == "line 12"


def test_pairs(load):
    data = load("a.tsv", tabs(TEXTS, OTHERS, LABELS))
    first = data.train.inputs
    assert data.display("train", 0).count(" / ") == 1
    ends = [(ids == 3).nonzero().flatten().tolist() for ids in first["input_ids"]]
    assert all(len(places) == 2 for places in ends)
    for types, (middle, last), length in zip(first["token_type_ids"], ends, data.train.lengths, strict=True):
        assert types.tolist() == [0] * (middle + 1) + [1] * (last - middle) + [0] * (len(types) - last - 1)
        assert last + 1 == length


def test_several_labels_and_numbers(load):
    labels = np.arange(24).reshape(12, 2) % 3 == 0
    content = tabs(TEXTS, *labels.T.astype(int).astype(str))
    data = load("a.tsv", content, "data.source.text=0", "data.source.label=[1,2]", task="multilabel")
    assert data.outputs == 2 and data.train.targets.dtype == torch.float32
    assert set(map(tuple, data.train.targets.tolist())) <= set(map(tuple, labels.astype(float).tolist()))
    numbers = tabs(TEXTS, [f"{number / 4}" for number in range(12)])
    data = load("a.tsv", numbers, task="regression")
    targets = torch.cat([data.train.targets, data.test.targets]).flatten().tolist()
    assert data.outputs == 1 and sorted(targets) == [number / 4 for number in range(12)]
    assert data.display("train", 0).endswith(f"(1 {data.train.targets[0, 0]:g})")


def test_a_stratified_split(load):
    labels = ["rare" if number < 2 else "usual" for number in range(12)]
    data = load("a.tsv", tabs(TEXTS, labels), "data.stratify=true", "data.test_size=0.5")
    assert sorted(data.train.targets.tolist()) == sorted(data.test.targets.tolist()) == [0] + [1] * 5


@pytest.mark.parametrize(
    "labels, numbers, classes",
    [
        (["1", "2"] * 6, [0, 1], ("1", "2")),
        (["-1", "1"] * 6, [0, 1], ("-1", "1")),
        (["10", "9"] * 6, [1, 0], ("9", "10")),
        (["True", "False"] * 6, [1, 0], ("False", "True")),
    ],
)
def test_labels_are_numbered_as_everywhere(labels, numbers, classes, load):
    data = load("a.tsv", tabs([f"{number % 2}word" for number in range(12)], labels))
    assert data.classes == classes
    assert {data.display("train", row)[0]: int(data.train.targets[row]) for row in range(9)} == {
        "0": numbers[0], "1": numbers[1]
    }  # fmt: skip


BAD = {
    "names": ("a.tsv", "text\tmood\n" + tabs(TEXTS, ["0", "1"] * 6), (), "The first line of .* names columns .text"),
    "label in front": ("a.tsv", tabs(LABELS, TEXTS), (),
                       "must have classes, found 12 different.*, or name the column of labels by data.source.lab"),
    "four columns": ("a.tsv", tabs(TEXTS, TEXTS, TEXTS, LABELS), (), "the columns 0, 1, 2, 3: name the sentences by"),
    "no such column": ("a.jsonl", JSON, ("data.source.text=body",), "text must name columns of .*'body': it has text"),
    "not JSON": ("a.jsonl", JSON + "\n{", NAMED, "an object of JSON in every line, found Expecting .* in line 13"),
    "another field": ("a.jsonl", JSON + '\n{"x": 1}', NAMED, "other, label in every line, found x in line 13"),
    "empty text": ("a.jsonl", JSON + '\n{"text": null, "other": "", "label": "yes"}', NAMED, "found no sentence in"),
    "quotes": ("a.csv", 'a,1\n"b,2\n', (), "can't be read as CSV"),
    "stratify numbers": ("a.tsv", tabs(TEXTS, LABELS), (STRATIFY, "data.test_size=0.01"), "with data.stratify"),
}  # fmt: skip


@pytest.mark.parametrize("name, content, overrides, text", BAD.values(), ids=BAD)
def test_bad_files(name, content, overrides, text, load):
    with pytest.raises(UserError, match=text) as error:
        load(name, content, *overrides)
    assert "\n" not in str(error.value)


def test_a_length_without_room_for_a_token(load):
    with pytest.raises(UserError, match="data.max_length must be more than the 2 special tokens of each row, found 2"):
        load("a.tsv", SINGLE, "data.max_length=2")
    assert load("a.tsv", SINGLE, "data.max_length=3").train.inputs["input_ids"].shape[1] == 3


@pytest.mark.parametrize(
    "task, text",
    [
        ("multilabel", "needs 0 or 1 as labels, found 'no' in line 1 of .* .12 such cells."),
        ("regression", "needs numbers as labels, found 'no' in line 1"),
    ],
)
def test_labels_of_another_task(task, text, load):
    with pytest.raises(UserError, match=text):
        load("a.tsv", SINGLE, task=task)


def test_a_first_line_that_may_be_names_is_told(load, caplog):
    load("a.tsv", "text\tmood\n" + SINGLE, "data.random_state=3")
    assert "the label 'mood' is in the first line only: if this line names the columns, add data" in caplog.text
