"""Rows: positions remembered, sentences cut to the longest of those taken."""

import pytest
import torch

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
