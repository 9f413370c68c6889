"""One method's failure is its own; numbers that can't be are refused before the work."""

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
from configs import app
from problems import NoLayers, problem
from torch import nn

import fimo
from fimo.groups import Groups
from fimo.pipeline import results
from fimo.pipeline.catalogue import method_of
from fimo.preconditioners.identity import Identity
from fimo.report.figures import curves_figure

FEW = ("experiment=diabetes", "data.test_count=5", "data.left_out=6")
NO_LAYERS = (*FEW, "model._target_=problems.NoLayers", "~model.hidden")
EKFAC = "EK-FAC needs weights of linear or two-dimensional convolution layers, and θ of the network NoLayers has none"


def test_the_others_are_compared_and_the_reason_is_everywhere(tmp_path, capsys):
    chosen = (*NO_LAYERS, "method=[grad_dot,ekfac,cg]")
    assert app(tmp_path, *chosen, "logger=csv") == 3
    assert f"EK-FAC has no scores and is left out: {EKFAC}" in capsys.readouterr().out
    folder = tmp_path / "results/diabetes"
    for name in ("curves.csv", "scores.csv", "seeds.csv"):
        assert pd.read_csv(folder / name)["method"].unique().tolist() == ["Grad-Dot", "CG"], name
    table = (folder / "table.md").read_text()
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| ")]
    assert rows[1:] == ["| Grad-Dot", "| EK-FAC", "| CG"]  # in the order in which they were chosen
    assert "| EK-FAC | – | – | – | – | – | – | – | – | – | – |" in table and EKFAC in table
    run = json.loads((folder / "run.json").read_text())
    assert run["failed"]["EK-FAC"].startswith(EKFAC) and run["methods"]["EK-FAC"] == {"failed": run["failed"]["EK-FAC"]}
    assert "EK-FAC" not in (folder / "influential.md").read_text()
    assert "not measured" not in (folder / "claims.md").read_text().split("Unrolled-GN")[0]
    (metrics,) = folder.glob("csv/*/metrics.csv")
    assert {column for column in pd.read_csv(metrics) if "live/cosine" in column} == {
        "live/cosine/grad_dot",
        "live/cosine/cg",
    }
    labels = [text.get_text() for text in curves_figure(results.read(folder), "").legends[0].get_texts()]
    assert labels[:2] == ["Grad-Dot", "CG"] and "EK-FAC" not in labels
    # The next stage knows it too, and the same command tries it again and compares nothing anew.
    assert app(tmp_path, *chosen, name="compare") == 3
    capsys.readouterr()
    assert app(tmp_path, *chosen) == 3
    assert "EK-FAC: no scores: " in (told := capsys.readouterr().out) and "comparison: found in" in told


MOODY = """
from pathlib import Path
def moody(problem):
    if not Path({flag!r}).exists():
        raise ValueError("no weather today")
    return problem.test.inputs @ problem.train.inputs[problem.left_out.rows].T
"""


def test_what_failed_is_tried_again_and_its_scores_replace_the_reason(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "weather.py").write_text(MOODY.format(flag=str(tmp_path / "sun")))
    chosen = (*FEW, "method=grad_dot", "+method.mine._target_=weather.moody")
    assert app(tmp_path, *chosen) == 3
    (reason,) = tmp_path.glob("outputs/diabetes/scores/mine-*/failure.txt")
    assert reason.read_text() == "moody raised ValueError: no weather today (weather.py, line 5)."
    (tmp_path / "sun").touch()
    assert app(tmp_path, *chosen) == 0 and not reason.exists() and reason.with_name("scores.nc").is_file()
    assert "failure.txt" not in reason.with_name("manifest.json").read_text()
    table = (tmp_path / "results/diabetes/table.md").read_text()
    assert "| moody | 1 | " in table or "| moody | 2 | " in table
    assert json.loads((tmp_path / "results/diabetes/run.json").read_text())["failed"] == {}


class Failing(Identity):
    """Raises what it is given."""

    def __init__(self, error, label="Failing"):
        super().__init__(label)
        self.error = error

    def fit(self, problem):
        raise self.error


@pytest.mark.parametrize(
    "error, text",
    [
        (
            torch.linalg.LinAlgError("linalg.eigh: failed to converge"),
            r"Failing needs the decomposition .* \(linal",
        ),
        (
            NotImplementedError("no derivative for aten::foo"),
            r"Failing needs a derivative that torch does",
        ),
        (torch.OutOfMemoryError("CUDA out of memory."), r"Failing ran out of memory \(CUDA out of memory\): choose"),
        (MemoryError(), r"Failing ran out of memory \(MemoryError\)"),
        (fimo.MethodFailed("Failing is failing."), "^Failing is failing.$"),
    ],
)
def test_what_is_a_methods_own_failure(error, text):
    with pytest.raises(fimo.MethodFailed, match=text):
        method_of(Failing(error)).scores(problem())


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("x"), fimo.UserError("a setting")])
def test_bugs_and_settings_stay_what_they_are(error):
    with pytest.raises(type(error)) as raised:
        method_of(Failing(error)).scores(problem())
    assert type(raised.value) is type(error) and str(raised.value) == str(error)


