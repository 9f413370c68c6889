"""Ours beside other libraries: what a line says, for libraries that are right, wrong, or raise something."""

import json

import pytest
import torch

from benchmarks.peers import __main__ as peers
from fimo.errors import UserError


def right_scores(problem):
    work = peers.plain_loop(problem)
    return lambda: 2 * work()


def wrong_scores(problem):
    return lambda: torch.ones(len(problem.test), len(problem.train))


def raising_scores(problem):
    raise NotImplementedError("no such layer\nand more")


CASE = peers.Case(
    "a small MLP",
    ("experiment=diabetes", "final.epochs=1", "data.train_rows=40", "data.left_out=5", "data.test_count=3"),
    torch.float64,
    {"Grad-Dot": (right_scores, wrong_scores, raising_scores), "EK-FAC": (wrong_scores,)},
)


def test_lines_and_table(tmp_path, capsys, monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr(peers, "CASES", {"small": CASE})
    monkeypatch.setattr(peers, "ROUNDS", 1)
    peers.main([f"report={tmp_path}"])
    torch.set_num_threads(threads)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [line["library"] for line in lines] == ["right", "wrong", "raising", "plain", "wrong"]
    right, wrong, raising, plain, ekfac = lines
    for line in (right, plain):
        assert line["theirs"]["cosine"] == pytest.approx(1, abs=1e-12) and line["ratio"] > 0
    assert wrong["theirs"]["cosine"] < 0.99 and ekfac["ours"]["cosine"] == pytest.approx(1, abs=1e-12)
    assert raising["refused"] == "NotImplementedError: no such layer"
    *table, empty, notes = (tmp_path / "peers.md").read_text().splitlines()
    assert len(table) == 2 + len(lines) and "no such layer" in table[4] and empty == ""
    assert "small: a small MLP. Measured on: " in notes
    assert all(line.count("|") == table[0].count("|") for line in table)


def test_an_unknown_case():
    with pytest.raises(UserError, match="fica is no case: expected some of fico, digits"):
        peers.main(["fica"])
