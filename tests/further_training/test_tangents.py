"""The tangents of further training against finite differences of plain loops, and the closed form of least squares."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr
from configs import app, make_run, needs_data
from further_training.test_gold_standard import sweep
from problems import Sentences, problem, text_problem

from fimo import vmapping
from fimo.errors import Unavailable, UserError
from fimo.further_training.ensemble import Ensemble
from fimo.further_training.leave_out import FULL_RUN
from fimo.further_training.modes import differs_in_training
from fimo.further_training.module import LockstepBatches
from fimo.further_training.settings import FurtherTraining
from fimo.further_training.tangents import Tangents
from fimo.pipeline import addresses
from fimo.randomness import seed_of
from fimo.reference import tangents as reference_tangents

OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=0.05),
    "momentum": partial(torch.optim.SGD, lr=0.02, momentum=0.9, dampening=0.2, weight_decay=0.1),
    "nesterov": partial(torch.optim.SGD, lr=0.02, momentum=0.9, nesterov=True),
    "adam": partial(torch.optim.Adam, lr=0.01),
    "adamw": partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
}
# With the usual eps = 1e-8 a ReLU that is off for a whole batch has a gradient of zero, which any finite weight of an
# example lifts above eps: the finite differences are then none of the derivative.
SMOOTH = {
    "adam": partial(torch.optim.Adam, lr=0.01, eps=0.01),
    "adam, decay": partial(torch.optim.Adam, lr=0.01, eps=0.01, weight_decay=0.1, betas=(0.5, 0.9)),
    "adamw": partial(torch.optim.AdamW, lr=0.01, eps=0.01, weight_decay=0.1),
}
BASE = ("experiment=diabetes", "data.test_count=6", "data.left_out=5")


def draw(seed, step, *place):
    torch.default_generator.manual_seed(seed_of(seed, step, *place))


def assert_derivative(question, optimizer, tolerance=1e-6, distance=1e-3, batch_size=8, draws=None, **settings):
    """The tangents' effects are the derivative, to a share of the largest effect of each step and test example."""
    found = sweep(question, seeds=[4], tangents=True, optimizer=optimizer, batch_size=batch_size, **settings)[4]
    clip = settings.get("clip")
    with torch.random.fork_rng():
        expected = reference_tangents.effects(question, optimizer, 3, batch_size, 4, distance, clip=clip, draw=draws)
    assert found["effect"].dims == ("step", "test", "left_out") and found["effect"].dtype == np.float64
    largest = np.abs(expected).max(-1, keepdims=True)
    assert (largest > 0).all()
    np.testing.assert_allclose(found["effect"] / largest, expected / largest, rtol=0, atol=tolerance)
    return found


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov"])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_equals_finite_differences_of_the_plain_loop(task, optimizer, clip):
    assert_derivative(problem(task, left_out=(0, 11, 22)), OPTIMIZERS[optimizer], clip=clip)


@pytest.mark.parametrize("task, clip", [("regression", None), ("classification", 0.5)])
@pytest.mark.parametrize("optimizer", SMOOTH)
def test_equals_finite_differences_under_adam(task, clip, optimizer):
    assert_derivative(problem(task, left_out=(0, 11, 22)), SMOOTH[optimizer], 1e-5, 1e-6, clip=clip)


@pytest.mark.parametrize("network", ["transposed", "transformer", "in-place", "vmap-shy"])
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_of_any_network(network, optimizer):
    assert_derivative(problem("classification", network, left_out=(3, 22)), OPTIMIZERS[optimizer])


@pytest.mark.parametrize("optimizer, at", [(OPTIMIZERS["momentum"], (1e-6, 1e-3)), (SMOOTH["adam"], (1e-5, 1e-6))])
def test_of_a_convolution_whose_normalisation_keeps_its_statistics(optimizer, at):
    question = problem("classification", "convolutional", left_out=(3, 22))
    question.network.body[1].train = lambda mode=True: question.network.body[1]  # the plain loop would update them
    assert_derivative(question, optimizer, *at, clip=1.0)


@pytest.mark.parametrize("network", ["dropout", "two dropouts"])
def test_dropout_has_the_masks_of_the_runs(network):
    question = problem("classification", network, rows=17, left_out=(0, 9, 15))
    assert_derivative(question, OPTIMIZERS["momentum"], draws=partial(draw, 4))


