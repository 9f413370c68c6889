"""Chains equal the networks that they were: values and gradients; and networks of which there is none."""

import copy
from types import MethodType

import numpy as np
import pytest
import torch
from problems import problem
from torch import nn
from torch.func import functional_call, grad, vmap

import fimo
from fimo.further_training.stacking import in_chains
from fimo.models.chain import Chain, chained
from fimo.models.mlp import MLP

ROWS = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def lin(inputs=5, outputs=5, **options):
    return nn.Linear(inputs, outputs, **options)


def small():
    return nn.Sequential(lin(5, 4), nn.ReLU(), lin(4, 3), nn.ReLU(), lin(3, 5))


def tied():
    network = nn.Sequential(lin(), nn.ReLU(), lin(), nn.ReLU(), lin())
    network[2].weight = network[0].weight
    return network


NETWORKS = {
    "layers and ReLUs": small,
    "an MLP": lambda: MLP(5, 3, [4, 4]),
    "a linear MLP": lambda: MLP(5, 3, []),
    "a ReLU at the end": lambda: nn.Sequential(lin(), nn.ReLU(), lin(), nn.ReLU()),
    "two ReLUs": lambda: nn.Sequential(lin(), nn.ReLU(), nn.ReLU(), lin(), nn.ReLU(inplace=True), lin()),
    "another activation": lambda: nn.Sequential(lin(), nn.Tanh(), lin(), nn.ReLU(inplace=True), nn.Tanh(), lin()),
    "no bias": lambda: nn.Sequential(lin(bias=False), nn.ReLU(), lin(), nn.ReLU(), lin(bias=False), nn.ReLU(), lin()),
    "a norm": lambda: nn.Sequential(lin(), nn.LayerNorm(5), nn.ReLU(), lin(), nn.ReLU(), nn.LayerNorm(5), lin()),
    "a bilinear end": lambda: nn.Sequential(lin(5, 6), nn.ReLU(), nn.GLU(), lin(3, 5), nn.ReLU(), lin()),
    "chains in a chain": lambda: nn.Sequential(lin(), nn.Sequential(nn.ReLU(), lin()), nn.ReLU(), lin(), nn.ReLU()),
    "a weight in two places": tied,
    "places": lambda: nn.Sequential(nn.Unflatten(1, (5, 1)), lin(1, 3), nn.ReLU(), lin(3, 1), nn.Flatten()),
    "convolutions first": lambda: nn.Sequential(nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 2, 2), nn.Flatten(), lin(8, 5)),
}


def pair(name):
    torch.manual_seed(1)
    plain = NETWORKS[name]().double()
    other = chained(plain)
    assert any(type(module) is Chain for module in other.modules())
    assert [(n, id(p)) for n, p in other.named_parameters()] == [(n, id(p)) for n, p in plain.named_parameters()]
    assert not any(type(module) is Chain for module in plain.modules())
    return plain, other


def result(network, parameters, inputs):
    outputs = vmap(lambda p, x: functional_call(network, p, (x,)))(parameters, inputs)
    return outputs, *torch.autograd.grad(outputs.sin().sum(), [*parameters.values(), inputs])


@pytest.mark.parametrize("name", NETWORKS)
def test_runs_of_an_ensemble(name):
    networks = pair(name)
    changes = {n: torch.randn(3, *p.shape, dtype=p.dtype) / 5 for n, p in networks[0].named_parameters()}
    parameters = {n: (p.detach() + changes[n]).requires_grad_() for n, p in networks[0].named_parameters()}
    inputs = torch.stack([ROWS, -ROWS, 2 * ROWS]).requires_grad_()
    torch.testing.assert_close(*(result(network, parameters, inputs) for network in networks), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_by_itself(name):
    results = []
    for network in pair(name):
        inputs = ROWS.clone().requires_grad_()
        outputs = network(inputs)
        results.append([outputs, *torch.autograd.grad(outputs.sin().sum(), [*network.parameters(), inputs])])
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shared", ["0.weight", "0.bias", "2.weight", "2.bias"])
def test_what_runs_share_has_one_gradient(shared):
    networks = pair("layers and ReLUs")
    parameters = dict(networks[0].named_parameters())
    stacked = {n: torch.stack([p.detach(), 2 * p.detach()]).requires_grad_() for n, p in parameters.items()}
    stacked[shared] = parameters[shared]
    dims = ({n: None if n == shared else 0 for n in stacked}, None)
    outputs = [vmap(lambda p, x, of=n: functional_call(of, p, (x,)), dims)(stacked, ROWS) for n in networks]
    gradients = [torch.autograd.grad(one.sin().sum(), list(stacked.values())) for one in outputs]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("views", [1, 3])
def test_several_vmaps(views):
    """Runs in the outer one; the inner one knows no runs, or only runs."""
    networks = pair("layers and ReLUs")
    stacked = {n: torch.stack([p.detach(), 2 * p.detach(), -p.detach()]) for n, p in networks[0].named_parameters()}
    inputs = torch.randn(views, 4, 5, dtype=torch.float64)
    outputs = [
        vmap(lambda p, of=n: vmap(lambda x: functional_call(of, p, (x,)))(inputs))(stacked) for n in networks
    ]  # fmt: skip
    torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-13)


