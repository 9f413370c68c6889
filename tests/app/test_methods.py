"""Methods and what they are told of further training, through the config."""

import numpy as np
import pandas as pd
import pytest
from configs import app, make_run
from hydra.errors import InstantiationException

from fimo.curvature.sampling import Sampling
from fimo.errors import Unavailable
from fimo.paper.damping_grid import damped_scores
from fimo.pipeline import addresses
from fimo.pipeline.methods import training_recursion
from fimo.preconditioners.identity import Identity
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


def test_a_displaced_method_has_the_estimate_and_the_rows_of_unrolled_gn():
    options = ("method=grad_dot", "method.grad_dot.moved=both", "facts.unrolled_rows=30", "size=smoke", *FEW)
    method = make_run(*options, "experiment=diabetes", "final.epochs=0").methods["grad_dot"]
    assert isinstance(method.preconditioner, Identity) and type(method.estimate) is UnrolledGaussNewton
    assert (method.sides, method.estimate.curvature_rows, method.follows_training) == ("both", 30, True)


def test_recursions_are_what_the_optimizer_does():
    problem = make_run("experiment=diabetes", "final.epochs=0", "size=smoke", *FEW).problem
    run = make_run("experiment=diabetes", "optimizer=adamw", "optimizer.lr=0.01", "size=smoke", *FEW)
    recursion = training_recursion(run.training, problem)
    assert (recursion.momentum, recursion.weight_decay, recursion.epsilon) == (0.9, 0.01, 1e-8)
    assert recursion.batch_size == run.training.batch_size and np.all(recursion.learning_rates == 0.01)
    decay = ("optimizer.momentum=0.5", "optimizer.weight_decay=0.1")
    recursion = training_recursion(make_run("experiment=diabetes", *decay, "size=smoke", *FEW).training, problem)
    assert (recursion.momentum, recursion.weight_decay, recursion.nesterov) == (0.5, 0.1, False)


def test_addresses_of_what_follows_further_training_depend_on_it():
    def address(method, *options):
        return addresses.scores(make_run("experiment=diabetes", f"method={method}", *options), method).hash

    for method, options in (("grad_dot", ["method.grad_dot.moved=both"]), ("unrolled_gn", [])):
        usual = address(method, *options)
        assert usual == address(method, *options, "further.seeds=9")
        for other in ("further.epochs=7", "optimizer.lr=1e-4", "optimizer=adam", "data.batch_size=16"):
            assert usual != address(method, *options, other)
    assert address("grad_dot") == address("grad_dot", "further.epochs=7")
    path = ["method.unrolled_gn.path=true"]
    assert address("unrolled_gn", *path) != address("unrolled_gn", *path, "further.first_seed=1")
    assert address("unrolled_gn", *path) == address("unrolled_gn", *path, "method.unrolled_gn.segments=1")
    assert address("unrolled_gn", *path) != address("unrolled_gn", *path, "method.unrolled_gn.segments=2")


@pytest.mark.parametrize("optimizer", [pytest.param("adam", marks=pytest.mark.slow), "adamw"])
def test_a_trajectory_under_adam_has_the_squares_of_its_own_run(optimizer, tmp_path):
    chosen = ("method=unrolled_gn", "method.unrolled_gn.path=true", "method.unrolled_gn.segments=2")
    assert app(tmp_path, *chosen, *FEW, f"optimizer={optimizer}", "name=there") == 0
    scores = pd.read_csv(tmp_path / "results/there/scores.csv")
    assert set(scores["method"]) == {"Unrolled-GN (path, segments = 2)"} and scores["score"].notna().all()


CURVED = ("cg", "lissa", "exact_gn", "unrolled_gn", "matched_gn", "unrolled_gn_moved", "ekfac")


def curved(*options):
    return make_run("experiment=diabetes", f"method=[{','.join(CURVED)}]", "size=smoke", *FEW, *options)


def test_addresses_are_what_they_were_before_curvatures_were_sampled():
    run, old = curved(), curved(*(f"method.{name}.curvature=gauss_newton" for name in CURVED))
    assert run.fingerprints == old.fingerprints
    assert [m.label for m in old.methods.values()] == [m.label for m in run.methods.values()]
    for name in CURVED:
        settings = run.fingerprints.methods[name]["method"]
        assert settings.get("curvature") == ("gauss_newton" if name in ("cg", "lissa", "exact_gn") else None)
        assert "samples" not in settings and ("seed" in settings) == (name == "lissa")


@pytest.mark.parametrize("kind", ["sampled", "sketched"])
def test_draws_are_said_in_labels_and_addresses(kind):
    run, plain = curved(*(f"method.{name}.curvature={kind}" for name in CURVED)), curved()
    assert run.methods["cg"].label == f"CG (curvature = {kind})"
    assert all(run.fingerprints.methods[name] != plain.fingerprints.methods[name] for name in CURVED)
    more = curved("method.cg.curvature=sampled", "method.cg.samples=4", "method.cg.seed=2", "method.cg.moved=both")
    assert more.methods["cg"].label == "CG (moved = both, curvature = sampled, samples = 4, seed = 2)"
    assert more.methods["cg"].estimate.sampling == more.methods["cg"].preconditioner.sampling == Sampling(4, 2)
    assert plain.methods["cg"].preconditioner.sampling is None


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["method.cg.samples=4"], "samples of CG must be 1 where curvature is exact, found 4: draws are those of"),
        (["method.cg.curvature=sampled", "method.cg.samples=0"], "samples of CG must be .* at least 1, found 0"),
    ],
)
def test_numbers_of_draws_are_refused_before_the_work(options, sentence):
    with pytest.raises(InstantiationException, match=sentence):
        make_run("experiment=diabetes", "method=cg", *options)


def test_dampings_around_the_matched_one_are_those_of_sgd():
    with pytest.raises(Unavailable, match="figure-damping .* optimizer must be sgd, found Adam"):
        damped_scores(make_run("experiment=diabetes", "optimizer=adam"))
