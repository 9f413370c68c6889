"""A network that people bring, and a problem with it; the tests have variants."""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import fimo

INPUTS = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
TARGETS = (INPUTS[:, 0] > 0).long()


def question(network, inputs=INPUTS, targets=TARGETS, objective=None, test=slice(0, 4)):
    def taken(tensors, part):
        if isinstance(tensors, tuple):
            return tuple(tensor[part] for tensor in tensors)
        return {k: v[part] for k, v in tensors.items()} if isinstance(tensors, dict) else tensors[part]

    examples = (inputs, targets), (taken(inputs, test), targets[test])
    return fimo.Problem(network, objective or fimo.CrossEntropy(), *examples, left_out=[0, 3, 7])


class Network(nn.Module):
    """The body that the others are variants of."""

    def __init__(self, outputs=2):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head = nn.Linear(5, 6), nn.Linear(6, outputs)

    def forward(self, inputs):
        return self.head(torch.tanh(self.first(inputs)))


class Checkpointed(Network):
    reentrant = True

    def forward(self, inputs):
        return self.head(checkpoint(lambda x: torch.tanh(self.first(x)), inputs, use_reentrant=self.reentrant))
