"""Rows: positions remembered, sentences cut to the longest of those taken."""

import datasets
import pytest
import torch
from torch.utils.data import Dataset

from fimo.errors import UserError
from fimo.rows import Rows

LENGTHS = torch.tensor([2, 5, 3, 4])


def sentences():
    tokens = torch.arange(1, 25).reshape(4, 6)
    mask = (torch.arange(6) < LENGTHS[:, None]).long()
    inputs = {"input_ids": tokens * mask, "attention_mask": mask}
    return Rows(inputs, torch.tensor([0, 1, 1, 0]), torch.tensor([10, 11, 12, 13]), LENGTHS)


@pytest.mark.parametrize(
    "index, length",
    [
        (slice(0, 1), 2),
        (slice(None), 5),
        (torch.tensor([2, 0]), 3),
        (torch.tensor([[0, 2], [3, 0], [2, 2]]), 4),
        (torch.tensor(3), 4),
        (torch.tensor([True, False, True, False]), 3),
    ],
)
def test_sentences_are_cut_to_the_longest_taken(index, length):
    rows = sentences()
    inputs, targets = rows[index]
    for name, tensor in rows.inputs.items():
        torch.testing.assert_close(inputs[name], tensor[index][..., :length], rtol=0, atol=0)
    assert torch.equal(targets, rows.targets[index]) and rows.longest(index) == length


def test_kept_rows_remember_position_and_length():
    kept = sentences().keep(torch.tensor([2, 0])).to(dtype=torch.float64)
    assert kept.index.tolist() == [12, 10] and kept.lengths.tolist() == [3, 2]
    assert kept.inputs["input_ids"].shape == (2, 3) and kept.inputs["input_ids"].dtype == torch.int64
    assert kept.keep(slice(1, 2)).inputs["attention_mask"].tolist() == [[1, 1]]


def test_rows_of_one_size_are_not_cut():
    rows = Rows(torch.zeros(4, 6, 2), torch.zeros(4), torch.arange(4))
    assert rows[slice(0, 2)][0].shape == (2, 6, 2) and rows.longest(slice(None)) is None


def test_lengths_are_as_many_as_rows():
    with pytest.raises(UserError, match=r"must be equally many, found \[4, 4, 4, 3\]"):
        Rows(torch.zeros(4, 6), torch.zeros(4), torch.arange(4), LENGTHS[:3])


TOKENS, LABELS = torch.arange(12).reshape(4, 3), torch.tensor([0, 1, 1, 0])


class Mappings(Dataset):
    """A torch Dataset of mappings, as the transformers library's examples are, of tensors or of lists."""

    def __init__(self, form=torch.tensor):
        self.form = form

    def __len__(self):
        return 4

    def __getitem__(self, row):
        return {"input_ids": self.form(TOKENS[row].tolist()), "labels": self.form(LABELS[row].tolist())}


@pytest.mark.parametrize(
    "examples",
    [
        {"input_ids": TOKENS.numpy(), "label": LABELS.tolist()},
        Mappings(),
        Mappings(lambda values: values),
        {"input_ids": list(TOKENS), "labels": list(LABELS)},
        datasets.Dataset.from_dict({"label": LABELS.tolist(), "input_ids": TOKENS.tolist()}),
        datasets.Dataset.from_dict({"labels": LABELS.tolist(), "input_ids": TOKENS.tolist()}).with_format("numpy"),
    ],
    ids=["mapping", "torch", "torch, lists", "lists of tensors", "datasets", "datasets with a format"],
)
def test_columns_with_labels_among_them(examples):
    rows = Rows.of(examples)
    assert list(rows.inputs) == ["input_ids"] and rows.index.tolist() == [0, 1, 2, 3]
    assert torch.equal(rows.inputs["input_ids"], TOKENS) and torch.equal(rows.targets, LABELS)


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"input_ids": TOKENS}, "must have one that is called labels or label, found input_ids"),
        ({"x": TOKENS, "label": LABELS, "labels": LABELS}, "called labels or label, found x, label, labels"),
        (datasets.DatasetDict(train=datasets.Dataset.from_dict({"a": [1]})), "labels or label, found train: pass"),
        (datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}), "column text of train must be numbers"),
        ({"x": [], "label": []}, "column x of train must have a value for each row, found none"),
        (datasets.Dataset.from_dict({"x": [[1], [1, 2]], "label": [0, 1]}), "one length in all rows, found 2: pad it"),
    ],
)
def test_columns_that_are_no_rows(columns, message):
    with pytest.raises(UserError, match=message):
        Rows.of(columns, "train")


def test_real_numbers_of_columns_keep_their_digits():
    rows = Rows.of(datasets.Dataset.from_dict({"x": [[0.1], [0.2]], "label": [0.3, 0.4]}))
    assert rows.inputs["x"].tolist() == [[0.1], [0.2]] and rows.targets.tolist() == [[0.3], [0.4]]