@pytest.mark.parametrize("dropout", [0.2, 0.0])
def test_of_text(dropout):
    question = text_problem(lambda outputs: Sentences(outputs, dropout=dropout))
    assert_derivative(question, OPTIMIZERS["sgd"], batch_size=4, draws=partial(draw, 4))


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("experiment", ["digits", "folktables", "reviews"])
def test_of_the_experiments_own_networks(experiment, tmp_path):
    """A maximum over pixels, sparse rows and an encoder with dropout."""
    few = ("data.test_count=4", "data.left_out=3", f"paths.output_dir={tmp_path}", "final.epochs=0")
    question = make_run(f"experiment={experiment}", "size=smoke", *few).problem.to(dtype=torch.float64)
    assert_derivative(question, OPTIMIZERS["momentum"], 1e-5, batch_size=64, draws=partial(draw, 4), clip=1.0)


class Doubled(torch.nn.Linear):
    """Another function in training mode, and nothing random."""

    def forward(self, inputs):
        return torch.tanh(super().forward(inputs)) * (2 if self.training else 1)


def test_the_network_is_that_of_training():
    question = replace(problem(), network=Doubled(5, 1).double().eval())
    assert differs_in_training(question) and not differs_in_training(problem())
    found = sweep(question, tangents=True, optimizer=OPTIMIZERS["sgd"])[0]["effect"]
    expected = reference_tangents.effects(question, OPTIMIZERS["sgd"], 3, 8, 0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * abs(expected).max())


@pytest.mark.parametrize(
    "network, optimizer", [("mlp", "nesterov"), ("mlp", "adamw"), ("dropout", "nesterov"), ("vmap-shy", "adamw")]
)
def test_the_run_is_that_of_every_step_and_chunks_and_groups_do_not_matter(network, optimizer):
    question = problem("classification", network, rows=17, left_out=(0, 9, 15))
    settings = {"optimizer": OPTIMIZERS[optimizer], "clip": 0.5, "epochs": 2}
    several = network != "dropout"
    baseline = sweep(question, seeds=[0, 1], tangents=True, **settings)
    runs = sweep(question, seeds=[0, 1], **settings)
    for seed, found in baseline.items():
        assert set(found) == {"loss_before", "loss_full", "effect"}
        np.testing.assert_allclose(found["loss_before"], runs[seed]["loss_before"], rtol=1e-13)
        np.testing.assert_allclose(found["loss_full"], runs[seed]["loss_full"], rtol=1e-11)
    for width, together in [(1, 1), (2, 1 + several), (100, 1)]:
        other = sweep(question, [0, 1], together, tangents=True, runs_at_once=width, **settings)
        for seed, found in baseline.items():
            np.testing.assert_allclose(other[seed]["effect"], found["effect"], rtol=1e-9, atol=1e-13)


def test_least_squares_with_full_batches_has_a_closed_form():
    question = problem("regression", "linear")
    settings = {"optimizer": partial(torch.optim.SGD, lr=0.1), "batch_size": 23, "epochs": 50}
    found = sweep(question, tangents=True, evaluate_every=[1, 10, 50], **settings)[0]["effect"]
    for step in (1, 10, 50):
        expected = reference_tangents.least_squares(question, 0.1, step)
        np.testing.assert_allclose(found.sel(step=step), expected, rtol=1e-9, atol=1e-9 * abs(expected).max())


def test_is_the_linearisation_of_every_step():
    question = problem("classification")
    settings = {"optimizer": partial(torch.optim.SGD, lr=0.01), "epochs": 1}
    found = sweep(question, tangents=True, **settings)[0]["effect"]
    runs = sweep(question, **settings)[0]
    assert np.corrcoef(found.values.ravel(), (runs["loss_left_out"] - runs["loss_full"]).values.ravel())[0, 1] > 0.999


def test_float32_is_near_float64():
    question = problem("classification")
    settings = {"optimizer": OPTIMIZERS["momentum"], "tangents": True}
    single, double = (sweep(question, dtype=dtype, **settings)[0]["effect"] for dtype in (torch.float32, torch.float64))
    assert single.dtype == np.float64 and not np.array_equal(single, double)
    np.testing.assert_allclose(single, double, rtol=0, atol=1e-5 * float(abs(double).max()))


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_a_step_reads_nothing_back_from_the_device(optimizer):
    """Tensors without values stand for those of a device: what the host asks of one raises."""
    question = problem("classification").to("meta")
    plan = FurtherTraining(OPTIMIZERS[optimizer], 1, 8, clip=0.5, tangents=True)
    ensemble = Ensemble(question, torch.zeros(2), plan.optimizer, 2, plan.clip)
    tangents = Tangents(question, ensemble, plan.optimizer, 3, plan.clip)
    for batch in LockstepBatches(question, plan, [0, 1], FULL_RUN):
        tangents.step(batch)
    assert not vmapping._refused.get(question.network)
    assert tangents.followed[1].columns[0].tangents.shape == (2, question.size)


