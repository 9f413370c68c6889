"""Methods and what they are told of further training, through the config."""

import numpy as np
import pandas as pd
import pytest
from configs import app, config

from fimo.errors import Unavailable
from fimo.paper.damping_grid import damped_scores
from fimo.pipeline import addresses, methods
from fimo.pipeline.run import Question
from fimo.preconditioners.identity import Identity
from fimo.unrolled.displaced import DisplacedGradients
from fimo.unrolled.unrolled_gauss_newton import UnrolledGaussNewton

FEW = ("data.test_count=4", "data.left_out=5")


def test_where_gradients_are_taken_is_said_in_labels_and_tables(tmp_path):
    chosen = ("method=[grad_dot,cg,unrolled_gn]", "method.cg.moved=train", "method.unrolled_gn.path=true")
    assert app(tmp_path, *chosen, *FEW, "name=there") == 0
    scores = pd.read_csv(tmp_path / "results/there/scores.csv")
    steps = scores.groupby("method")["step"].apply(lambda step: step.notna().all())
    assert steps.to_dict() == {"Grad-Dot": False, "CG (moved = train)": True, "Unrolled-GN (path)": True}
    text = (tmp_path / "results/there/table.md").read_text()
    assert "Unrolled-GN (path): gradients are taken along a full run of further training, that of seed 0" in text


def test_a_method_that_is_moved_has_the_estimate_and_the_rows_of_unrolled_gn():
    options = ("method=grad_dot", "method.grad_dot.moved=both", "facts.unrolled_rows=30", "size=smoke", *FEW)
    cfg = config(*options, "experiment=diabetes", "final.epochs=0")
    asked = Question(cfg)
    method, scores = methods.scoring(cfg, "grad_dot", asked.problem)
    moved = scores.keywords["views"]
    assert (
        isinstance(method, Identity)
        and isinstance(moved, DisplacedGradients)
        and type(moved.estimate) is UnrolledGaussNewton
    )
    assert (moved.sides, moved.estimate.curvature_rows, moved.estimate.steps[-1]) == (
        "both",
        30,
        len(moved.estimate.recursion.learning_rates),
    )


def test_recursions_are_what_the_optimizer_does():
    cfg = config("experiment=diabetes", "optimizer=adamw", "optimizer.lr=0.01", "size=smoke", *FEW)
    problem = Question(config("experiment=diabetes", "final.epochs=0", "size=smoke", *FEW)).problem
    found = methods.recursion(cfg, problem)
    assert (found.momentum, found.weight_decay, found.epsilon) == (0.9, 0.01, 1e-8)
    assert found.batch_size == cfg.data.batch_size and np.all(found.learning_rates == 0.01)
    cfg = config("experiment=diabetes", "optimizer.momentum=0.5", "optimizer.weight_decay=0.1", "size=smoke", *FEW)
    found = methods.recursion(cfg, problem)
    assert (found.momentum, found.weight_decay, found.nesterov) == (0.5, 0.1, False)


def test_addresses_of_what_follows_further_training_depend_on_it():
    def address(method, *options):
        return addresses.scores_artifact(config("experiment=diabetes", f"method={method}", *options), method).hash

    for method, options in (("grad_dot", ["method.grad_dot.moved=both"]), ("unrolled_gn", [])):
        usual = address(method, *options)
        assert usual == address(method, *options, "further.seeds=9")
        for other in ("further.epochs=7", "optimizer.lr=1e-4", "optimizer=adam", "data.batch_size=16"):
            assert usual != address(method, *options, other)
    assert address("grad_dot") == address("grad_dot", "further.epochs=7")
    path = ["method.unrolled_gn.path=true"]
    assert address("unrolled_gn", *path) != address("unrolled_gn", *path, "further.first_seed=1")


def test_dampings_around_the_matched_one_are_those_of_sgd():
    with pytest.raises(Unavailable, match="table-beyond .* optimizer must be sgd, found Adam"):
        damped_scores(Question(config("experiment=diabetes", "optimizer=adam")))
