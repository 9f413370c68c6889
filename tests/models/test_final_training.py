"""Weight decay, clipping, augmentation and the best epoch, against plain loops; and no training at all."""

import copy
import json

import numpy as np
import pytest
import torch
from configs import app, config, make_run
from problems import problem
from torch import nn

from fimo.app.config import run_of
from fimo.errors import UserError
from fimo.further_training.order import Order
from fimo.models import training
from fimo.models.evaluation import metrics
from fimo.models.training import SCHEDULES, FinalTraining, require_variance, train_final
from fimo.pipeline import addresses

CPU = torch.device("cpu")


def plain_loop(question, optimizer, epochs, clip=None, augment=None, **settings):
    """The networks after each epoch."""
    network = copy.deepcopy(question.network).train()
    update, order, after = optimizer(network.parameters(), **settings), Order(len(question.train), 8, seed=3), []
    for _ in range(epochs):
        for index in order:
            inputs, targets = question.train[index]
            update.zero_grad()
            loss = question.objective.loss(network(augment(inputs) if augment else inputs), targets).mean()
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(network.parameters(), clip)
            update.step()
        after.append(copy.deepcopy(network).eval())
    return after


def trained(question, optimizer, lr, epochs, **settings):
    network = copy.deepcopy(question.network)
    module = FinalTraining(network, question.objective, optimizer, lr, **settings)
    train_final(module, question.train, Order(len(question.train), 8, seed=3), epochs, CPU)
    return module