def test_a_diverged_run_takes_its_tangents_with_it():
    question = problem()
    question.train.inputs[3] = 1e200
    found = sweep(question, tangents=True, optimizer=OPTIMIZERS["sgd"])[0]
    assert np.isnan(found["loss_full"]).all() and np.isnan(found["effect"]).all()


def test_through_the_app_the_comparison_takes_it(tmp_path, capsys):
    assert app(tmp_path, *BASE, "further=tangent", "optimizer.momentum=0.9", "further.clip=1") == 0
    assert "5 tangents" in capsys.readouterr().out
    paths = sorted(tmp_path.glob("outputs/diabetes/further/sgd-tangent-2ep-*/seed-*.nc"))
    assert [path.name for path in paths] == ["seed-00000.nc", "seed-00001.nc"]
    for path in paths:
        with xr.open_dataset(path) as found:
            sizes = {name: array.shape for name, array in found.data_vars.items()}
            assert sizes == {"loss_before": (6,), "loss_full": (2, 6), "effect": (2, 6, 5)}
            assert all(array.dtype == np.float64 for array in found.data_vars.values())
    (results,) = [path.parent for path in tmp_path.glob("results/*/run.json")]
    assert "centred" in (results / "curves.csv").read_text() and (results / "curves.png").is_file()
    anyway = ("further.gold=tangent_anyway", "optimizer.momentum=0.9", "further.clip=1")
    assert app(tmp_path, *BASE, *anyway) == 0  # by SGD it is the same, and there
    assert "2 of 2 seeds found" in capsys.readouterr().out


@pytest.mark.parametrize(
    "override, text",
    [
        (
            "further.leave_out=drop",
            r"need leave_out='every_step' \(further.leave_out=every_step\), found drop, since the w",
        ),
        (
            "further.leave_out=mask",
            r"^tangents \(further.gold=tangent\) need leave_out='every_step' .*found mask, since",
        ),
        ("further.batch_norm=updated", r"need batch_norm='frozen' \(further.batch_norm=frozen\), found updated, since"),
        ("further.autocast=bfloat16", r"need autocast=None \(further.autocast=null\), found torch.bfloat16, since"),
        (
            "optimizer=adam",
            "further.gold=tangent needs optimizer=sgd, found Adam, whose steps .* further.gold=tangent_anyway ",
        ),
        ("optimizer=adamw", "further.gold=tangent needs optimizer=sgd, found AdamW, .* whole example out: further.gol"),
        ("optimizer=sgd +optimizer.maximize=true", "further.gold=tangent needs optimizer.maximize=false, found true"),
        ("optimizer=adam +optimizer.amsgrad=true", "further.gold=tangent needs optimizer.amsgrad=false, found true"),
    ],
)
def test_what_it_has_no_derivative_of_is_an_error(override, text):
    with pytest.raises(UserError, match=text):
        make_run("size=smoke", *BASE, "further.gold=tangent", *override.split(" "))


@pytest.mark.parametrize("gold", ["tangent", "tangent_anyway"])
def test_other_optimizers_are_errors(gold):
    overrides = ("optimizer._target_=torch.optim.Adagrad", "~optimizer.momentum", "optimizer.fused=false")
    with pytest.raises(UserError, match="further.gold=tangent needs optimizer to be SGD, Adam or AdamW, found Adagrad"):
        make_run("size=smoke", *BASE, f"further.gold={gold}", *overrides)


def test_what_is_chosen_where():
    with pytest.raises(Unavailable):  # a panel by Adam stays empty beside one by SGD
        make_run("size=smoke", *BASE, "further=tangent", "optimizer=adam")
    make_run("size=smoke", *BASE, "further.gold=tangent_anyway", "optimizer=adam")
    with pytest.raises(UserError, match=r"leave_out=every_step\), found drop"):
        make_run("size=paper", "experiment=energy", "further.gold=tangent")
    paper = make_run("size=paper", "experiment=energy", "further=tangent")
    usual = make_run("size=paper", "experiment=energy")
    assert addresses.further_training(paper).folder != addresses.further_training(usual).folder
    assert addresses.final_model(paper).folder == addresses.final_model(usual).folder
