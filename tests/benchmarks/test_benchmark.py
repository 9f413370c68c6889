"""The benchmark: what it measures is what it says, on small work."""

import json

import pytest
import torch
from problems import problem

from benchmarks import command as benchmark
from benchmarks import comparison, report, scaling, start, timing, training
from fimo.errors import UserError
from fimo.further_training.ensemble import Ensemble
from fimo.further_training.leave_out import every_step

FEW = ("data.train_rows=60", "data.left_out=3", "data.test_count=3")


def test_the_limit_is_the_products_of_a_step():
    """Of three layers: forward, for the weights, and for the inputs of the last two (not the data); the sum twice."""
    ensemble = Ensemble(
        problem(), torch.zeros(5, dtype=torch.long), lambda p: torch.optim.SGD(p, lr=0.1), runs_per_chunk=5
    )
    (batch, *_) = every_step(torch.arange(23)[None], 23, torch.tensor([[-1], [0], [3], [11], [22]]))
    with timing.MatrixProducts() as products:
        ensemble.step(batch)
    assert len(products.calls) == 3 + 3 + 2 + 2
    products.again()


def test_what_is_no_matrix_product_has_no_limit():
    line = timing.measured("sum", "small", lambda: torch.ones(10).sum(), lambda: 1.0, rounds=3)
    assert line["share"] is None and line["ratio"] > 1 and line["threads"] == torch.get_num_threads()


def test_exponents_of_known_costs(monkeypatch):
    spent = []

    def clock(work):
        spent.append(work())
        return spent[-1]

    monkeypatch.setattr(scaling, "seconds", clock)
    works = {amount: lambda amount=amount: 0.01 * amount**1.5 for amount in (1, 2, 4)}
    line = scaling.grown("work", "rows", works)
    assert line["exponent"] == 1.5 and len(spent) == 3 * scaling.ROUNDS


def test_memory_is_that_of_the_work_alone():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    taken = [timing.peak_mib(lambda count=count: torch.ones(count * 2**18).sum()) for count in (64, 128, 256)]
    torch.set_num_threads(threads)
    assert all(count <= mib < count + 16 for count, mib in zip((64, 128, 256), taken, strict=True))
    with pytest.raises(RuntimeError, match="ZeroDivisionError: division by zero"):
        timing.peak_mib(lambda: 1 / 0)


def test_exponents_in_one_table():
    line = {"what": "CG", "of": "rows", "points": {1: 1.0, 2: 4.0}, "exponent": 2.0, "device": "CPU", "date": "today"}
    lines = [{**line, "MiB": {1: 100, 2: 200}, "memory_exponent": 1.0}]
    lines.append({**line, "what": "DataInf", "of": "tests", "MiB": {1: 3, 2: 5}, "memory_exponent": 0.7})
    text = report.markdown(lines)
    assert "| exponent of time, and of memory | rows | tests |" in text
    assert "| CG | 2.00, 1.00 |  |" in text and "| DataInf |  | 2.00, flat |" in text
    assert "| CG | rows | 1: 1.0, 2: 4.0 | 1: 100, 2: 200 |" in text


@pytest.mark.slow
def test_lines_and_report(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(training, "SIZES", {"reviews": (FEW, 1, 1)})
    monkeypatch.setattr(comparison, "SEEDS", 3)
    monkeypatch.setattr(comparison, "STEPS", 2)
    threads = torch.get_num_threads()
    benchmark.main(["further_training", "comparison", f"report={tmp_path}"])
    torch.set_num_threads(threads)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [line["what"] for line in lines] == ["further training"] * 3 + ["comparison"]
    assert all(line["seconds"] > 0 and line["ratio"] > 0 for line in lines)
    assert all(0 < line["share"] < 1 and line["peak_MiB"] > 0 and "tokens/s" in line["rate"] for line in lines[:2])
    assert "2 seeds in as many processes" in lines[2]["size"] and "peak_MiB" not in lines[2]
    text = (tmp_path / "benchmark.md").read_text()
    assert text.count("| further training |") == 3 and "Measured on: " in text
    assert len((tmp_path / "benchmark.jsonl").read_text().splitlines()) == len(lines)


def test_unknown_parts_are_said():
    with pytest.raises(UserError, match="traning is no part of the benchmark: expected some of further_training"):
        benchmark.main(["traning"])


def test_the_paper_s_sizes_whole(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="device=cuda needs a GPU that torch can use, found none"):
        benchmark.main(["paper_gpu"])
    monkeypatch.setattr(training, "WHOLE", ("diabetes",))
    few = ("device=cpu", "size=smoke", "data.left_out=3", "data.test_count=3")
    measured = training.paper_sizes
    monkeypatch.setattr(training, "paper_sizes", lambda make_run: measured(make_run, *few))
    benchmark.main(["paper_gpu"])
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert line["size"] == "diabetes: 2 seeds (at once: 1) × 4 runs × 2 epochs, every_step" and line["seconds"] > 0


@pytest.mark.slow
def test_the_parts_of_a_run_that_computes_nothing(monkeypatch):
    monkeypatch.setattr(start, "ROUNDS", 1)
    whole, *parts = start.start()
    assert whole["size"] == "all of it" and whole["seconds"] > 0
    names = [line["size"] for line in parts]
    assert names == [*(f"import of {name}" for name in start.IMPORTS), "done once in a process", "composing",
                     "reading rows", "finding results"]  # fmt: skip
    assert all(line["seconds"] > 0 for line in parts if line["size"].startswith("import"))
