"""The settings of further training: what they take, what they refuse, and when they are equal."""

import pickle
from dataclasses import FrozenInstanceError, replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from problems import problem

import fimo
from fimo.errors import UserError
from fimo.further_training.optimizer_factory import bind
from fimo.further_training.progress import Progress
from fimo.further_training.settings import FurtherTraining


def settings(**changes):
    given = {"optimizer": torch.optim.SGD, "epochs": 2, "batch_size": 8, "lr": 0.1} | changes
    return FurtherTraining(**{name: value for name, value in given.items() if value is not ...})


def test_what_the_optimizer_takes_is_bound_to_it():
    training = settings(momentum=0.9)
    parameters = [torch.zeros(3, requires_grad=True)]
    made = training.make_optimizer(parameters)
    assert isinstance(made, torch.optim.SGD) and training.optimizer_name == "SGD"
    assert made.param_groups[0]["params"] == parameters
    assert (made.param_groups[0]["lr"], made.param_groups[0]["momentum"]) == (0.1, 0.9)
    assert training.steps_per_epoch(problem()) == 3 and training.evaluation_steps(problem()) == [3, 6]
    assert (training.leave_out, training.dtype, training.batch_norm) == ("every_step", torch.float32, "frozen")


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, partial(torch.optim.SGD, lr=0.3, momentum=0.2)])
def test_equal_settings_are_equal_and_survive_pickling(optimizer):
    training = settings(optimizer=optimizer, momentum=0.9, evaluate_every=[1, 4])
    assert training == settings(momentum=0.9, evaluate_every=(1, 4)) == pickle.loads(pickle.dumps(training))
    assert training != settings(momentum=0.9, evaluate_every=(1, 5)) and training != settings(evaluate_every=(1, 4))
    with pytest.raises(FrozenInstanceError):
        training.epochs = 3


def test_single_settings_can_be_replaced():
    training = settings(momentum=0.9, clip=1.0, tangents=True)
    assert replace(training, epochs=5) == settings(momentum=0.9, clip=1.0, tangents=True, epochs=5)
    assert replace(training, lr=0.2) == settings(momentum=0.9, clip=1.0, tangents=True, lr=0.2)


def test_a_function_may_make_the_optimizer():
    training = settings(optimizer=lambda parameters: torch.optim.Adam(parameters, 0.01), lr=...)
    assert training.optimizer_name == "Adam"


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"lr": ...}, "by SGD needs a learning rate: pass lr=…, as in FurtherTraining"),
        ({"lr": -1}, "SGD does not take these settings, lr=-1: Invalid learning rate: -1"),
        ({"momentm": 0.9}, "SGD does not take these settings, .*unexpected keyword argument 'momentm'"),
        ({"optimizer": "sgd"}, "must be a torch optimizer class, such as torch.optim.SGD, found 'sgd'"),
        ({"optimizer": lambda parameters, lr: 3}, "which makes a int"),
        ({"epochs": 0}, "epochs of further training must be a whole number of at least 1, found 0"),
        ({"epochs": 1.5}, "epochs of further training must be a whole number of at least 1, found 1.5"),
        ({"batch_size": True}, "batch_size of further training must be a whole number of at least 1, found True"),
        ({"runs_at_once": 0}, "runs_at_once of further training must be a whole number of at least 1, found 0"),
        ({"leave_out": "every"}, "must be one of drop, mask, every_step, found 'every'"),
        ({"batch_norm": "off"}, "must be one of frozen, updated, found 'off'"),
        ({"clip": 0}, "clip of further training must be a number above 0 or None, found 0"),
        ({"dtype": torch.int64}, "dtype of further training must be torch.float32 or torch.float64, found torch.int64"),
        ({"evaluate_every": 0}, "evaluate_every of further training must be None, a whole number above 0, .* found 0"),
        ({"evaluate_every": {"every": 2}}, r"found \{'every': 2\}"),
        ({"evaluate_every": "3"}, "found '3'"),
        ({"batch_norm": "updated"}, "leave_out='drop' .further.leave_out=drop.*, found 'every_step'"),
        (
            {"tangents": True, "leave_out": "mask"},
            "leave_out=.every_step. .further.leave_out=every_step.*, found mask",
        ),
    ],
)
def test_what_no_further_training_can_have_is_an_error(changes, text):
    with pytest.raises(UserError, match=text) as error:
        settings(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("terminal, interval, drawn", [(True, None, True), (False, None, False), (False, 30, True)])
def test_the_progress_bar_is_off_where_there_is_no_terminal(monkeypatch, terminal, interval, drawn):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    with Progress(2, interval) as progress:
        progress.share(2, 1)
        progress.on_train_start(SimpleNamespace(num_training_batches=5, max_epochs=2), None)
        progress.on_train_batch_end(None, SimpleNamespace(seeds=[0]), {}, None, 0)
        progress.share(1, 1)
    assert (progress.bar is not None) == drawn


ELEMENTWISE = ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "ASGD", "Rprop")


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_optimizers(name):
    bind(getattr(torch.optim, name), {"lr": 0.1}).require_elementwise()


@pytest.mark.parametrize(
    "name, text",
    [
        ("Adafactor", "moves each parameter by others of its tensor"),
        ("LBFGS", "can't be stepped"),
        ("SparseAdam", "can't be stepped"),
        ("Muon", "can't be stepped"),
    ],
)
def test_optimizers_that_are_not_elementwise(name, text):
    one, training = problem(), fimo.FurtherTraining(getattr(torch.optim, name), lr=0.1, epochs=1, batch_size=8)
    with pytest.raises(fimo.UserError, match=f"The optimizer {name} {text}.* Take an elementwise one, such as"):
        fimo.further_train(one, training, seeds=1)
