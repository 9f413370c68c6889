"""Settings of data that would be ignored without a word: of a split that is not drawn, of text where there is none."""

import pytest
from own_tables import TABLE, jsonl, parquet, text, write

from fimo.data.language import LanguageData
from fimo.data.line_files import LineFile
from fimo.data.sentences import TextFile
from fimo.errors import UserError

SPLIT_COLUMN = ("data.source.split_column=part",)
MARKED = TABLE.assign(part=["train"] * 30 + ["test"] * (len(TABLE) - 30))


@pytest.mark.parametrize(
    "setting, expected",
    [
        ("test_size=0.3", "data.test_size must be 0.2, .* found 0.3: leave it out, or what names the test split"),
        ("random_state=7", "data.random_state must be 0, .* found 7: "),
        ("stratify=true", "data.stratify must be false, .* found true: "),
    ],
)
def test_a_split_that_is_not_drawn(setting, expected, load_table, tmp_path):
    assert len(load_table("t.csv", text(MARKED), *SPLIT_COLUMN).test_all) == len(TABLE) - 30
    with pytest.raises(UserError, match=expected):
        load_table("t.csv", text(MARKED), *SPLIT_COLUMN, f"data.{setting}")
    write(tmp_path / "later.csv", text(TABLE.tail(10)))
    with pytest.raises(UserError, match=expected):
        load_table("t.csv", text(TABLE), f"data.source.test_file={tmp_path / 'later.csv'}", f"data.{setting}")


def test_a_split_of_lines_that_is_not_drawn(tmp_path):
    for name in ("train.txt", "test.txt"):
        (tmp_path / name).write_text("one line\nanother line\n")
    few = {"name": "lines", "batch_size": 2, "task": "language", "tokenizer": None, "max_length": 8, "left_out": 1}
    source = LineFile("train.txt", test_file="test.txt")
    with pytest.raises(UserError, match="data.random_state must be 0, .* found 3"):
        LanguageData(source=source, data_dir=str(tmp_path), random_state=3, **few).load()


@pytest.mark.parametrize(
    "name, content, setting, expected",
    [
        ("t.parquet", parquet(), "encoding=latin-1", "data.source.encoding must be utf-8 for .*t.parquet, a file with"),
        ("t.parquet", parquet(), "separator=';'", "data.source.separator must be null for .*t.parquet, .* found ';'"),
        ("t.parquet", parquet(), "decimal=','", "data.source.decimal must be null for .*t.parquet, .* found ','"),
        ("t.jsonl", jsonl(), "separator=';'", "data.source.separator must be null for .*t.jsonl, a file without a use"),
    ],
)
def test_settings_of_text(name, content, setting, expected, load_table):
    with pytest.raises(UserError, match=expected):
        load_table(name, content, f"data.source.{setting}")


def test_a_setting_that_one_of_two_files_uses(load_table, tmp_path):
    write(tmp_path / "later.parquet", parquet(TABLE.tail(10)))
    later = f"data.source.test_file={tmp_path / 'later.parquet'}"
    assert len(load_table("t.csv", text(TABLE, sep=";"), later, "data.source.separator=';'").test_all) == 10


def test_the_encoding_of_sentences_in_a_parquet_file(tmp_path):
    write(tmp_path / "t.parquet", parquet(TABLE))
    with pytest.raises(UserError, match="data.source.encoding must be utf-8 for .*t.parquet"):
        TextFile("t.parquet", encoding="latin-1").read(tmp_path)
