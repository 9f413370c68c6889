"""Which parameters a choice makes θ, and what is refused."""

import copy
from dataclasses import replace

import pytest
import torch
from problems import NETWORKS, problem
from torch import nn
from torch.nn.utils import parametrizations

import fimo
from fimo.errors import UserError
from fimo.models.parameter_choice import chosen_names


class WithAdapters(nn.Module):
    """Names as PEFT writes them: factors of low rank beside a linear layer, and a head that is trained with them."""

    def __init__(self, outputs):
        super().__init__()
        self.first = nn.Module()
        self.first.base_layer = nn.Linear(5, 6)
        self.first.lora_A = nn.ModuleDict({"default": nn.Linear(5, 2, bias=False)})
        self.first.lora_B = nn.ModuleDict({"default": nn.Linear(2, 6, bias=False)})
        self.scale = nn.ParameterDict({"ia3_l": nn.Parameter(torch.ones(6))})
        self.head = nn.Module()
        self.head.original_module = nn.Linear(6, outputs)
        self.head.modules_to_save = nn.ModuleDict({"default": nn.Linear(6, outputs)})

    def forward(self, inputs):
        low = self.first.lora_B["default"](self.first.lora_A["default"](inputs))
        hidden = torch.tanh(self.first.base_layer(inputs) + low) * self.scale["ia3_l"]
        return self.head.modules_to_save["default"](hidden)


class Tied(nn.Module):
    """The last layer's weight is the embedding's."""

    def __init__(self, outputs):
        super().__init__()
        self.embed, self.out = nn.Linear(outputs, 5, bias=False), nn.Linear(5, outputs)
        self.out.weight = nn.Parameter(self.embed.weight.T.clone())
        self.lin = nn.Linear(5, 5)
        self.lin_again = nn.Linear(5, 5)
        self.lin_again.weight, self.lin_again.bias = self.lin.weight, self.lin.bias

    def forward(self, inputs):
        return self.out(self.lin_again(torch.tanh(self.lin(inputs))))


class Unused(nn.Module):
    """A head that is called and not returned, as a pooler; and one that is never called."""

    def __init__(self, outputs):
        super().__init__()
        self.body, self.head, self.pooler, self.spare = (nn.Linear(5, 5), nn.Linear(5, outputs), *[nn.Linear(5, 2)] * 2)
        self.spare = nn.Linear(3, 3)

    def forward(self, inputs):
        hidden = self.body(inputs)
        return self.head(hidden), self.pooler(hidden)


MORE = NETWORKS | {
    "adapters": WithAdapters,
    "tied": Tied,
    "unused": Unused,
    "parametrized": lambda outputs: nn.Sequential(nn.Linear(5, 4), parametrizations.weight_norm(nn.Linear(4, outputs))),
    "normalised": lambda outputs: nn.Sequential(nn.Linear(5, outputs), nn.LayerNorm(outputs), nn.Softplus()),
    "one parameter": lambda outputs: nn.ParameterList([torch.ones(5, outputs)]),
}


@pytest.mark.parametrize(
    "network, choice, names",
    [
        ("linear", "last_layer", ["weight", "bias"]),
        ("dropout", "last_layer", ["3.weight", "3.bias"]),
        ("normalised", "last_layer", ["1.weight", "1.bias"]),
        ("unused", "last_layer", ["head.weight", "head.bias"]),
        (
            "parametrized",
            "last_layer",
            ["1.bias", "1.parametrizations.weight.original0", "1.parametrizations.weight.original1"],
        ),
        ("tied", ["lin_again.weight"], ["lin.weight"]),
        (
            "adapters",
            "adapters",
            [
                "first.lora_A.default.weight",
                "first.lora_B.default.weight",
                "scale.ia3_l",
                "head.modules_to_save.default.weight",
                "head.modules_to_save.default.bias",
            ],
        ),
    ],
)
def test_names(network, choice, names):
    torch.manual_seed(0)
    rows = problem().train.to(dtype=torch.float32)
    examples = rows.inputs, [0, 1, 2] * 7 + [0, 1]
    made = fimo.Problem(MORE[network](3).eval(), fimo.CrossEntropy(), examples, examples, [0])
    assert list(chosen_names(made.network, choice, made.train)) == names
    part = replace(made, part=names)
    assert list(part.parameters) == names and list(made.parameters) != names or network == "linear"


@pytest.mark.parametrize(
    "network, choice, message",
    [
        ("mlp", ["head.*"], r"has no parameter head\.\*; its parameters are linear_relu_stack\.0\.weight"),
        ("mlp", "adapters", "MLP has no adapters; its parameters are"),
        ("mlp", [], r"parameters must be all, last_layer, adapters, or a list of patterns .*, found \[\]"),
        ("mlp", 3, "must be all, last_layer, adapters, or a list of patterns .*, found 3"),
        ("unused", ["pooler.*"], r"only parameters that the outputs .* don't depend on \(pooler.weight, pooler.bias\)"),
        ("unused", ["spare.*"], "nothing could be trained, so name others"),
    ],
)
def test_what_is_refused(network, choice, message):
    rows = problem("classification").train.to(dtype=torch.float32)
    with pytest.raises(UserError, match=message):
        fimo.Problem(MORE[network](3).eval(), fimo.CrossEntropy(), rows, rows, [0], choice)
    with pytest.raises(UserError, match=r"has no parameter nothing; it has linear_relu_stack\.0\.weight"):
        replace(problem(), part=["nothing"])


def test_frozen_parameters_of_the_caller(caplog):
    """They are part of θ unless the choice says otherwise, and a line says so; the caller's network stays as it is."""
    rows, network = problem("classification").train.to(dtype=torch.float32), NETWORKS["mlp"](3)
    network.linear_relu_stack[0].requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    with caplog.at_level("INFO"):
        everything = fimo.Problem(network, fimo.CrossEntropy(), rows, rows, [0])
    assert "all parameters, those too that came frozen (linear_relu_stack.0.weight" in caplog.text
    assert everything.size == sum(p.numel() for p in network.parameters())
    caplog.clear()
    with caplog.at_level("INFO"):
        part = fimo.Problem(everything.network, fimo.CrossEntropy(), rows, rows, [0], "last_layer")
    assert "θ: 21 of 111 parameters, linear_relu_stack.4.weight, linear_relu_stack.4.bias" in caplog.text
    assert part.size == 21 and all(p.requires_grad for p in everything.network.parameters())
    assert [p.requires_grad for p in network.parameters()] == [False, False, True, True, True, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
