"""Networks that take other rows another way than the first two, and a problem with one of them."""

from types import MethodType

import torch
from brought_networks import INPUTS, Network, question
from torch import nn
from torch.nn import functional

ROWS = INPUTS[:16].double().clone()
ROWS[:2, 0] = torch.tensor([-0.1, -0.2])  # rows that take no other way come first
LABELS = (ROWS[:, 1] > 0).long()


class Variant(Network):
    """A body with an inner layer of five to five; `special` rows are those whose first number is positive."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(5, 5), nn.Linear(5, 2)
        del self.first
        self.double()

    def forward(self, inputs):
        return self.head(torch.tanh(self.hidden(inputs, inputs[:, 0] > 0)))


class BehindAGate(Variant):
    """All in one graph: the rows without it have a zero in its place."""

    def hidden(self, inputs, special):
        again = functional.linear(inputs.tanh(), self.inner.weight) * special[:, None]
        return self.inner(inputs) + again


class BehindABranch(Variant):
    """The weight is used behind its layer's back where there is a special row at all."""

    def hidden(self, inputs, special):
        hidden = self.inner(inputs)
        if special.any():
            hidden = hidden.index_put((special,), functional.linear(hidden[special], self.inner.weight))
        return hidden


class Skips(Variant):
    """Special rows don't go through the layer."""

    def hidden(self, inputs, special):
        return inputs.index_put((~special,), self.inner(inputs[~special]))


class Twice(Variant):
    """The layer is called a second time for special rows."""

    def hidden(self, inputs, special):
        hidden = self.inner(inputs)
        return hidden.index_put((special,), self.inner(hidden[special])) if special.any() else hidden


class Never(Variant):
    """A second layer is called for special rows only."""

    def __init__(self):
        super().__init__()
        self.extra = nn.Linear(5, 5).double()

    def hidden(self, inputs, special):
        hidden = self.inner(inputs)
        return hidden.index_put((special,), self.extra(hidden[special])) if special.any() else hidden


class Experts(Variant):
    """Each row goes to the expert of its largest number; all experts are called, some with no row."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(5, 5) for _ in range(3)).double()

    def hidden(self, inputs, special):
        chosen, hidden = inputs[:, :3].argmax(1), self.inner(inputs)
        for number, expert in enumerate(self.experts):
            hidden = hidden.index_put((chosen == number,), expert(hidden[chosen == number]))
        return hidden


class Sorted(Variant):
    """The layer is called once with all rows, in another order."""

    def hidden(self, inputs, special):
        order = inputs[:, 0].argsort(descending=True)
        return self.inner(inputs[order])[order.argsort()]


class Tied(Variant):
    def __init__(self):
        super().__init__()
        self.again = nn.Linear(5, 5).double()
        self.again.weight = self.inner.weight

    def hidden(self, inputs, special):
        return self.again(torch.tanh(self.inner(inputs)))


class Furtive(Variant):
    """The weight is used a second time, where no hook sees it."""

    def hidden(self, inputs, special):
        return torch.tanh(self.inner(inputs)) @ self.inner.weight


class Hooked(Variant):
    """A hook of somebody's adds to what the layer makes of special rows, with its weight."""

    def __init__(self):
        super().__init__()
        self.inner.register_forward_hook(self.more)

    @staticmethod
    def more(module, inputs, output):
        special = inputs[0][:, 0] > 0
        return output + functional.linear(inputs[0].tanh(), module.weight) * special[:, None] if special.any() else None

    def hidden(self, inputs, special):
        return self.inner(inputs)


class Scaled(Hooked):
    """A hook of somebody's scales what the layer makes of special rows."""

    @staticmethod
    def more(module, inputs, output):
        return output * (1 + (inputs[0][:, :1] > 0))


class Patched(Variant):
    """The layer computes something else than its class does."""

    def __init__(self):
        super().__init__()
        self.inner.forward = MethodType(self.other, self.inner)

    @staticmethod
    def other(module, inputs):
        return functional.linear(inputs.tanh(), module.weight, module.bias)

    def hidden(self, inputs, special):
        return self.inner(inputs)


def with_classes(kind):
    torch.manual_seed(0)
    return question(kind(), ROWS, LABELS, test=slice(10, 14))


class LastTwo(Variant):
    """The last two of many rows go through the layer in each other's places."""

    def hidden(self, inputs, special):
        order = torch.arange(len(inputs))
        if len(inputs) > 2:
            order[-2:] = order[-2:].flip(0)
        return self.inner(inputs[order])[order]
