"""Losses that a user brings."""


def cauchy(outputs, targets, scale=1.0):
    return (1 + ((outputs - targets) / scale).square()).log().mean(-1)


class Cauchy:
    def __init__(self, scale=1.0):
        self.scale = scale

    def loss(self, outputs, targets):
        return cauchy(outputs, targets, self.scale)


def mean(outputs, targets):
    return (outputs - targets).square().mean()


number = 3
