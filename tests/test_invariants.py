"""What must hold whatever the data: each of these was broken in some library of the field.

Others stand beside what they are about: ranks with ties in `comparison/test_agreement.py`, the order of batches in
`models/test_final_model.py`, the evaluated steps in `further_training/test_gold_standard.py`.
"""

import random
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from brought_networks import Network, question
from configs import config
from methods import DRAWN, HALF, METHODS
from problems import problem
from recursions import close, recursion
from torch import nn

import fimo
from fimo.app.config import run_of
from fimo.attribution import View, attribute
from fimo.further_training.optimizer_factory import BoundOptimizer
from fimo.further_training.order import Order
from fimo.preconditioners import projections
from fimo.preconditioners.neumann_series import NeumannSeries
from fimo.preconditioners.projections import RandomSigns, SparseSigns
from fimo.preconditioners.random_projection import RandomProjection
from fimo.problem import Problem
from fimo.rows import Rows
from fimo.unrolled.displaced import DisplacedGradients, displaced
from fimo.unrolled.trajectory import RunState, Trajectory
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton

SGD = partial(fimo.FurtherTraining, torch.optim.SGD, lr=0.05, dtype=torch.float64)


@pytest.mark.parametrize("kind", [RandomSigns, SparseSigns])
def test_projections_have_unit_rows_and_even_columns_whatever_the_blocks(kind, monkeypatch):
    """Σ of a row's squares is 1, and a column's mean square 1/size in each block of rows: nothing is scaled twice."""
    parameters, size, made = 4000, 8, []
    for rows in (1, 7, 1000, parameters):
        monkeypatch.setattr(projections, "BLOCK_BYTES", 16 * size * rows)
        made.append(kind(parameters, size, 0).project(torch.eye(parameters)))
    assert all(torch.equal(made[0], other) for other in made)
    torch.testing.assert_close(made[0].square().sum(1), torch.ones(parameters))
    for block in made[0].split(1000):
        torch.testing.assert_close(block.square().mean(0), torch.full((size,), 1 / size), atol=0.04, rtol=0)


def doubled(one):
    """Every training row twice."""
    rows = one.train
    twice = Rows(torch.cat([rows.inputs] * 2), torch.cat([rows.targets] * 2), torch.arange(2 * len(rows)))
    return Problem(one.network, one.objective, twice, one.test, one.left_out.rows)


# LiSSA draws batches of rows: only all of them are the same rows twice.
IN_FULL = {
    name: partial(NeumannSeries, name, kind, HALF, 20, None, [20.0])
    for name, kind in (("LiSSA", "gauss_newton"), ("LiSSA-H", "hessian"))
}


@pytest.mark.parametrize("name", [name for name in METHODS if "LiSSA (" not in name and name not in DRAWN])
def test_doubling_every_training_row_changes_no_score_but_by_the_n(name):
    one = problem("classification")
    make = IN_FULL.get(name, METHODS[name].make)
    once, twice = (attribute(some, make()).values for some in (one, doubled(one)))
    np.testing.assert_allclose(2 * twice, once, rtol=1e-5, atol=1e-7 * np.abs(once).max())


@pytest.mark.parametrize("steps", [1, 6])
def test_a_trajectory_of_one_evaluated_step_is_the_moved_method(steps):
    """Its training gradient lies between that at the final model and the moved one: they are the same at one step."""
    one = problem("classification")
    method = UnrolledGaussNewton("Unrolled-GN").for_training(recursion([steps]))
    (drift,) = method.fit(one).drifts(one)
    there = {name: p + drift[name] for name, p in one.parameters.items()}
    moved = attribute(one, method, views=DisplacedGradients("both", method))
    assert method.diagnostics["share_of_drift"] == [1.0]
    began = attribute(one, method, views=lambda P, _: [View(P, displaced(one, drift), one, [steps])])
    fraction = (steps - 1) / (2 * steps)
    close(attribute(one, method, views=Trajectory([RunState(there)])), (1 - fraction) * began + fraction * moved)


