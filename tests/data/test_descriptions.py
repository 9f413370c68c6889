"""Rows as people want to see them: their own columns, tokens, pictures, and how far a value lies from the mean."""

import numpy as np
import pandas as pd
import pytest
from configs import make_run

from fimo.descriptions import Group, Picture, Sentence, TableRow
from fimo.pipeline.results_page import describe
from fimo.pipeline.results_tables import examples_of


@pytest.fixture
def table(tmp_path):
    random = np.random.default_rng(0)
    rows = {
        "age": random.normal(40, 10, 60).round(3),
        "job": random.choice(["clerk", "cook", "driver"], 60, p=[0.6, 0.3, 0.1]),
        "bought": random.integers(0, 2, 60),
    }
    pd.DataFrame(rows).to_csv(tmp_path / "own.csv", index=False)
    source = (f"data.source.file={tmp_path}/own.csv", "data.source.target=bought", "data.task=classification")
    return pd.DataFrame(rows), make_run("data=csv", *source, "size=smoke", "data.left_out=4").dataset


def test_a_tables_row_says_how_far_it_is_from_the_training_rows(table):
    rows, data = table
    lines = [int(name.split()[1]) - 2 for name in data.names.train]
    ages, jobs = rows["age"].to_numpy()[lines], rows["job"].to_numpy()[lines]
    described = data.description("train", 3)
    assert isinstance(described, TableRow) and described.targets == [("bought", str(rows["bought"][lines[3]]))]
    age, job = described.cells
    assert age.column == "age" and float(age.text) == pytest.approx(ages[3], rel=1e-3)
    assert age.deviation == pytest.approx((ages[3] - ages.mean()) / ages.std()) and age.share is None
    one_hot = (jobs == jobs[3]).astype(float)
    assert job.text == jobs[3] and job.share == pytest.approx(one_hot.mean())
    assert job.deviation == pytest.approx((1 - one_hot.mean()) / one_hot.std())
    # A test row is held against the training rows too.
    tested = rows.iloc[int(data.names.test[1].split()[1]) - 2]
    deviation = data.description("test", 1).cells[0].deviation
    assert deviation == pytest.approx((tested["age"] - ages.mean()) / ages.std())


def test_sentences_have_the_tokens_that_the_network_sees():
    data = make_run("experiment=reviews", "size=smoke").dataset
    described = data.description("test", 2)
    assert isinstance(described, Sentence) and described.label in data.classes
    (text,), (tokens,) = described.texts, described.tokens
    assert [text[token.start : token.end].lower() for token in tokens] == [token.text for token in tokens]
    row = data.test_all.inputs["attention_mask"][2]
    assert len(tokens) == int(row.sum()) - 2  # without the first and the last special one


def test_what_is_cut_off_has_no_token_and_unknown_words_are_known_as_such():
    data = make_run("experiment=reviews", "size=smoke", "data.max_length=4").dataset
    described = data.description("train", 0)
    assert len(described.tokens[0]) == 2 and described.tokens[0][-1].end < len(described.texts[0])
    fewer = make_run("experiment=reviews", "size=smoke", "data.train_rows=20", "data.left_out=2").dataset
    tokens = [token for row in range(50) for token in fewer.description("test", row).tokens[0]]
    unknown = {token.text for token in tokens if not token.known}
    assert unknown == {"[UNK]"} and any(token.known for token in tokens)


def test_pictures_have_their_class():
    data = make_run("experiment=digits", "size=smoke").dataset
    described = data.description("train", 5)
    assert isinstance(described, Picture) and described.pixels.shape == (8, 8, 1)
    assert (described.pixels == data.display("train", 5)).all()
    place = data.train.index.tolist().index(5) if 5 in data.train.index.tolist() else None
    assert place is None or described.label == data.classes[int(data.train.targets[place])]


def test_rows_of_ones_own_are_as_they_were_displayed(tmp_path, monkeypatch):
    (tmp_path / "my_rows.py").write_text(
        "import torch\n"
        "def make():\n"
        "    inputs, targets = torch.arange(40.0).reshape(20, 2), torch.arange(20) % 2\n"
        "    return (inputs, targets), (inputs, targets)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = ("data=own", "data._target_=my_rows.make", "data.task=classification", "size=smoke", "data.left_out=4")
    data = make_run(*own).dataset
    assert data.description("train", 3) == data.display("train", 3) == "inputs 6 7; targets 1"


def test_groups_are_described_by_their_first_rows():
    data = make_run("experiment=diabetes", "size=smoke", "data.left_out=[[1,2,3,5,8],[4,6]]").dataset
    described = describe(data)("train", 0)
    assert isinstance(described, Group) and described.size == 5
    assert [name.split()[0] for name, _ in described.first] == ["1", "2", "3"]
    assert described.first[1][1] == data.description("train", 2)
    assert examples_of(data).label("train", 0) == data.left_out.names[0]
    assert examples_of(data).label("test", 3).startswith("3 (row ")
    assert isinstance(describe(data)("test", 3), TableRow)