def assert_same(network, expected):
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(network.get_parameter(name), parameter, rtol=0, atol=0)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("optimizer, twin", [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_settings_are_the_plain_loops(optimizer, twin, clip, weight_decay):
    question = problem("classification", dtype=torch.float32)
    module = trained(question, optimizer, 0.05, 3, weight_decay=weight_decay, clip=clip)
    assert_same(module.network, plain_loop(question, twin, 3, clip, lr=0.05, weight_decay=weight_decay)[-1])


RATES = {"linear": lambda done: 1 - done, "cosine": lambda done: (1 + np.cos(np.pi * done)) / 2}


@pytest.mark.parametrize("schedule", RATES)
def test_a_schedule_ends_at_rate_0_and_changes_no_batch(schedule):
    """Against a plain loop whose rate at step k of all is the closed form's."""
    question, epochs, seen = problem("classification", dtype=torch.float32), 4, {}
    for name in ("constant", schedule):
        batches = seen[name] = []
        module = trained(
            question, "sgd", 0.05, epochs, schedule=name, augment=lambda x, seen=batches: (seen.append(x), x)[1]
        )
    torch.testing.assert_close(seen[schedule], seen["constant"], rtol=0, atol=0)
    assert module.trainer.optimizers[0].param_groups[0]["lr"] == 0
    network, order = copy.deepcopy(question.network).train(), Order(len(question.train), 8, seed=3)
    for step, index in enumerate(index for _ in range(epochs) for index in order):
        inputs, targets = question.train[index]
        loss = question.objective.loss(network(inputs), targets).mean()
        rate = 0.05 * RATES[schedule](step / (epochs * len(order)))
        with torch.no_grad():
            for parameter, slope in zip(
                network.parameters(), torch.autograd.grad(loss, network.parameters()), strict=True
            ):
                parameter -= rate * slope
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(module.network.get_parameter(name), parameter)


def test_an_annealed_model_is_nearly_stationary():
    question, norms = problem("regression", dtype=torch.float32, rows=40), {}
    for schedule in ("constant", "cosine"):
        network = trained(question, "sgd", 0.2, 60, schedule=schedule).network
        loss = question.objective.loss(network(question.train.inputs), question.train.targets).mean()
        norms[schedule] = sum(part.square().sum() for part in torch.autograd.grad(loss, network.parameters())) ** 0.5
    assert norms["cosine"] < 0.2 * norms["constant"]


def test_a_constant_rate_has_the_address_that_it_always_had(tmp_path):
    usual, annealed = (
        addresses.final_model(make_run("experiment=energy", f"final.schedule={name}", "paths.data_dir=data"))
        for name in ("constant", "cosine")
    )
    assert usual.folder.name.startswith("sgd-1000ep-seed0-") and "schedule" not in usual.config["final"]
    assert annealed.folder.name.startswith("sgd-1000ep-cosine-seed0-")
    assert annealed.config["final"] == {**usual.config["final"], "schedule": "cosine"}


def test_batches_are_augmented():
    question = problem("classification", dtype=torch.float32)
    module = trained(question, "sgd", 0.05, 2, augment=torch.neg)
    assert_same(module.network, plain_loop(question, torch.optim.SGD, 2, augment=torch.neg, lr=0.05)[-1])


@pytest.mark.parametrize("task, measure, sign", [("classification", "accuracy", 1), ("regression", "loss", -1)])
def test_the_best_epoch_is_kept_and_training_is_the_same(task, measure, sign):
    """A learning rate that is far too large, so that the last epoch is not the best."""
    question = problem(task, dtype=torch.float32, rows=40, tests=30)
    rate = 0.8 if task == "classification" else 0.2
    epochs = plain_loop(question, torch.optim.SGD, 12, lr=rate)
    values = [sign * metrics(network, question.objective, question.test)[measure] for network in epochs]
    best = values.index(max(values))
    assert best < 11 and values[best] > values[-1]
    module = trained(question, "sgd", rate, 12, validation_rows=question.test)
    assert module.best_epoch == best + 1
    assert_same(module.network, epochs[best])


def test_metrics_do_not_depend_on_how_many_rows_go_at_once(monkeypatch):
    question = problem("classification", tests=30)
    whole = metrics(question.network, question.objective, question.test)
    monkeypatch.setattr("fimo.models.evaluation.EVALUATION_ROWS", 7)
    assert metrics(question.network, question.objective, question.test) == pytest.approx(whole, rel=1e-12)


def test_the_config_says_all_of_it(tmp_path, monkeypatch):
    made = []
    inner = training.FinalTraining

    def spy(*args):
        made.append(inner(*args))
        return made[-1]

    monkeypatch.setattr(training, "FinalTraining", spy)
    chosen = ("final.schedule=linear", "final.keep=best", "final.clip=0.5", "final.weight_decay=0.1", "final.epochs=2")
    augmented = "+final.augment._target_=problems.Halved"
    assert app(tmp_path, "experiment=breast_cancer", *chosen, "further.epochs=1", augmented) == 0
    (module,) = made
    assert (module.clip, module.weight_decay, len(module.validation_rows)) == (0.5, 0.1, 114)
    assert module.schedule is SCHEDULES["linear"]
    assert type(module.augment).__name__ == "Halved"
    (told,) = tmp_path.glob("outputs/breast_cancer/final/*/metrics.json")
    assert json.loads(told.read_text())["kept"] == {"epoch": module.best_epoch, "of": 2, "by": "the test split"}


def test_no_epochs_take_the_network_as_it_is_made(tmp_path, capsys):
    cfg = config("experiment=diabetes", "final.epochs=0", "seed=7", f"paths.output_dir={tmp_path}")
    network = run_of(cfg).problem.network
    assert "the network as it is, nothing is trained (final.epochs=0)" in capsys.readouterr().out
    torch.manual_seed(7)
    assert_same(network, type(network)(10, 1, [64, 64]))


@pytest.mark.parametrize(
    "override, text",
    [
        ("final.epochs=-1", "final.epochs must be a whole number of at least 0, found -1"),
        ("final.keep=first", "final.keep must be one of last, best, found 'first'"),
        ("final.schedule=step", "final.schedule must be one of constant, linear, cosine, found 'step'"),
        ("final.clip=0", "final.clip must be a number above 0, or null, found 0"),
        ("final.weight_decay=-1", "final.weight_decay must be a number of at least 0, found -1"),
        ("+data.max_length=1", "data.max_length must be a whole number of at least 2, found 1"),
        ("further.evaluate_every={first:3}", r"or \{first: …, every: …, last: …\}, found \{'first': 3\}"),
        ("further.evaluate_every={first:0,every:2}", "further.evaluate_every must be a whole number above 0"),
        ("further.evaluate_every=often", "further.evaluate_every must be .* found 'often'"),
    ],
)
def test_bad_settings(override, text):
    with pytest.raises(UserError, match=text):
        make_run("experiment=diabetes", override)


def test_batch_normalisation_and_a_last_batch_of_one_row():
    """Said before the first epoch."""
    question = problem(dtype=torch.float32, rows=23)
    network = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 1))
    with pytest.raises(
        UserError, match="can't train on one row, but 23 training rows in batches of 11 leave a last ba"
    ):
        require_variance(network, question.train, 11)
    require_variance(network, question.train, 8)
    require_variance(nn.Linear(5, 1), question.train, 11)
    assert network[0].num_batches_tracked == 0