def known_rows():
    """Row 0 is the test example, row 1 the same with another target, far from all that the others say."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(20, 5, generator=generator).double()
    targets = inputs.sum(1, keepdim=True)
    inputs[1], targets[1] = inputs[0], targets[0] - 3
    network = nn.Linear(5, 1).double()
    with torch.no_grad():
        network.weight.copy_(torch.full((1, 5), 0.9)), network.bias.zero_()
        targets[0] = network(inputs[:1])[0] + 0.5
    test = inputs[:1], targets[:1]
    return fimo.Problem(network, fimo.SquaredError(), (inputs, targets), test, left_out=[0, 1])


def test_the_helpful_row_has_the_positive_sign_in_everything():
    one, training = known_rows(), SGD(epochs=2, batch_size=8)
    gold = fimo.further_train(one, training, seeds=2)
    effects = (gold["loss_left_out"] - gold["loss_full"]).mean("seed").values[:, 0]
    few = ("TRAK", "LiSSA (empirical Fisher)")  # steps with batches of six rows fix no sign
    scores = {name: attribute(one, known.make()).values[0] for name, known in METHODS.items() if name not in few}
    scores["TRAK"] = attribute(one, RandomProjection("TRAK", None, ridge=HALF)).values[0]  # three columns say little
    names = ("unrolled_gn", "matched_gn", "unrolled_gn_moved")
    followed = {name: next(iter(fimo.attribute(one, name, training).values())).values for name in names}
    scores |= {name: values[-1, 0] for name, values in followed.items()}
    for name, (helpful, harmful) in {**scores, **dict(enumerate(effects))}.items():
        assert helpful > 0 > harmful, name


@pytest.mark.parametrize("scheme", ["every_step", "drop", "mask"])
def test_weights_of_one_change_nothing_in_a_partial_last_batch(scheme):
    """23 rows in batches of 8: a mean over what the weights say would divide the last seven by something else."""
    one = problem("classification")
    weighted = replace(one, objective=fimo.CrossEntropy(weight=[1.0, 1.0, 1.0]))
    training = SGD(epochs=2, batch_size=8, leave_out=scheme)
    plain, same = (fimo.further_train(some, training, seeds=1) for some in (one, weighted))
    for name in plain:
        np.testing.assert_allclose(same[name], plain[name], rtol=1e-13)


class Counted(torch.optim.SGD):
    """Counts its steps."""

    taken = 0

    def step(self, closure=None):
        type(self).taken += 1
        return super().step(closure)


@pytest.mark.parametrize("rows, batch_size, steps", [(23, 8, 9), (24, 8, 9), (25, 8, 12), (5, 8, 3)])
def test_steps_are_epochs_times_batches_and_no_two_epochs_are_alike(rows, batch_size, steps, monkeypatch):
    monkeypatch.setattr(Counted, "taken", 0)
    monkeypatch.setattr(BoundOptimizer, "require_elementwise", lambda self: None)  # which takes steps of its own
    one = problem(rows=rows, left_out=(0,))
    training = fimo.FurtherTraining(Counted, epochs=3, batch_size=batch_size, lr=0.01, leave_out="mask")
    losses = fimo.further_train(one, training, seeds=1)
    assert Counted.taken == steps == losses["step"].values[-1] and training.evaluation_steps(one)[-1] == steps
    order = Order(rows, batch_size, 0)
    first, second = (torch.cat(list(order)) for _ in range(2))
    assert len(order) == steps // 3 and not torch.equal(first, second) and set(first.tolist()) == set(range(rows))


def generators():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


def test_every_stage_leaves_the_generators_as_they_were(tmp_path):
    run = run_of(
        config(
            "size=smoke", "model=own", "model._target_=problems.Own", "final.epochs=1", f"paths.output_dir={tmp_path}"
        )
    )
    noisy = replace(problem("classification", "dropout"), left_out=problem().left_out)
    training, network = SGD(epochs=1, batch_size=8), Network()
    every = [known.make() for name, known in METHODS.items() if "(" not in name]
    stages = {
        "problem": lambda: question(network),
        "final model": lambda: run.problem,
        "further training": lambda: fimo.further_train(noisy, training, seeds=2),
        "attribution": lambda: fimo.attribute(noisy, [*every[:6], *every[7:], "unrolled_gn_moved"], training),
    }
    results = {}
    for name, stage in stages.items():
        before = generators()
        results[name] = stage()
        assert generators() == before, name
    before = generators()
    fimo.compare(results["attribution"], results["further training"])
    assert generators() == before


EVERYTHING = {
    "train_rows": ("data.train_rows=null", "data.train_rows=353"),
    "test_count": ("data.test_count=null", "data.test_count=89"),
    "left_out_first": ("data.left_out_first=null", "data.left_out_first=50"),
}


@pytest.mark.parametrize("key", EVERYTHING)
def test_null_is_all_of_them(key):
    everything, counted = (run_of(config("size=paper", override)).dataset for override in EVERYTHING[key])
    for split in ("train", "test"):
        assert torch.equal(getattr(everything, split).index, getattr(counted, split).index)
    assert len(everything.left_out) == len(counted.left_out)


def test_null_and_zero_of_settings_in_python():
    one = problem("classification")
    gold = partial(fimo.further_train, one, seeds=1)
    plain = gold(SGD(epochs=2, batch_size=8))
    same = {
        "clip": SGD(epochs=2, batch_size=8, clip=1e9),
        "evaluate_every": SGD(epochs=2, batch_size=8, evaluate_every=3),
        "runs_at_once": SGD(epochs=2, batch_size=8, runs_at_once=100),
        "momentum": SGD(epochs=2, batch_size=8, momentum=0.0, weight_decay=0),
    }
    for name, training in same.items():
        np.testing.assert_array_equal(gold(training)["loss_left_out"], plain["loss_left_out"], name)
    known = METHODS["CG"]
    np.testing.assert_array_equal(
        attribute(one, known.make()), attribute(one, known.make(), curvature_rows=len(one.train))
    )
    smooth = replace(one, objective=fimo.CrossEntropy(weight=None, label_smoothing=0))
    np.testing.assert_array_equal(attribute(smooth, METHODS["CG"].make()), attribute(one, METHODS["CG"].make()))


class OfHalf(Network):
    """Takes nothing but half precision."""

    def forward(self, inputs):
        return super().forward(inputs.half())


def test_half_precision_is_never_used_for_p():
    wide = {name: next(iter(fimo.attribute(question(Network().bfloat16()), name).values())) for name in ("cg", "trak")}
    theirs = question(Network().bfloat16().float())
    for name, scores in wide.items():
        expected = next(iter(fimo.attribute(theirs, name).values())).values
        np.testing.assert_allclose(scores, expected, rtol=0.05, atol=0.02 * np.abs(expected).max())
    with pytest.raises(fimo.UserError, match="network OfHalf takes torch.float16 alone, .* need at least float32"):
        fimo.attribute(question(OfHalf().half()), "cg")
    with pytest.raises(fimo.UserError, match="dtype of further training must be torch.float32 or torch.float64"):
        fimo.FurtherTraining(torch.optim.SGD, 1, 8, dtype=torch.float16, lr=0.1)
