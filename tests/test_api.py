"""The stages from Python: `import fimo` and a script of one's own."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.utils.data import TensorDataset

import fimo
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.neumann_series import NeumannSeries

ROOT = Path(__file__).parents[1]


def rows(count, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 5, generator=generator)
    return inputs, (inputs[:, 0] + 0.3 * torch.randn(count, generator=generator) > 0).long()


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(0.0), nn.Linear(8, 2))


@pytest.fixture
def problem(network):
    return fimo.Problem(network, fimo.CrossEntropy(), train=rows(60, 1), test=rows(6, 2), left_out=range(0, 60, 10))


@pytest.fixture
def training():
    return fimo.FurtherTraining(torch.optim.SGD, lr=0.05, epochs=3, batch_size=16)


def test_the_three_calls(problem, training):
    gold = fimo.further_train(problem, training, seeds=3)
    assert gold["loss_left_out"].dims == ("seed", "step", "test", "left_out") and gold["seed"].values.tolist() == [
        0,
        1,
        2,
    ]
    assert gold["loss_full"].dims == ("seed", "step", "test") and gold["epoch"].values.tolist() == [1, 2, 3]
    assert gold["left_out"].values.tolist() == list(range(0, 60, 10))
    scores = fimo.attribute(problem, ["grad_dot", "cg", "unrolled_gn"], training)
    assert list(scores) == ["Grad-Dot", "CG", "Unrolled-GN"]
    assert scores["Grad-Dot"].dims == ("test", "left_out") and scores["Unrolled-GN"].dims == (
        "step",
        "test",
        "left_out",
    )
    comparison = fimo.compare(scores, gold)
    first = comparison.curves.query("adjustment == 'centred' and step == 4").set_index("method")["cosine_mean"]
    assert first["Grad-Dot"] > 0.7 and first["Unrolled-GN"] > 0.7
    assert len(comparison.seeds) and len(comparison.reliability)
    assert comparison.figure("one").axes[0].lines


@pytest.mark.parametrize("method", ["unrolled_gn", "matched_gn"])
def test_clipping_that_a_method_neglects_is_noted(problem, training, method):
    clipped = fimo.FurtherTraining(torch.optim.SGD, lr=0.05, epochs=3, batch_size=16, clip=0.5)
    for followed, notes in ((training, 0), (clipped, 1)):
        (score,) = fimo.attribute(problem, method, followed).values()
        assert sum("clips gradients to the norm 0.5" in note for note in score.attrs["notes"]) == notes
    assert not any("clips" in note for note in fimo.attribute(problem, "cg", clipped)["CG"].attrs["notes"])


def test_the_callers_network_is_untouched(network, training):
    network.train()
    network[0].weight.requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    problem = fimo.Problem(network, fimo.CrossEntropy(), rows(30, 1), rows(4, 2), left_out=[0, 7])
    fimo.further_train(problem, training, seeds=1)
    lissa_h = NeumannSeries("LiSSA-H", "hessian", Damping(1.0), depth=3, batch_size=None, scales=[100])
    fimo.attribute(problem, ["grad_dot", lissa_h])
    assert network.training and network[0].training and not network[0].weight.requires_grad
    assert network[3].weight.requires_grad and all(p.grad is None for p in network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


class TwoInputs(nn.Module):
    """Takes a mapping."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(5, 2), nn.Linear(1, 2)

    def forward(self, inputs):
        return self.left(inputs["many"]) + self.right(inputs["one"])


def test_rows_come_in_many_forms(network, training):
    (inputs, targets), test = rows(40, 1), rows(5, 2)
    forms = [(inputs, targets), (inputs.numpy(), targets.numpy()), TensorDataset(inputs, targets)]
    scores = []
    for form in forms:
        problem = fimo.Problem(network, fimo.CrossEntropy(), form, test, left_out=np.array([1, 2]))
        scores.append(fimo.attribute(problem, "grad_dot")["Grad-Dot"])
    for other in scores[1:]:
        xr.testing.assert_equal(scores[0], other)

    def mapping(inputs, targets):
        return {"many": inputs, "one": inputs[:, :1] ** 2}, targets

    problem = fimo.Problem(
        TwoInputs(), fimo.CrossEntropy(), mapping(inputs, targets), mapping(*test), left_out=torch.arange(3)
    )
    assert fimo.further_train(problem, training, seeds=1)["loss_left_out"].shape == (1, 3, 5, 3)


def test_a_folder_keeps_finished_seeds(problem, training, tmp_path, monkeypatch):
    from fimo.api import stages as api

    first = fimo.further_train(problem, training, seeds=2, folder=tmp_path)
    computed, inner = [], api.train_seeds

    def spy(*args, **kwargs):
        for result in inner(*args, **kwargs):
            computed.append(result[0])
            yield result

    monkeypatch.setattr(api, "train_seeds", spy)
    again = fimo.further_train(problem, training, seeds=3, folder=tmp_path)
    assert computed == [2]
    xr.testing.assert_equal(again.isel(seed=slice(2)), first)
    other = fimo.FurtherTraining(torch.optim.SGD, lr=0.01, epochs=3, batch_size=16)
    fimo.further_train(problem, other, seeds=1, folder=tmp_path)
    assert computed == [2, 0]


