"""Networks that a user brings, good ones and others."""

from torch import nn


class Skip(nn.Module):
    """Not the project's MLP: batch normalisation and a skip connection."""

    def __init__(self, inputs, outputs, width=8):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.head = nn.Linear(width, outputs)

    def forward(self, x):
        hidden = self.first(x)
        return self.head(hidden + self.second(hidden))


class OtherArguments(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.network = Skip(features, classes)

    def forward(self, x):
        return self.network(x)


def made_by_a_function(inputs, outputs):
    return OtherArguments(inputs, outputs)


class NoArguments(nn.Module):
    def __init__(self):
        super().__init__()


class OneOutput(Skip):
    def forward(self, x):
        return super().forward(x)[:, :1]


class NoOutputAxis(Skip):
    def forward(self, x):
        return super().forward(x).sum(-1)


class Dictionary(Skip):
    def forward(self, x):
        return {"hidden": x, "scores": super().forward(x)}


class OtherInputs(Skip):
    def __init__(self, inputs, outputs):
        super().__init__(inputs + 1, outputs)


class Refuses(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        raise ValueError("even widths only")


def no_network(inputs, outputs):
    return [inputs, outputs]
