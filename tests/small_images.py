"""Small problems of images, and others, whose layers can be taken by themselves."""

import torch
from problems import problem, text_problem
from torch import nn

from fimo.models.classification import CrossEntropy
from fimo.problem import Problem
from fimo.rows import Rows


def images(network, classes=4):
    """Images of so many classes that a row has several scalars."""
    random = torch.Generator().manual_seed(0)
    rows = Rows(torch.randn(9, 2, 6, 6, generator=random), torch.arange(9) % classes, torch.arange(9))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = network(classes).eval()
    train, test = rows.keep(slice(0, 7)), rows.keep(slice(7, None))
    return Problem(network, CrossEntropy(), train, test, torch.tensor([0])).to(dtype=torch.float64)


def few_pixels(classes):
    """A wide layer on four pixels, whose factors are rotated, and a small one on 25, whose gradients are."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 2), nn.Tanh(), nn.Conv2d(3, 16, 4, bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(64, classes)
    )


class Patches(nn.Module):
    """Linear layers at places of each row, and on a matrix."""

    def __init__(self, classes):
        super().__init__()
        self.up, self.small = nn.Linear(12, 30), nn.Linear(30, 2, bias=False)
        self.head = nn.Linear(12, classes)

    def forward(self, inputs):
        places = inputs.reshape(len(inputs), 6, 12)
        return self.head(torch.tanh(self.small(torch.tanh(self.up(places)))).flatten(1))


QUESTIONS = {
    "few pixels": lambda: images(few_pixels),
    "linear layers at places": lambda: images(Patches),
    "three classes": lambda: problem("classification", "convolutional"),
    "regression": lambda: problem("regression", "convolutional"),
    "sentences of several lengths": lambda: text_problem(),
}