def test_a_folder_knows_which_parameters_are_theta(network, training, tmp_path):
    examples = fimo.CrossEntropy(), rows(60, 1), rows(6, 2), range(0, 60, 10)
    choices = ["all", "*", "last_layer", ["3.weight", "3.bias"], ["*.weight"]]
    problems = [fimo.Problem(network, *examples, choice) for choice in choices]
    losses = [fimo.further_train(problem, training, seeds=1, folder=tmp_path) for problem in problems]
    assert len(list(tmp_path.glob("python/further/*"))) == 3  # two of the choices are others by another name
    assert losses[0].equals(losses[1]) and losses[2].equals(losses[3]) and not losses[0].equals(losses[2])
    scores = [fimo.attribute(problem, "grad_dot")["Grad-Dot"] for problem in problems]
    assert scores[2].equals(scores[3]) and not np.allclose(scores[0], scores[2])


def test_regression_with_adam_in_float64():
    inputs = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    targets = inputs @ torch.randn(5, 1, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    problem = fimo.Problem(nn.Linear(5, 1), fimo.SquaredError(), (inputs, targets), (inputs[:4], targets[:4]), [3, 4])
    training = fimo.FurtherTraining(torch.optim.Adam, lr=1e-3, epochs=2, batch_size=10, dtype=torch.float64)
    gold = fimo.further_train(problem, training, seeds=[5])
    assert gold["seed"].values.tolist() == [5] and np.isfinite(gold["loss_left_out"]).all()


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda p, t: fimo.attribute(p, ["grad_dott"]), "'grad_dott' is no method: expected grad_dot, "),
        (lambda p, t: fimo.attribute(p, ["unrolled_gn"]), "Unrolled-GN depends on how much further training there is"),
        (lambda p, t: fimo.attribute(p, ["cg", "cg"]), "method labels must differ from each other, found CG, CG"),
        (lambda p, t: fimo.further_train(p, t, seeds=0), "seeds must be a number of seeds"),
        (lambda p, t: fimo.further_train(p, t, seeds=[1, 1]), "seeds must be a number of seeds"),
    ],
)
def test_what_the_caller_can_put_right_is_one_sentence(call, text, problem, training):
    with pytest.raises(fimo.UserError, match=text):
        call(problem, training)


def test_a_gpu_that_is_not_there(problem, training, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(fimo.UserError, match="device=cuda needs a GPU that torch can use, found none"):
        fimo.further_train(problem, training, device="cuda")
    with pytest.raises(fimo.UserError, match="device=cuda needs a GPU"):
        fimo.attribute(problem, "grad_dot", device=torch.device("cuda:1"))


def test_divergence_is_told(caplog):
    inputs, _ = rows(60, 1)
    targets = inputs.sum(1)
    problem = fimo.Problem(nn.Linear(5, 1), fimo.SquaredError(), (inputs, targets), (inputs, targets), range(0, 60, 10))
    training = fimo.FurtherTraining(torch.optim.SGD, lr=1e30, epochs=2, batch_size=16)
    gold = fimo.further_train(problem, training, seeds=1)
    assert "further training diverged with seed 0: the full run, left-out 0, " in caplog.text
    with pytest.raises(fimo.UserError, match="No seed can be compared: all full runs of further training left"):
        fimo.compare(fimo.attribute(problem, "grad_dot"), gold)


def test_a_figure_of_a_measurement_names_it_on_its_axis(problem, training, network):
    watched = fimo.Problem(network, problem.objective, problem.train, problem.test, [3, 4], measurement=fimo.margin)
    comparison = fimo.compare(
        fimo.attribute(watched, ["grad_dot"], training), fimo.further_train(watched, training, seeds=1)
    )
    assert comparison.figure().axes[0].get_ylabel() == "cosine similarity (effects on the margin, centred)"
    assert "watched" not in fimo.further_train(problem, training, seeds=1).attrs


def test_the_names_are_there_and_a_wrong_one_is_not():
    assert set(fimo.__all__) <= set(dir(fimo)) and all(getattr(fimo, name) for name in fimo.__all__)
    with pytest.raises(AttributeError, match="module 'fimo' has no attribute 'attribut'"):
        fimo.attribut  # noqa: B018


@pytest.mark.slow
def test_the_wheel_brings_a_command_and_the_configs(tmp_path):
    """The built package runs outside the checkout, and finds a network that lies in the working directory."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("fimo-*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
    assert not {"experiments", "tests", "benchmarks"} & {path.name for path in site.iterdir()}
    work = tmp_path / "work"
    work.mkdir()
    (work / "my_model.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Sequential):\n    def __init__(self, inputs, outputs):\n"
        "        super().__init__(nn.Linear(inputs, outputs))\n"
    )
    few = ["size=smoke", "method=grad_dot", "data.left_out=3", "data.test_count=3"]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    where = [sys.executable, "-c", "import fimo; print(fimo.__file__)"]
    assert str(site) in subprocess.run(where, cwd=work, env=environment, capture_output=True, text=True).stdout
    command = [sys.executable, "-m", "fimo", "run"]
    for options in ([], ["model=own", "model._target_=my_model.Net", "name=own"]):
        done = subprocess.run([*command, *few, *options], cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (work / "results/own/table.md").is_file()
    assert b"</html>" in (work / "results/own/report.html").read_bytes()
