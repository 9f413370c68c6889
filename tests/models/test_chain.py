"""Chains of linear layers equal the `nn.Sequential`s that they were: values, gradients, and what others see of them."""

import copy
from types import MethodType

import pytest
import torch
from problems import problem
from torch import nn
from torch.func import functional_call, vmap

import fimo
from fimo.further_training.stacking import with_chains
from fimo.models.chain import Chain, chains_of, use_chains

ROWS = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """What goes in is needed again, and the gradient that comes back is that of both ways."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, inputs):
        return inputs + self.inner(inputs)


class Square(nn.Module):
    def forward(self, inputs):
        return inputs * inputs


class Shift(nn.Module):
    """The gradient of its parameter is the very tensor that goes back to its inputs."""

    def __init__(self):
        super().__init__()
        self.by = nn.Parameter(torch.randn(7, 5))

    def forward(self, inputs):
        return inputs + self.by


class Doubled(nn.Linear):
    def forward(self, inputs):
        return 2 * super().forward(inputs)


class Branches(nn.Module):
    """A chain that is called twice, and whose layers are called one by one, too."""

    def __init__(self, chain):
        super().__init__()
        self.chain = chain

    def forward(self, inputs):
        seen = [inputs]
        for layer in self.chain:
            seen.append(layer(seen[-1]))
        return self.chain(inputs) + self.chain(self.chain(inputs)) + seen[1] * seen[2]


def lin(inputs=5, outputs=5, **options):
    return nn.Linear(inputs, outputs, **options)


def tied():
    layer = lin()
    return nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), layer)


def own_forward():
    network = nn.Sequential(lin(), nn.ReLU(), lin())
    network[0].forward = MethodType(lambda layer, inputs: 2 * nn.Linear.forward(layer, inputs), network[0])
    return network


NETWORKS = {
    "layers and ReLUs": lambda: nn.Sequential(lin(5, 4), nn.ReLU(), lin(4, 3), nn.ReLU(), lin(3, 5)),
    "a ReLU at the end": lambda: Residual(nn.Sequential(lin(), nn.ReLU(), lin(), nn.ReLU())),
    "two ReLUs": lambda: nn.Sequential(lin(), nn.ReLU(), nn.ReLU(), lin(), nn.ReLU(inplace=True), lin()),
    "another activation": lambda: nn.Sequential(lin(), nn.Tanh(), lin(), nn.ReLU(inplace=True), nn.Tanh(), lin()),
    "a residual block": lambda: nn.Sequential(lin(), nn.ReLU(), Residual(nn.Sequential(lin(), nn.ReLU(), lin()))),
    "a product": lambda: nn.Sequential(lin(), Square(), lin(), nn.ReLU(), Square(), lin()),
    "a shift": lambda: nn.Sequential(lin(), nn.ReLU(), Shift()),
    "a shift of more": lambda: nn.Sequential(lin(), nn.ReLU(), Shift(), lin(), nn.ReLU(), lin()),
    "a layer of one's own": lambda: nn.Sequential(lin(), nn.ReLU(), Doubled(5, 5), nn.ReLU(), lin()),
    "no bias": lambda: nn.Sequential(lin(bias=False), nn.ReLU(), lin(), nn.ReLU(), lin(bias=False), nn.ReLU(), lin()),
    "a norm": lambda: nn.Sequential(lin(), nn.LayerNorm(5), nn.ReLU(), lin(), nn.ReLU(), nn.LayerNorm(5), lin()),
    "chains in a chain": lambda: nn.Sequential(nn.Sequential(lin(), nn.ReLU()), nn.Sequential(lin(), nn.ReLU(), lin())),
    "one layer in three places": tied,
    "called twice": lambda: Branches(nn.Sequential(lin(), nn.ReLU(), lin(), nn.ReLU(), lin())),
    "a forward of its own": own_forward,
    "places": lambda: nn.Sequential(nn.Unflatten(1, (5, 1)), lin(1, 3), nn.ReLU(), lin(3, 1), nn.Flatten()),
}


def pair(name):
    torch.manual_seed(1)
    plain = NETWORKS[name]().double()
    other = copy.deepcopy(plain)
    use_chains(other)
    assert [n for n, _ in other.named_parameters()] == [n for n, _ in plain.named_parameters()]
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
    found = []
    for network in pair(name):
        inputs = ROWS.clone().requires_grad_()
        outputs = network(inputs)
        found.append([outputs, *torch.autograd.grad(outputs.sin().sum(), [*network.parameters(), inputs])])
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-13)


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


@pytest.mark.parametrize("place", [0, 1, 2])
def test_who_looks_sees_the_same(place):
    seen = []
    for network in pair("layers and ReLUs"):
        network[place].register_forward_hook(lambda module, inputs, output: seen.append((*inputs, output)))
        network(ROWS).sum().backward()
    torch.testing.assert_close(*seen)


def test_frozen_layers_have_no_gradient():
    plain, other = pair("layers and ReLUs")
    for network in (plain, other):
        network[2].requires_grad_(False)
        network(ROWS).sum().backward()
    assert other[2].weight.grad is None and other[2].bias.grad is None
    torch.testing.assert_close(other[0].weight.grad, plain[0].weight.grad)


def test_a_class_of_ones_own_stays_what_it_is():
    class Halved(nn.Sequential):
        def forward(self, inputs):
            return super().forward(inputs) / 2

    network = Halved(lin(), nn.ReLU(), lin())
    assert not chains_of(network) and not chains_of(nn.Sequential(nn.Flatten(), nn.ReLU()))


def test_the_callers_network_has_all_derivatives_still():
    asked = problem("classification", "mlp")
    other = with_chains(asked)
    assert any(type(module) is Chain for module in other.network.modules())
    assert not any(type(module) is Chain for module in asked.network.modules())
    training = fimo.FurtherTraining(torch.optim.SGD, lr=0.1, epochs=1, batch_size=8)
    before = fimo.attribute(asked, ["cg"], training)["CG"]
    fimo.further_train(asked, training, seeds=1)
    assert (fimo.attribute(asked, ["cg"], training)["CG"] == before).all()
