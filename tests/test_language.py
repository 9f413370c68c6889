"""Language models: every method against explicit matrices, and further training against a plain loop."""

from functools import partial

import numpy as np
import pytest
import torch
from decoders import causal_lm, flattened, language_problem
from methods import DRAWN, METHODS, SIZE, projections
from recursions import recursion

from fimo.attribution import attribute
from fimo.curvature.sampling import Sampling
from fimo.further_training.seeds import train_seeds
from fimo.further_training.settings import FurtherTraining
from fimo.gradients import GradientSource
from fimo.gradients.cotangents import of_loss
from fimo.gradients.recomputed import RecomputedGradients
from fimo.optimizers import LinearisedAdam
from fimo.preconditioners.conjugate_gradients import ConjugateGradients
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.exact_gauss_newton import ExactGaussNewton
from fimo.preconditioners.random_projection import RandomProjection
from fimo.randomness import seed_of
from fimo.reference import further_training as reference_training
from fimo.reference import gradients as reference
from fimo.reference import methods as dense
from fimo.unrolled.displaced import DisplacedGradients
from fimo.unrolled.unrolled_gauss_newton import MatchedGaussNewton, UnrolledGaussNewton

ALL = ("loss_before", "loss_full", "loss_left_out")
# Bias and norms aside, a small decoder: rotary positions, grouped heads, two layers. And one whose head is tied.
KINDS = ["llama", "llama, tied"]


@pytest.fixture(scope="module", params=KINDS)
def one(request):
    return language_problem(
        causal_lm(request.param, 5, hidden_size=4, intermediate_size=4, initializer_range=0.15), words=5
    )


def close(scores, expected, rtol=1e-8):
    np.testing.assert_allclose(scores, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


def sampled_roots(problem, samples, seed):
    """∇ Σ over tokens of −log p(drawn token | the row's own tokens before it), over √T and √k, row by row."""
    targets = Sampling(samples, seed).of(problem).train.targets
    places = problem.train.targets.shape[1]
    drawn = targets[:, places:].unflatten(1, (samples, places))
    rows = []
    for k in range(len(problem.train)):
        inputs, own = problem.train.take(torch.tensor([k]), None)
        for sample in drawn[k]:
            logp = torch.log_softmax(problem.network(inputs)[0], -1)
            predicted = [place for place in range(places - 1) if own[0, place + 1] >= 0]
            loss = -sum(logp[place, sample[place]] for place in predicted) / (len(predicted) * samples) ** 0.5
            parts = torch.autograd.grad(loss, list(problem.theta.values()), materialize_grads=True)
            rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows)


def sampled_gauss_newton(problem, samples, seed):
    roots = sampled_roots(problem, samples, seed)
    return roots.T @ roots / len(problem.train)


NAMES = [name for name, method in METHODS.items() if not method.only and name not in (*DRAWN, "TRAK")]
# LiSSA-H's explicit matrices take seconds.
SLOW = {"LiSSA-H": pytest.mark.slow}


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in NAMES])
def test_equals_the_explicit_matrix(one, name):
    method, flat = METHODS[name], flattened(one)
    expected = reference.scores(flat, method.matrix(flat), method.unit)
    close(attribute(one, method.make()), expected, method.rtol)


@pytest.mark.parametrize("limit", [2**30, pytest.param(0, marks=pytest.mark.slow)])
def test_methods_of_sampled_curvature(one, limit):
    """In the dual, and batch by batch."""
    G, draws = sampled_gauss_newton(one, 3, 5), {"curvature": "sampled", "samples": 3, "seed": 5}
    expected = reference.scores(one, dense.damped_inverse(G, 0.05))
    cg = ConjugateGradients("CG", Damping(0.05), tolerance=1e-13, dual_bytes=limit, **draws)
    close(attribute(one, cg), expected)
    close(attribute(one, ExactGaussNewton("Exact-GN", Damping(0.05), **draws)), expected)
    training = recursion([1, 3, 10], 0.02)
    unrolled = UnrolledGaussNewton("Unrolled-GN", dual_bytes=limit, **draws).for_training(training)
    sums, scores = dense.unrolled(G, [0.02] * 10), attribute(one, unrolled)
    for step in (1, 3, 10):
        close(scores.sel(step=step), reference.scores(one, sums[step - 1]))
    matched = MatchedGaussNewton("Matched-GN", dual_bytes=limit, **draws).for_training(training)
    if limit:
        moved = attribute(one, unrolled, views=DisplacedGradients("both", unrolled)).sel(step=10)
        close(moved, dense.moved_scores(one, sums[9], -sums[9] @ dense.mean_gradient(one), "both"))
        close(attribute(one, matched).sel(step=10), reference.scores(one, dense.damped_inverse(G, 1 / 0.2)))


