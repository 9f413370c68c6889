"""Slow, obvious twins of what the package does fast: single runs, one example at a time, explicit loops."""

import copy

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
    problem, optimizer, epochs, batch_size, scheme, seed, left_out=None, clip=None, evaluated=None, draw=None, weight=1
):
    """One run of further training: test losses in float64 after each epoch, or after the steps in `evaluated`.

    `left_out` is None for the full run; `optimizer` takes a list of parameters. `draw(step)` and `draw(step, 1)` seed
    what the network draws for the batch and for the left-out example. With `every_step`, `weight` ℓ_i/n is left out.
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
                loss = loss - weight * problem.objective.loss(network(inputs), targets).sum() / rows
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
        return map_inputs(lambda tensor: tensor[index], rows.inputs), rows.targets[index]
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


def weight_derivative(problem, rates, change=1e-4):
    """What full-batch gradient descent makes of a little less weight of each left-out example: [test, left_out].

    The change of each test loss for a whole example less, by central differences in its weight; float64.
    """
    n, columns = len(problem.train), []
    for i in problem.left_out.tolist():
        losses = []
        for less in (change, -change):
            network = copy.deepcopy(problem.network)
            weights = torch.full((n,), 1 / n, dtype=torch.float64)
            weights[i] -= less / n
            for rate in rates:
                network.zero_grad()
                (weights @ problem.objective.loss(network(problem.train.inputs), problem.train.targets)).backward()
                with torch.no_grad():
                    for parameter in network.parameters():
                        parameter -= rate * parameter.grad
            with torch.no_grad():
                losses.append(problem.objective.loss(network(problem.test.inputs), problem.test.targets))
        columns.append((losses[0] - losses[1]) / (2 * change))
    return torch.stack(columns, 1).numpy()
