"""The lockstep ensemble against a plain loop over single runs with a DataLoader."""

from functools import partial

import numpy as np
import pytest
import torch
from problems import Sentences, problem, text_problem

from fimo.errors import UserError
from fimo.further_training.seeds import train_seeds
from fimo.further_training.settings import FurtherTraining
from fimo.randomness import seed_of
from fimo.reference import further_training as reference

OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=0.05),
    "sgd, momentum": partial(torch.optim.SGD, lr=0.02, momentum=0.9, weight_decay=0.1),
    "adam": partial(torch.optim.Adam, lr=0.01),
    "adam, decay": partial(torch.optim.Adam, lr=0.01, weight_decay=0.1),
    "adamw": partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
}
SCHEMES = ["drop", "mask", "every_step"]
ALL = ("loss_before", "loss_full", "loss_left_out")


def sweep(question, seeds=(0,), seeds_at_once=1, **settings):
    plan = FurtherTraining(**({"dtype": torch.float64, "batch_size": 8, "epochs": 3} | settings))
    return {seed: losses for seed, losses, _ in train_seeds(question, plan, seeds, seeds_at_once=seeds_at_once)}


def assert_same(losses, expected, tolerance=1e-12):
    for name, values in zip(ALL, expected, strict=True):
        np.testing.assert_allclose(losses[name].values, values, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("fused", [True, False])
def test_equals_the_plain_loop(task, scheme, optimizer, fused):
    question = problem(task)
    optimizer = OPTIMIZERS[optimizer]
    losses = sweep(question, seeds=[4], optimizer=partial(optimizer, fused=fused), leave_out=scheme)[4]
    assert losses["loss_left_out"].dims == ("step", "test", "left_out")
    assert losses["step"].values.tolist() == [3, 6, 9] and losses["epoch"].values.tolist() == [1, 2, 3]
    assert losses["left_out"].values.tolist() == [0, 3, 11, 22]
    assert_same(losses, reference.gold_standard(question, optimizer, 3, 8, scheme, seed=4))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("rows, batch_size", [(16, 8), (17, 8), (23, 8), (16, 1), (16, 16), (16, 100)])
@pytest.mark.parametrize("optimizer", ["sgd, momentum", "adam"])
def test_full_short_and_one_row_last_batches(scheme, rows, batch_size, optimizer):
    """17 = 2 · 8 + 1 rows: with `drop` a left-out run has no last batch, and skips it with its optimiser's state."""
    question = problem("classification", rows=rows, left_out=(0, 9, 15))
    settings = {"leave_out": scheme, "batch_size": batch_size, "epochs": 2}
    losses = sweep(question, optimizer=OPTIMIZERS[optimizer], **settings)[0]
    assert_same(losses, reference.gold_standard(question, OPTIMIZERS[optimizer], 2, batch_size, scheme, seed=0))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_parameters_with_transposed_memory(optimizer):
    question = problem("classification", "transposed")
    optimizer = OPTIMIZERS[optimizer]
    losses = sweep(question, optimizer=partial(optimizer, fused=True), leave_out="mask")[0]
    assert_same(losses, reference.gold_standard(question, optimizer, 3, 8, "mask", seed=0))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_gradients_are_clipped_run_by_run(scheme):
    question = problem()
    losses = sweep(question, optimizer=OPTIMIZERS["sgd"], leave_out=scheme, clip=0.3)[0]
    assert_same(losses, reference.gold_standard(question, OPTIMIZERS["sgd"], 3, 8, scheme, seed=0, clip=0.3))
    free = sweep(question, optimizer=OPTIMIZERS["sgd"], leave_out=scheme)[0]
    assert not np.allclose(losses["loss_full"], free["loss_full"])


@pytest.mark.parametrize(
    "every, steps",
    [
        (None, [3, 6, 9]),
        (4, [4, 8, 9]),
        ([9, 1, 5], [1, 5, 9]),
        ([4, 2], [2, 4]),
        ({"first": 2, "every": 3}, [2, 5, 8, 9]),
        ({"first": 20, "every": 3}, [9]),
        ({"first": 2, "every": 3, "last": 7}, [2, 5, 7]),
        ({"first": 2, "every": 3, "last": 99}, [2, 5, 8, 9]),
    ],
)
def test_evaluated_steps(every, steps):
    question = problem()
    losses = sweep(question, optimizer=OPTIMIZERS["sgd"], leave_out="mask", evaluate_every=every)[0]
    assert losses["step"].values.tolist() == steps
    expected = reference.gold_standard(question, OPTIMIZERS["sgd"], 3, 8, "mask", seed=0, evaluated=steps)
    assert_same(losses, expected)


@pytest.mark.parametrize("every", [[], [0], [10]])
def test_evaluating_outside_further_training_is_an_error(every):
    with pytest.raises(UserError, match=r"further.evaluate_every must list steps from 1 to 9 \(3 epochs of 3 steps\)"):
        sweep(problem(), optimizer=OPTIMIZERS["sgd"], evaluate_every=every)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("network", ["mlp", "convolutional", "vmap-shy"])
def test_independent_of_chunks_and_of_seed_groups(scheme, network):
    question = problem("classification", network, rows=17, left_out=(0, 9, 15))
    settings = {"optimizer": OPTIMIZERS["adam"], "leave_out": scheme, "epochs": 2}
    baseline = sweep(question, seeds=[0, 1, 2], **settings)
    for width, together in [(1, 1), (2, 3), (5, 2)]:
        other = sweep(question, seeds=[0, 1, 2], seeds_at_once=together, runs_at_once=width, **settings)
        for seed, losses in baseline.items():
            assert_same(other[seed], [losses[name].values for name in ALL])


@pytest.mark.parametrize("network", ["convolutional", "vmap-shy", "linear"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_any_network_equals_the_plain_loop(network, scheme):
    question = problem("classification", network)
    losses = sweep(question, optimizer=OPTIMIZERS["sgd"], leave_out=scheme)[0]
    if network == "convolutional":  # the plain loop would update the statistics that stay those of the final model
        question.network.body[1].eval()
        question.network.body[1].train = lambda mode=True: question.network.body[1]
    assert_same(losses, reference.gold_standard(question, OPTIMIZERS["sgd"], 3, 8, scheme, seed=0))


@pytest.mark.parametrize("network", ["dropout", "two dropouts"])
@pytest.mark.parametrize("scheme", ["mask", "every_step"])
@pytest.mark.parametrize("width", [None, 2])
def test_dropout_equals_a_loop_with_the_same_masks(network, scheme, width):
    """Masks belong to a seed and a step: those of the batch, and those of the example that every step subtracts."""
    question = problem("classification", network, rows=17, left_out=(0, 9, 15))
    losses = sweep(question, seeds=[5], optimizer=OPTIMIZERS["sgd"], leave_out=scheme, runs_at_once=width)[5]

    def draw(step, *place):
        torch.default_generator.manual_seed(seed_of(5, step, *place))

    with torch.random.fork_rng():
        expected = reference.gold_standard(question, OPTIMIZERS["sgd"], 3, 8, scheme, seed=5, draw=draw)
    assert_same(losses, expected)


@pytest.mark.parametrize("dropout", [0.2, 0.0])
@pytest.mark.parametrize("scheme", ["mask", "every_step"])
@pytest.mark.parametrize("width", [None, 1, 2])
def test_text_equals_a_loop_with_batches_cut_to_their_longest_sentence(dropout, scheme, width):
    question = text_problem(lambda outputs: Sentences(outputs, dropout=dropout))
    settings = {"optimizer": OPTIMIZERS["adam"], "leave_out": scheme, "batch_size": 4, "clip": 1.0, "epochs": 2}
    losses = sweep(question, seeds=[5], runs_at_once=width, **settings)[5]

    def draw(step, *place):
        torch.default_generator.manual_seed(seed_of(5, step, *place))

    with torch.random.fork_rng():
        optimizer = OPTIMIZERS["adam"]
        expected = reference.gold_standard(question, optimizer, 2, 4, scheme, seed=5, draw=draw, clip=1.0)
    assert_same(losses, expected)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_dropout_on_text_does_not_depend_on_chunks(scheme):
    """The masks' shape is the longest sentence's, of all runs and not of those that share a chunk."""
    question = text_problem()
    settings = {"optimizer": OPTIMIZERS["sgd"], "leave_out": scheme, "batch_size": 4, "epochs": 2}
    baseline, *others = (sweep(question, runs_at_once=width, **settings)[0] for width in (100, 1, 2, 3))
    for other in others:
        assert_same(other, [baseline[name].values for name in ALL])


def test_dropout_seeds_differ_and_go_one_at_a_time():
    question = problem("classification", "dropout", rows=17, left_out=(0, 9, 15))
    settings = {"optimizer": OPTIMIZERS["sgd"], "batch_size": 17}  # the same batch for both: only masks differ
    zero, one = sweep(question, seeds=[0, 1], **settings).values()
    assert not np.allclose(zero["loss_full"], one["loss_full"])
    state = torch.get_rng_state()
    sweep(question, seeds=[0], **settings)
    assert torch.equal(state, torch.get_rng_state())  # nobody else's random numbers were used
    with pytest.raises(UserError, match="further.seeds_at_once must be 1 for a network with dropout"):
        sweep(question, seeds=[0, 1], seeds_at_once=2, **settings)


def test_float32_stores_float64_losses_near_the_float64_run():
    question = problem("classification")
    single = sweep(question, optimizer=OPTIMIZERS["sgd"], dtype=torch.float32)[0]
    double = sweep(question, optimizer=OPTIMIZERS["sgd"])[0]
    for name in ALL:
        assert single[name].dtype == np.float64
        np.testing.assert_allclose(single[name], double[name], rtol=1e-5)
    assert not np.array_equal(single["loss_full"], double["loss_full"])


def test_a_diverged_run_is_nan_and_the_others_are_untouched():
    question = problem()
    question.train.inputs[3] = 1e200  # its gradient overflows; only the run that leaves it out survives
    losses = sweep(question, optimizer=OPTIMIZERS["sgd"], leave_out="drop")[0]
    assert np.isnan(losses["loss_full"]).all()
    finite = np.isfinite(losses["loss_left_out"])
    assert finite.sel(left_out=3).all() and not finite.sel(left_out=[0, 11, 22]).any()


def test_only_claimed_seeds_are_computed():
    plan = FurtherTraining(optimizer=OPTIMIZERS["sgd"], epochs=1, batch_size=8)
    done = [seed for seed, *_ in train_seeds(problem(), plan, range(6), lambda seed: seed % 2 == 0, seeds_at_once=2)]
    assert done == [0, 2, 4]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("network", ["mlp", "convolutional", "dropout"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_gpu_gives_the_same(network, scheme):
    question = problem("classification", network, rows=17, left_out=(0, 9, 15))
    here = sweep(question, optimizer=OPTIMIZERS["adam"], leave_out=scheme)[0]
    there = sweep(question.to("cuda"), optimizer=OPTIMIZERS["adam"], leave_out=scheme)[0]
    if network == "dropout":  # a GPU draws other masks
        assert all(np.isfinite(there[name]).all() for name in ALL)
    else:
        assert_same(there, [here[name].values for name in ALL], tolerance=1e-9)
