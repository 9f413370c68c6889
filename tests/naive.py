"""Slow, obvious twins of what the package does fast: single runs, one example at a time, explicit loops."""

import copy

import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler, Sampler, TensorDataset

from fimo.rows import map_inputs


class Without(Sampler):
    """torch's own random order, with one row removed from each epoch's permutation."""

    def __init__(self, rows, generator, removed):
        self.sampler = RandomSampler(range(rows), generator=generator)
        self.rows, self.removed = rows, removed

    def __iter__(self):
        return (row for row in self.sampler if row != self.removed)

    def __len__(self):
        return self.rows - (self.removed is not None)


def further_training(
    problem, optimizer, epochs, batch_size, scheme, seed, left_out=None, clip=None, evaluated=None, draw=None
):
    """One run of further training: test losses in float64 after each epoch, or after the steps in `evaluated`.

    `left_out` is None for the full run; `optimizer` takes a list of parameters. `draw(step)` and `draw(step, 1)` seed
    what the network draws for the batch and for the left-out example.
    """
    network = copy.deepcopy(problem.network).train()
    rows = len(problem.train)
    data = TensorDataset(torch.arange(rows))
    generator = torch.Generator().manual_seed(seed)
    removed = left_out if scheme == "drop" else None
    loader = DataLoader(data, batch_size=batch_size, sampler=Without(rows, generator, removed))
    update = optimizer(list(network.parameters()))
    full_steps = -(-rows // batch_size)
    losses, step = [], 0
    for epoch in range(epochs):
        for number, (index,) in enumerate(loader):
            step = epoch * full_steps + number + 1
            inputs, targets = taken(problem.train, index, among=index)
            if draw:
                draw(step)
            each = problem.objective.loss(network(inputs), targets)
            if left_out is not None and scheme == "mask":
                each = torch.where(index == left_out, torch.zeros_like(each), each)
            loss = each.mean()
            if left_out is not None and scheme == "every_step":
                inputs, targets = taken(problem.train, torch.tensor([left_out]), among=problem.left_out)
                if draw:
                    draw(step, 1)
                loss = loss - problem.objective.loss(network(inputs), targets).sum() / rows
            update.zero_grad()
            loss.backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
            update.step()
            if evaluated is not None and step in evaluated:
                losses.append(test_losses(problem, network))
        if evaluated is None:
            losses.append(test_losses(problem, network))
    return torch.stack(losses)


def taken(rows, index, among):
    """Inputs and targets at `index`; sequences are cut to the longest of the rows `among`."""
    if rows.lengths is None:
        return rows.inputs[index], rows.targets[index]
    longest = max(int(rows.lengths[row]) for row in among)
    return {name: tensor[index][:, :longest] for name, tensor in rows.inputs.items()}, rows.targets[index]


def test_losses(problem, network):
    network.eval()
    with torch.no_grad():
        targets = problem.test.targets
        targets = targets.double() if targets.is_floating_point() else targets
        losses = problem.objective.loss(network(problem.test.inputs).double(), targets)
    network.train()
    return losses


def gold_standard(problem, optimizer, epochs, batch_size, scheme, seed, **options):
    """loss_before [test], loss_full [step, test] and loss_left_out [step, test, left_out] of one seed."""
    settings = (epochs, batch_size, scheme, seed)
    full = further_training(problem, optimizer, *settings, **options)
    left_out = [further_training(problem, optimizer, *settings, left_out=int(i), **options) for i in problem.left_out]
    before = test_losses(problem, copy.deepcopy(problem.network))
    return before.numpy(), full.numpy(), torch.stack(left_out, -1).numpy()


def gradient(problem, inputs, target):
    """Flat gradient of the loss at one example."""
    network = copy.deepcopy(problem.network).eval()
    loss = problem.objective.loss(network(map_inputs(lambda tensor: tensor[None], inputs)), target[None]).sum()
    gradient = torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True)
    return torch.cat([block.flatten() for block in gradient])


def gradients(problem):
    """Flat gradients of the test examples [test, parameter] and of the left-out ones [left_out, parameter]."""
    test = [gradient(problem, *problem.test[torch.tensor(j)]) for j in range(len(problem.test))]
    train = [gradient(problem, *problem.train[i]) for i in problem.left_out]
    return torch.stack(test), torch.stack(train)