def test_an_eigendecomposition_of_what_is_not_finite():
    """As torch raises it: a training row that is far outside."""
    question = problem("regression", "linear")
    question.train.inputs[5] = 1e308
    with pytest.raises(fimo.MethodFailed, match="Exact-GN needs the decomposition|A damping of .*not finite"):
        fimo.attribute(question, "exact_gn")


def test_from_python_the_others_are_returned_with_a_warning(caplog):
    question = replace(problem(), network=NoLayers(5, 1).double().eval())
    scores = fimo.attribute(question, ["ekfac", "grad_dot"])
    assert list(scores) == ["Grad-Dot"]
    (warning,) = {record.getMessage() for record in caplog.records if record.levelname == "WARNING"}
    assert warning.startswith(f"EK-FAC has no scores and is left out: {EKFAC}")
    failing = Failing(fimo.MethodFailed("It rains."))
    with pytest.raises(fimo.MethodFailed, match=r"No method has scores. EK-FAC needs .* another method. It rains.$"):
        fimo.attribute(question, ["ekfac", failing])
    with pytest.raises(fimo.MethodFailed, match="^It rains.$"):  # the same reason once
        fimo.attribute(question, [failing, Failing(failing.error, "Again")])


def test_a_command_ends_where_every_method_fails(tmp_path):
    with pytest.raises(fimo.UserError, match=r"^EK-FAC needs .* NoLayers has none: choose another method.$"):
        app(tmp_path, *NO_LAYERS, "method=ekfac")
    assert not list(tmp_path.glob("outputs/diabetes/further/*"))


def fitted(question, rows):
    """The same rows, some of them with the targets that the network gives."""
    rows.targets.copy_(question.network(rows.inputs).detach())
    return question


@pytest.mark.parametrize(
    "make, text",
    [
        (
            lambda q: fitted(q, q.train),
            "All gradients are zero at the 4 left-out training rows, and",
        ),
        (
            lambda q: fitted(q, q.test),
            "All gradients are zero at the 4 test examples, and so",
        ),
    ],
)
def test_gradients_that_are_all_zero(make, text):
    question = make(problem(network="linear"))
    with pytest.raises(fimo.MethodFailed, match=f"^{text}"):
        fimo.attribute(question, ["grad_dot", "exact_gn"])
    question.train.targets[11] += 1  # one left-out row, and one test example, is enough
    question.test.targets[3] += 1
    assert set(fimo.attribute(question, ["grad_dot", "exact_gn"])) == {"Grad-Dot", "Exact-GN"}


def test_saturated_outputs_have_no_gradient():
    question = problem("classification", "linear")
    labels = question.network(question.train.inputs).argmax(1)
    question.train.targets.copy_(labels)
    for parameter in question.network.parameters():
        parameter.data *= 1e6
    with pytest.raises(fimo.MethodFailed, match="its outputs are saturated"):
        fimo.attribute(replace(question, left_out=Groups.of(range(8), 23)), "cg")


@pytest.mark.parametrize("choice", ["data.left_out=1", "data.left_out=[7]", "data.left_out_first=1"])
def test_one_left_out_example_is_refused_before_the_work(choice, tmp_path):
    text = "A comparison needs at least two left-out examples, found 1: effects are centred"
    with pytest.raises(fimo.UserError, match=text):
        app(tmp_path, *FEW, choice)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and ".lock" not in path.name]


@pytest.mark.parametrize(
    "command, option, text",
    [
        ("run", "further.evaluate_every=[1,9999]", r"further.evaluate_every must list steps from 1 to \d+ .*\[9999\]"),
        ("rank", "further.evaluate_every=[1,9999]", r"further.evaluate_every must list steps from 1 to \d+ .*\[9999\]"),
        (
            "verify",
            "further.evaluate_every=[1,9999]",
            r"further.evaluate_every must list steps from 1 to \d+ .*\[9999\]",
        ),
        ("rank", "rank.amounts=[9999]", r"rank.amounts.* must be a list of epochs .* found \[9999\]"),
    ],
)
def test_steps_that_are_never_reached_are_refused_before_the_work(command, option, text, tmp_path):
    with pytest.raises(fimo.UserError, match=text):
        app(tmp_path, *FEW, option, name=command)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and ".lock" not in path.name]


def test_one_left_out_example_has_scores_and_effects_but_no_comparison():
    question = problem(left_out=(3,))
    scores = fimo.attribute(question, "grad_dot")
    gold = fimo.further_train(question, fimo.FurtherTraining(torch.optim.SGD, lr=0.01, epochs=1, batch_size=8), seeds=1)
    assert scores["Grad-Dot"].shape == (4, 1) and gold.sizes["left_out"] == 1
    with pytest.raises(fimo.UserError, match="A comparison needs at least two left-out examples, found 1"):
        fimo.compare(scores, gold)


def test_a_dead_network_is_named():
    network = nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 1, bias=False)).double()
    network[0].bias.data.fill_(-1e3)
    with pytest.raises(fimo.MethodFailed, match="or its units are dead"):
        fimo.attribute(replace(problem(), network=network.eval()), ["grad_dot", "cg"])
