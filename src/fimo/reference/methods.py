"""Slow, obvious twins of the gradient-based methods: dense matrices over all parameters, float64."""

import copy
import itertools
from dataclasses import replace

import torch

from fimo.reference.gradients import gradient, gradients


def flat_outputs(problem, inputs):
    """Outputs as a function of one flat vector of parameters, and that vector at the final model."""
    names = [name for name, _ in problem.network.named_parameters()]
    shapes = [p.shape for p in problem.network.parameters()]
    theta = torch.cat([p.detach().flatten() for p in problem.network.parameters()])

    def outputs(flat):
        parts = flat.split([shape.numel() for shape in shapes])
        blocks = {name: part.reshape(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return torch.func.functional_call(problem.network, blocks, (inputs,))

    return outputs, theta


def jacobians(problem):
    """J_k [row, output, param]."""
    return torch.stack(
        [
            torch.autograd.functional.jacobian(*flat_outputs(problem, problem.train.inputs[k : k + 1])).squeeze(0)
            for k in range(len(problem.train))
        ]
    )


def is_regression(problem):
    return problem.train.targets.is_floating_point()


def output_hessian(problem, k):
    """∂²ℓ/∂f² at training example k, by its closed form."""
    with torch.no_grad():
        f = problem.network(problem.train.inputs[k : k + 1])[0]
    if is_regression(problem):
        return torch.eye(len(f), dtype=f.dtype) * 2 / len(f)
    p = torch.softmax(f, 0)
    return torch.diag(p) - torch.outer(p, p)


def gauss_newton(problem, rows=None):
    """The mean over training rows (repeated ones count again) of J_kᵀ H_k J_k."""
    J = jacobians(problem)
    rows = range(len(problem.train)) if rows is None else rows
    return sum(J[k].T @ output_hessian(problem, k) @ J[k] for k in rows) / len(rows)


def empirical_fisher(problem, rows=None):
    """The mean over training rows (repeated ones count again) of g_k g_kᵀ, g_k the gradient of the loss."""
    g = training_gradients(problem)
    g = g if rows is None else g[list(rows)]
    return g.T @ g / len(g)


def hessian(problem, rows=None):
    """The Hessian of the mean loss over training rows."""
    rows = torch.arange(len(problem.train)) if rows is None else torch.tensor(list(rows))
    outputs, theta = flat_outputs(problem, problem.train.inputs[rows])
    targets = problem.train.targets[rows]
    return torch.autograd.functional.hessian(lambda flat: problem.objective.loss(outputs(flat), targets).mean(), theta)


def training_gradients(problem):
    """[row, param]"""
    return torch.stack([gradient(problem, *problem.train[torch.tensor(k)]) for k in range(len(problem.train))])


def lambda_0(problem):
    return training_gradients(problem).square().mean().item()


def damped_inverse(matrix, damping):
    return torch.linalg.inv(matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype))


def mean_of_inverses(problem, share=None, damping=None):
    """DataInf: explicit inverses, tensor by tensor; zero for a tensor whose gradient is nothing but rounding."""
    g = training_gradients(problem)
    blocks = []
    for part in g.split([p.numel() for p in problem.network.parameters()], dim=1):
        if part.abs().max() < 1e-13 * g.abs().max():
            blocks.append(torch.zeros(part.shape[1], part.shape[1], dtype=g.dtype))
            continue
        value = share * part.square().mean() if damping is None else damping
        blocks.append(sum(damped_inverse(torch.outer(row, row), value) for row in part) / len(part))
    return torch.block_diag(*blocks)


def neumann_series(problem, curvature, damping, scale, batches):
    """What the recursion h ← g + h − (C_B h + λh)/s makes of every unit vector, divided by s; column by column."""
    matrix = {"gauss_newton": gauss_newton, "empirical_fisher": empirical_fisher, "hessian": hessian}[curvature]
    size = sum(p.numel() for p in problem.network.parameters())
    g = torch.eye(size, dtype=torch.float64)
    h = g.clone()
    for batch in batches:
        C = matrix(problem, None if batch is None else batch.tolist())
        h = g + h - (C @ h + damping * h) / scale
    return h / scale


def influence_by_batches(problem, g, batches, damping, scale):
    """The recursion as the library torch-influence has it, for one vector: products with autograd, batch by batch.

    Each step evaluates the batch's mean loss, multiplies its Gauss–Newton matrix by a forward and a backward product,
    adds the damping to that product, and divides by the scale only at the end.
    """
    h = g.clone()
    for batch in batches:
        outputs, theta = flat_outputs(problem, problem.train.inputs[batch])
        f, Jh = torch.autograd.functional.jvp(outputs, theta, h)
        targets = problem.train.targets[batch]
        _, HJh = torch.autograd.functional.hvp(lambda f, y=targets: problem.objective.loss(f, y).mean(), f, Jh)
        _, product = torch.autograd.functional.vjp(outputs, theta, HJh)
        h = g + h - (product + damping * h) / scale
    return h / scale


def random_projection(problem, S, ridge=0.0):
    """TRAK's P with an explicit S [param, size]."""
    n = len(problem.train)
    J = jacobians(problem)
    if is_regression(problem):
        rows = J.flatten(0, 1)
    else:
        rows = torch.stack([margin_gradient(problem, k) for k in range(n)])
    features = rows @ S
    return S @ damped_inverse(features.T @ features / n, ridge) @ S.T


def margin_gradient(problem, k):
    """Gradient of log p_y − log(1 − p_y) at training example k."""
    outputs, theta = flat_outputs(problem, problem.train.inputs[k : k + 1])

    def margin(flat):
        p = torch.softmax(outputs(flat)[0], 0)[problem.train.targets[k]]
        return torch.log(p) - torch.log(1 - p)

    return torch.autograd.functional.jacobian(margin, theta)


def rescaled(scale, solve):
    """D^½ solve(D^½) D^½ of a diagonal D = `scale [param]`."""
    root = torch.diag(scale.sqrt())
    return root @ solve(root) @ root


def kronecker_factors(problem, share, scale=None):
    """EK-FAC for networks of linear layers that are called on a matrix: explicit Kronecker products, layer by layer.

    With the diagonal `scale [param]` of a matrix D the eigenvalues are those of gradients D^½ g, and P is between two
    factors D^½.
    """
    network, n = copy.deepcopy(problem.network), len(problem.train)
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    seen = {}
    for layer in layers:
        layer.register_forward_hook(lambda m, args, out: seen.__setitem__(m, (args[0].detach(), out)))
    outputs = network(problem.train.inputs)
    ones = torch.ones(n, 1, dtype=outputs.dtype)
    pseudo = []  # roots R of each row's output Hessian: J_kᵀR RᵀJ_k is its part of the Gauss–Newton matrix
    for k in range(n):
        values, vectors = torch.linalg.eigh(output_hessian(problem, k))
        pseudo.append(vectors * values.clamp(min=0).sqrt())
    pseudo = torch.stack(pseudo)
    blocks, sizes = [], [p.numel() for layer in layers for p in layer.parameters()]
    scale = torch.ones(sum(sizes), dtype=outputs.dtype) if scale is None else scale
    for layer, part in zip(layers, scale.split([a + b for a, b in zip(*[iter(sizes)] * 2, strict=True)]), strict=True):
        inputs, result = seen[layer]
        a = torch.cat([inputs, ones], 1)
        d = torch.stack(
            [
                torch.autograd.grad(outputs, result, pseudo[:, :, c], retain_graph=True)[0]
                for c in range(pseudo.shape[2])
            ]
        )
        right = torch.linalg.eigh(a.T @ a / n).eigenvectors
        left = torch.linalg.eigh(torch.einsum("cni,cnj->ij", d, d) / n).eigenvectors
        Q = torch.kron(left, right)
        gradients = torch.einsum("cni,nj->cnij", d, a).flatten(2).flatten(0, 1)
        root = torch.empty_like(part)
        root[in_order(layer)] = part.sqrt()
        eigenvalues = (gradients * root @ Q).square().sum(0) / n
        P = root[:, None] * (Q @ torch.diag(1 / (eigenvalues + share * eigenvalues.mean())) @ Q.T) * root
        blocks.append(P[in_order(layer)][:, in_order(layer)])
    return torch.block_diag(*blocks)


def in_order(layer):
    """Where the parameters weight, bias lie among the entries of the matrix whose last column is the bias."""
    places = torch.arange(layer.out_features * (layer.in_features + 1)).reshape(layer.out_features, -1)
    return torch.cat([places[:, :-1].flatten(), places[:, -1]])


def unrolled(matrix, rates, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0):
    """The deviation that a pull of the identity in every step of torch's SGD makes, after each step: [step, p, p]."""
    unit = torch.eye(len(matrix), dtype=matrix.dtype)
    deviation = torch.nn.Parameter(torch.zeros_like(matrix))
    optimizer = torch.optim.SGD(
        [deviation], 1.0, momentum, dampening, nesterov=nesterov, weight_decay=weight_decay, foreach=False
    )
    found = []
    for rate in rates:
        optimizer.param_groups[0]["lr"] = float(rate)
        deviation.grad = matrix @ deviation.detach() - unit
        optimizer.step()
        found.append(deviation.detach().clone())
    return torch.stack(found)


def adam_unrolled(matrix, scale, rates, momentum, weight_decay=0.0):
    """The same for Adam that divides by a fixed `1/scale [param]` and decays as AdamW does."""
    unit = torch.eye(len(matrix), dtype=matrix.dtype)
    deviation, velocity, found = torch.zeros_like(matrix), torch.zeros_like(matrix), []
    for step, rate in enumerate(rates, start=1):
        velocity = momentum * velocity + (1 - momentum) * (matrix @ deviation - unit)
        corrected = velocity / (1 - momentum**step)
        deviation = deviation - rate * weight_decay * deviation - rate * torch.diag(scale) @ corrected
        found.append(deviation)
    return torch.stack(found)


def adam_scale(problem, batch_size, epsilon):
    """1/(√E[g_B²] + ε) over every batch of so many training rows, one after the other."""
    g = training_gradients(problem)
    batches = [g[list(rows)].mean(0) for rows in itertools.combinations(range(len(g)), batch_size)]
    scale = 1 / (torch.stack(batches).square().mean(0).sqrt() + epsilon)
    return torch.where((g == 0).all(0), scale.min(), scale)


def moved_scores(problem, matrix, drift, moved, unit=False):
    """Scores with an explicit matrix and gradients at θ_f + drift, of the `train` or of `both` kinds of examples."""
    there = copy.deepcopy(problem.network)
    theta = torch.nn.utils.parameters_to_vector(there.parameters())
    torch.nn.utils.vector_to_parameters(theta + drift, there.parameters())
    (test, _), (test_there, train_there) = gradients(problem), gradients(replace(problem, network=there))
    test = test_there if moved == "both" else test
    if unit:
        test, train_there = (g / torch.linalg.vector_norm(g, dim=1, keepdim=True) for g in (test, train_there))
    return (test @ (train_there.T if matrix is None else matrix @ train_there.T) / len(problem.train)).numpy()


def mean_gradient(problem):
    """∇R(θ_f), flat."""
    rows = range(len(problem.train))
    return torch.stack([gradient(problem, *problem.train[torch.tensor(k)]) for k in rows]).mean(0)