def test_frozen_layers_have_no_gradient():
    plain, other = pair("layers and ReLUs")
    plain[2].requires_grad_(False)
    gradients = []
    for network in (plain, other):
        network(ROWS).sum().backward()
        assert plain[2].weight.grad is None and plain[2].bias.grad is None
        gradients.append(plain[0].weight.grad.clone())
        plain.zero_grad()
    torch.testing.assert_close(*gradients)


class Own(nn.Sequential):
    """It differentiates inside."""

    def forward(self, inputs):
        outputs = super().forward(inputs)
        return outputs + grad(lambda rows: super(Own, self).forward(rows).square().sum())(inputs)


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = small()

    def forward(self, inputs):
        return self.inner(inputs)


class Doubled(nn.Linear):
    def forward(self, inputs):
        return 2 * super().forward(inputs)


class Deeper(MLP):
    def forward(self, inputs):
        return super().forward(inputs) * 2


def changed(change):
    network = small()
    change(network)
    return network


def patch(module):
    module.forward = MethodType(lambda layer, inputs: 2 * type(layer).forward(layer, inputs), module)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Own(lin(), nn.ReLU(), lin()),
        lambda: nn.Sequential(lin(), nn.ReLU(), Own(lin(), nn.ReLU(), lin())),
        lambda: nn.Sequential(lin(), nn.ReLU(), Doubled(5, 5)),
        lambda: Wrapped(),
        lambda: Deeper(5, 2, [3]),
        lambda: nn.Sequential(nn.Flatten(), nn.ReLU()),
        lambda: changed(lambda network: network[2].register_forward_hook(lambda *args: None)),
        lambda: changed(lambda network: network[1].register_forward_pre_hook(lambda *args: None)),
        lambda: changed(lambda network: network[0].register_full_backward_hook(lambda *args: None)),
        lambda: changed(lambda network: patch(network[0])),
        lambda: changed(patch),
        lambda: changed(lambda network: nn.utils.parametrizations.weight_norm(network[0])),
    ],
)  # fmt: skip
def test_networks_with_a_part_of_their_users_own_stay_what_they_are(make):
    network = make()
    assert chained(network) is network


def test_whoever_looks_at_all_modules_sees_all(monkeypatch):
    network = small()
    with monkeypatch.context() as patched:
        patched.setattr(nn.Linear, "forward", Doubled.forward)
        assert chained(network) is network
    hook = nn.modules.module.register_module_forward_hook(lambda *args: None)
    assert chained(network) is network
    hook.remove()
    assert type(chained(network)) is Chain


@pytest.mark.parametrize("kind", ["mlp", "linear"])
def test_the_callers_network_has_all_derivatives_still(kind):
    asked = problem("classification", kind)
    before = copy.deepcopy(asked.network.state_dict())
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.1, epochs=1, batch_size=8)
    scores = fimo.attribute(asked, ["cg"], training)["CG"]
    fimo.further_train(asked, training, seeds=1)
    np.testing.assert_array_equal(fimo.attribute(asked, ["cg"], training)["CG"], scores)
    torch.testing.assert_close(asked.network.state_dict(), before, rtol=0, atol=0)
    assert in_chains(asked).train is asked.train
