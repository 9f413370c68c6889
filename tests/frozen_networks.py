"""Networks with a part that may be frozen, which can be computed once per row or must not be."""

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


class Base(nn.Module):
    """The body and the head that the others are variants of."""

    def __init__(self, outputs):
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(5, 6), nn.LayerNorm(6), nn.Linear(6, outputs)

    def forward(self, inputs):
        return self.head(self.norm(torch.tanh(self.body(inputs))))


class Detached(Base):
    """The normalisation's input depends on θ, and no gradient says so."""

    def forward(self, inputs):
        hidden = torch.tanh(self.body(inputs))
        return self.head(hidden + self.norm(hidden * self.head.bias.detach().sum()))


class Twice(Base):
    def forward(self, inputs):
        return self.head(self.norm(torch.tanh(self.body(inputs)))) + self.head(self.norm(inputs @ self.body.weight.T))


class Several(Base):
    """A frozen part that gives a mapping with a tuple and nothing in it; one of the tensors is of no use."""

    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 6)

        def forward(self, inputs, scale=1.0):
            hidden = self.layer(inputs) * scale
            return {"hidden": (hidden, hidden.square()), "nothing": None, "mask": hidden > 0}

    def __init__(self, outputs):
        super().__init__(outputs)
        self.body = self.Part()

    def forward(self, inputs):
        given = self.body(inputs, scale=2.0)
        return self.head(torch.where(given["mask"], given["hidden"][0], -0.1))


class Positions(Base):
    """A module whose output has no axis of rows beside one whose output has."""

    def __init__(self, outputs):
        super().__init__(outputs)
        self.place = nn.Embedding(4, 6)  # as many as rows that are looked at

    def forward(self, inputs):
        places = self.place(torch.arange(4)).sum(0)
        return self.head(torch.tanh(self.body(inputs)) + places)


class InPlace(Base):
    def forward(self, inputs):
        return self.head(functional.relu_(self.norm(self.body(inputs))))


class Checkpointed(Base):
    def forward(self, inputs):
        return checkpoint(lambda x: self.head(torch.tanh(self.body(x))), inputs, use_reentrant=False)


class Rare(Base):
    """The body is called once more where a row is far out, as one row is that isn't looked at."""

    def forward(self, inputs):
        hidden = torch.tanh(self.body(inputs))
        far = inputs.abs().amax(1, keepdim=True) > 50
        hidden = torch.where(far, self.body(-inputs), hidden) if far.any() else hidden
        return self.head(hidden)


class RareInput(Base):
    """What goes into the frozen normalisation depends on θ where a row is far out."""

    def forward(self, inputs):
        hidden, far = torch.tanh(self.body(inputs)), inputs.abs().amax(1, keepdim=True) > 50
        return self.head(self.norm(torch.where(far, self.head.weight[0], hidden).detach() + hidden))


class RareUse(Base):
    """An output that is of no use but where a row is far out."""

    def forward(self, inputs):
        hidden = self.body(inputs)
        outputs = self.head(self.norm(torch.tanh(hidden)))
        return outputs + hidden.sum(1, keepdim=True) if hidden.abs().max() > 50 else outputs


class Random(Base):
    """Dropout in the frozen part."""

    def forward(self, inputs):
        return self.head(functional.dropout(self.norm(self.body(inputs)), 0.3, self.training))

    def __init__(self, outputs):
        super().__init__(outputs)
        self.norm = nn.Sequential(nn.Dropout(0.2), nn.LayerNorm(6))


class Flagged(nn.Module):
    """Two inputs; the second is of use for some rows only, and none of those that are looked at."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x, flag):
        hidden = torch.tanh(self.body(x))
        return self.head(torch.where(flag[:, None] == 1, hidden, hidden * 2))


VARIANTS = (Base, Detached, Twice, Several, Positions, InPlace, Checkpointed, Rare, RareInput, RareUse, Random)