def scores(problem, matrix, unit=False):
    """score[j, i] = φ(g_j)ᵀ P φ(g_i) / n with an explicit matrix P (None for the identity)."""
    test, train = gradients(problem)
    result = torch.zeros(len(test), len(train), dtype=test.dtype)
    for j, g_j in enumerate(test):
        for i, g_i in enumerate(train):
            if unit:
                g_j, g_i = g_j / torch.linalg.norm(g_j), g_i / torch.linalg.norm(g_i)
            result[j, i] = g_j @ (g_i if matrix is None else matrix @ g_i) / len(problem.train)
    return result.numpy()


def cosine(a, b):
    return (
        sum(x * y for x, y in zip(a, b, strict=True)) / np.sqrt(sum(x * x for x in a)) / np.sqrt(sum(y * y for y in b))
    )


def reliability(effects, adjustment, splits, random):
    """[step] from effects [seed, step, test, left_out], with explicit loops."""
    seeds, steps, tests, _ = effects.shape
    half = seeds // 2
    drawn = [random.permutation(seeds) for _ in range(splits)]
    result = []
    for t in range(steps):
        agreement = []
        for order in drawn:
            first = effects[order[:half], t].mean(0)
            second = effects[order[half : 2 * half], t].mean(0)
            if adjustment == "centred":
                first = first - first.mean(-1, keepdims=True)
                second = second - second.mean(-1, keepdims=True)
            agreement.append(np.mean([cosine(first[j], second[j]) for j in range(tests)]))
        c, k = max(0.0, np.mean(agreement)), seeds / half
        result.append(min(1.0, max(0.0, k * c / (1 + (k - 1) * c))))
    return np.array(result)


def resampling_weights(count, replicates, nudge, random):
    """Equal weights, then for each replicate weights that go `nudge` of the way to those of a bootstrap's draw."""
    equal = 1 / count
    if count == 1:
        return [[1.0]] * (1 + replicates)
    drawn = random.multinomial(count - 1, [equal] * count, replicates)
    return [[equal] * count] + [[equal + nudge * (times / (count - 1) - equal) for times in row] for row in drawn]


def weighted_mean(values, weights):
    kept = [(value, weight) for value, weight in zip(values, weights, strict=True) if not np.isnan(value)]
    return sum(value * weight for value, weight in kept) / sum(weight for _, weight in kept) if kept else np.nan


def claim_curves(scores, before, full, left_out, seed_weights, test_weights):
    """{(gold, method, step): mean cosine} of scores `[step, test, left_out]` by label, losses with an axis of seeds."""
    seeds, steps, tests, _ = left_out.shape
    curves = {}
    for label, score in scores.items():
        for t in range(steps):
            cosines = {"none": [], "full": [], "centred": [], "single": []}
            for j in range(tests):
                changes = [left_out[s, t, j] - before[s, j] for s in range(seeds)]
                effects = [left_out[s, t, j] - full[s, t, j] for s in range(seeds)]
                mean = sum(weight * effect for weight, effect in zip(seed_weights, effects, strict=True))
                plain = sum(weight * change for weight, change in zip(seed_weights, changes, strict=True))
                single = [cosine(score[t, j], effect - effect.mean()) for effect in effects]
                cosines["none"].append(cosine(score[t, j], plain))
                cosines["full"].append(cosine(score[t, j], mean))
                cosines["centred"].append(cosine(score[t, j], mean - mean.mean()))
                cosines["single"].append(weighted_mean(single, seed_weights))
            for gold, values in cosines.items():
                curves[gold, label, t] = weighted_mean(values, test_weights)
    return curves


def claim_statistics(curves, labels, steps):
    """The statistics of one run's claims, in the order of the table."""

    def mean(values):
        return weighted_mean(values, [1.0] * len(values))

    def gain(better, worse):
        return mean([curves[better, label, t] - curves[worse, label, t] for label in labels for t in range(steps)])

    first, influence = [], []
    for label in labels:
        curve = [curves["centred", label, t] for t in range(steps)]
        if label.split(" (")[0] in ("Grad-Dot", "Grad-Cos", "DataInf"):
            first.append(curve)
        if label.split(" (")[0] in ("CG", "LiSSA", "LiSSA-H", "EK-FAC", "TRAK"):
            influence.append(curve)
    return [
        mean([curve[0] for curve in first]) - 0.5,
        mean([curve[0] - curve[-1] for curve in first]),
        mean([max(curve) - min(curve) for curve in first]) - mean([max(curve) - min(curve) for curve in influence]),
        mean([max(curve) for curve in first]) - mean([max(curve) for curve in influence]),
        gain("full", "none"),
        gain("centred", "full"),
        gain("centred", "single"),
    ]