def test_unrolled_under_adam(one):
    """In the coordinates of Adam's diagonal, which is that of the batches' gradients in the order of lengths."""
    G, draws = sampled_gauss_newton(one, 1, 2), {"curvature": "sampled", "samples": 1, "seed": 2}
    D = dense.adam_scale(one, 4, 1e-3)
    training = LinearisedAdam(np.full(6, 1e-3), [2, 6], momentum=0.9, batch_size=4, epsilon=1e-3)
    matrices = dense.adam_unrolled(G, D, [1e-3] * 6, 0.9)
    method = UnrolledGaussNewton("Unrolled-GN", **draws).for_training(training)
    scores = attribute(one, method)
    for step in (2, 6):
        close(scores.sel(step=step), reference.scores(one, matrices[step - 1]))


def test_trak_projects_the_mean_margin(one):
    rows = []
    for k in range(len(one.train)):
        inputs, targets = one.train.take(torch.tensor([k]), None)
        logp = torch.log_softmax(one.network(inputs)[0], -1)
        labels = [(p, int(targets[0, p + 1])) for p in range(targets.shape[1] - 1) if targets[0, p + 1] >= 0]
        margin = sum(logp[p, y] - torch.log1p(-logp[p, y].exp()) for p, y in labels) / len(labels)
        gradient = torch.autograd.grad(margin, list(one.theta.values()), materialize_grads=True)
        rows.append(torch.cat([part.flatten() for part in gradient]))
    J = torch.stack(rows)
    inverses = [S @ dense.damped_inverse((J @ S).T @ (J @ S) / len(J), 0.0) @ S.T for S in projections(one)]
    close(
        attribute(one, RandomProjection("TRAK", SIZE, projections=2)),
        reference.scores(one, torch.stack(inverses).mean(0)),
        1e-3,
    )


def test_blocks_do_not_matter(one):
    source, whole = GradientSource(one), GradientSource(one)(one.train)
    expected = whole.inner(whole)
    for most_bytes in (2**30, 3000):
        anew = RecomputedGradients.of(source, one.train, of_loss, most_bytes)
        torch.testing.assert_close(anew.inner(anew), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "kind, scheme", [("llama", "drop"), *((kind, s) for kind in ("llama", "gpt2") for s in ("every_step", "mask"))]
)
def test_further_training_equals_the_plain_loop(kind, scheme):
    """With AdamW and clipped gradients; gpt2's with dropout."""
    dropout = {"resid_pdrop": 0.2, "embd_pdrop": 0.2, "attn_pdrop": 0.2} if kind == "gpt2" else {}
    question = language_problem(causal_lm(kind, **dropout))
    optimizer = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)
    settings = {"dtype": torch.float64, "batch_size": 4, "epochs": 2, "leave_out": scheme, "clip": 0.5}
    plan = FurtherTraining(optimizer=partial(optimizer, fused=False), **settings)
    ((_, losses, _),) = train_seeds(question, plan, [3])

    def draw(step, *place):
        torch.default_generator.manual_seed(seed_of(3, step, *place))

    with torch.random.fork_rng():
        expected = reference_training.gold_standard(question, optimizer, 2, 4, scheme, seed=3, clip=0.5, draw=draw)
    for name, values in zip(ALL, expected, strict=True):
        np.testing.assert_allclose(losses[name].values, values, rtol=1e-12, atol=1e-12, err_msg=name)
