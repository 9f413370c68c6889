"""Small problems with every kind of network and objective that the tests need."""

import torch
from torch import nn

import fimo  # noqa: F401  (first: see fimo/compat.py)
from fimo.models.losses import OBJECTIVES
from fimo.models.mlp import MLP
from fimo.problem import Problem
from fimo.rows import Rows


class Convolutional(nn.Module):
    """A network that is not made of linear layers alone, with batch normalisation whose statistics say something."""

    def __init__(self, outputs):
        super().__init__()
        norm = nn.BatchNorm2d(4)
        norm.running_mean.copy_(torch.tensor([0.1, -0.2, 0.0, 0.3]))
        norm.running_var.copy_(torch.tensor([0.8, 1.5, 1.0, 0.6]))
        self.body = nn.Sequential(nn.Conv2d(1, 4, (1, 3)), norm, nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(4 * 3, outputs)

    def forward(self, inputs):
        return self.head(self.body(inputs[:, None, None]))


class Transformer(nn.Module):
    """Five numbers as five tokens: embedding, one head of attention, layer normalisation, mean."""

    def __init__(self, outputs, width=4):
        super().__init__()
        self.place = nn.Parameter(torch.randn(5, width))
        self.embed, self.norm = nn.Linear(1, width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.head = nn.Linear(width, outputs)

    def forward(self, inputs):
        tokens = self.embed(inputs[..., None]) + self.place
        attention = torch.softmax(self.query(tokens) @ self.key(tokens).mT / 2, -1)
        return self.head(self.norm(tokens + attention @ self.value(tokens)).mean(1))


class Shy(nn.Module):
    """A network whose forward pass depends on the data in a way that vmap cannot follow."""

    def __init__(self, outputs):
        super().__init__()
        self.mlp = MLP(5, outputs, [7])

    def forward(self, inputs):
        outputs = self.mlp(inputs)
        return outputs if outputs.sum().item() > 0 else outputs * 1.0


class Transposed(nn.Module):
    """Parameters whose memory is not in the order of their axes."""

    def __init__(self, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 6).T)
        self.head = nn.Linear(6, outputs)

    def forward(self, inputs):
        return self.head(torch.tanh(inputs @ self.weight.T))


class Sentences(nn.Module):
    """Tokens with a mask: embedding, dropout, attention, dropout, the first token. Masks are as long as the rows."""

    def __init__(self, outputs, width=4, dropout=0.2):
        super().__init__()
        self.embed, self.norm = nn.Embedding(12, width), nn.LayerNorm(width)
        self.query, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.drop, self.head = nn.Dropout(dropout), nn.Linear(width, outputs)

    def forward(self, inputs):
        tokens = self.drop(self.embed(inputs["input_ids"]))
        logits = self.query(tokens) @ tokens.mT + (inputs["attention_mask"][:, None] - 1) * 1e9
        attention = self.drop(torch.softmax(logits, -1))
        return self.head(self.norm(tokens + attention @ self.value(tokens))[:, 0])


class Tied(nn.Module):
    """A layer that is called twice, and a weight that two layers share."""

    def __init__(self, outputs):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, outputs)
        self.second.weight = self.first.weight

    def forward(self, inputs):
        hidden = torch.tanh(self.first(inputs))
        return self.head(torch.tanh(self.second(hidden) + self.first(hidden)))


NETWORKS = {
    "mlp": lambda outputs: MLP(5, outputs, [7, 6]),
    "linear": lambda outputs: nn.Linear(5, outputs),
    "convolutional": Convolutional,
    "transformer": Transformer,
    "dropout": lambda outputs: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, outputs)),
    "two dropouts": lambda outputs: nn.Sequential(
        nn.Dropout(0.2), nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, outputs)
    ),
    "transposed": Transposed,
    "tied": Tied,
    "vmap-shy": Shy,
    "in-place": lambda outputs: nn.Sequential(nn.Linear(5, 8), nn.ReLU(inplace=True), nn.Linear(8, outputs)),
}


def problem(
    task="regression", network="mlp", rows=23, tests=4, left_out=(0, 3, 11, 22), dtype=torch.float64, seed=0,
    parameters="all",
):  # fmt: skip
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows + tests, 5, generator=random)
    hidden = torch.sin(inputs @ torch.randn(5, 3, generator=random))
    if task == "regression":
        targets, outputs = hidden.sum(1, keepdim=True) + 0.3 * torch.randn(rows + tests, 1, generator=random), 1
    else:
        targets, outputs = hidden.argmax(1), 3
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = NETWORKS[network](outputs)
    everything = Rows(inputs, targets, torch.arange(rows + tests))
    test = everything.keep(slice(rows, None))
    test = Rows(test.inputs, test.targets, torch.arange(tests))
    examples = everything.keep(slice(0, rows)), test, left_out
    return Problem(net.eval(), OBJECTIVES[task], *examples, parameters).to(dtype=dtype)


def text_problem(
    network=Sentences, rows=17, tests=4, left_out=(0, 9, 15), dtype=torch.float64, seed=0, classes=3, parameters="all"
):
    """Sentences of 2 to 9 tokens, padded; `network` takes the number of outputs."""
    random = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 9, (rows + tests,), generator=random)
    lengths[rows - 1] = 9  # the longest row is in few batches, and left out by nobody
    tokens = torch.randint(2, 12, (rows + tests, 9), generator=random)
    mask = (torch.arange(9) < lengths[:, None]).long()
    targets = tokens[:, :2].sum(1) % classes
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = network(classes)
    everything = Rows(
        {"input_ids": tokens * mask, "attention_mask": mask}, targets, torch.arange(rows + tests), lengths
    )
    test = everything.keep(slice(rows, None))
    test = Rows(test.inputs, test.targets, torch.arange(tests), test.lengths)
    train = everything.keep(slice(0, rows))
    return Problem(net.eval(), OBJECTIVES["classification"], train, test, left_out, parameters).to(dtype=dtype)


class Own(nn.Module):
    """A network that a user brings: not made of linear layers alone."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(inputs))
        self.head = nn.Linear(inputs, outputs)

    def forward(self, inputs):
        return self.head(torch.tanh(self.scale * inputs))


class Halved:
    """An augmentation."""

    def __call__(self, inputs):
        return inputs / 2


class NoLayers(nn.Module):
    """A network without a layer that Kronecker factors exist for."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(inputs, outputs))

    def forward(self, inputs):
        return torch.tanh(inputs @ self.weight)


def small_dropout():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(0.3), nn.Linear(4, 3))


def small_normalised():
    return nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3))
