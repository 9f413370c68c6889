"""Versions stand for numbers: what is stored on disk is addressed by them, so a changed number needs a raised version.

`python tests/test_versions.py` writes the numbers of versions that `versions.json` does not have yet. All inputs are
multiples of 1/8, drawn as whole numbers, so that they are the same on every machine.
"""

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from methods import METHODS
from problems import small_dropout, small_normalised, text_problem

from fimo import data, further_training, models, unrolled
from fimo.attribution import attribute
from fimo.data.flips import flip_labels
from fimo.further_training.order import Order
from fimo.further_training.seeds import train_seeds
from fimo.further_training.settings import FurtherTraining
from fimo.models.augmentation import FlipAndCrop
from fimo.models.convolutional import SmallConvolutional
from fimo.models.losses import OBJECTIVES
from fimo.models.mlp import MLP
from fimo.models.resnet import ResNet9
from fimo.models.training import FinalTraining, metrics, train_final
from fimo.pipeline.catalogue import BASELINES, method_named
from fimo.problem import Problem
from fimo.rows import Rows

RECORD = Path(__file__).with_name("versions.json")
ROWS, TESTS, BATCH, LEFT_OUT = 13, 3, 4, (0, 5, 12)  # 13 = 3 · 4 + 1: with drop, a run skips the last step


@dataclass(frozen=True)
class Pinned:
    """Numbers that a version stands for: where the version is written, which it is, and how exactly they are known."""

    constant: str
    version: int
    numbers: Callable[[], object]
    tolerance: float = 1e-9  # relative to the largest number


def eighths(*shape, seed):
    """Numbers between −2 and 2, exact in every dtype."""
    return torch.randint(-16, 17, shape, generator=torch.Generator().manual_seed(seed)).double() / 8


def fixed(network):
    """The network in float64 with parameters that no generator of real numbers draws."""
    network = network.double()
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.copy_(eighths(*parameter.shape, seed=number) / 2)
    return network.eval()


def rows(count, seed, task="classification", shape=(3,)):
    total = (inputs := eighths(count, *shape, seed=seed)).flatten(1).sum(1)
    targets = (8 * total).long() % 3 if task == "classification" else total[:, None].square() / 4
    return Rows(inputs, targets, torch.arange(count))


def problem(task="classification", network=None):
    network = fixed(network or MLP(3, 3 if task == "classification" else 1, [4]))
    return Problem(network, OBJECTIVES[task], rows(ROWS, 1, task), rows(TESTS, 2, task), torch.tensor(LEFT_OUT))


def further(optimizer, task="classification", network=None, batch_size=BATCH, **settings):
    """Losses of two epochs: of the full run and of the left-out runs, or the effects that tangents give."""
    plan = FurtherTraining(optimizer=optimizer, epochs=2, batch_size=batch_size, dtype=torch.float64, **settings)
    ((_, losses, _),) = train_seeds(problem(task, network), plan, [3], lambda seed: True)
    return [
        losses[name].values for name in ("loss_before", "loss_full", "effect" if plan.tangents else "loss_left_out")
    ]


def final(*settings, network=None, shape=(3,), **more):
    """Metrics and the sum of the parameters of a final model, trained for two epochs."""
    network, train = fixed(network or MLP(3, 3, [4])), rows(ROWS, 1, shape=shape)
    objective = OBJECTIVES["classification"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        train_final(
            FinalTraining(network, objective, *settings, **more), train, Order(ROWS, 4, 0), 2, torch.device("cpu")
        )
    numbers = metrics(network, objective, rows(TESTS, 2, shape=shape))
    return [[numbers["loss"], numbers["accuracy"]], [parameter.sum().item() for parameter in network.parameters()]]


@torch.no_grad()
def drawn(make, shape):
    """Outputs of a network as torch's generator draws it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().double().eval()(eighths(2, *shape, seed=1))


@torch.no_grad()
def encoder():
    from fimo.models.encoder import Encoder

    config = {"model_type": "bert", "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2}
    network = fixed(Encoder(9, 3, config=config | {"intermediate_size": 5, "max_position_embeddings": 4}))
    tokens, mask = torch.tensor([[2, 3, 4], [5, 6, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    return network({"input_ids": tokens, "attention_mask": mask})


SGD, ADAM = partial(torch.optim.SGD, lr=0.05, momentum=0.5), partial(torch.optim.Adam, lr=0.01, eps=1e-3)
ADAMW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1, eps=1e-3)
FURTHER = {
    **{f"{scheme}, SGD": partial(further, SGD, leave_out=scheme) for scheme in ("every_step", "drop", "mask")},
    **{f"{scheme}, Adam": partial(further, ADAM, leave_out=scheme) for scheme in ("every_step", "drop", "mask")},
    "every_step, AdamW, clipped": partial(further, ADAMW, clip=0.5),
    "regression": partial(further, SGD, "regression"),
    "dropout": lambda: further(SGD, network=small_dropout()),
    "statistics of the batch": lambda: further(
        SGD, network=small_normalised(), leave_out="drop", batch_norm="updated", batch_size=5
    ),
    "tangents, SGD": partial(further, SGD, tangents=True),
    "tangents, Adam": partial(further, ADAM, tangents=True, clip=0.5),
}
NETWORKS = {
    "MLP": partial(drawn, partial(MLP, 4, 2, [5, 3]), (4,)),
    "small convolutional": partial(drawn, partial(SmallConvolutional, 1, 3, (2, 3)), (1, 5, 6)),
    "ResNet-9": partial(drawn, partial(ResNet9, 3, 3, 2), (3, 8, 8)),
}
MODELS = {
    "SGD": partial(final, "sgd", 0.1),
    "Adam": partial(final, "adam", 0.01, 0.1),
    "AdamW, clipped, linear schedule": partial(final, "adamw", 0.01, 0.1, 0.5, schedule="linear"),
    "SGD, cosine schedule, best epoch": lambda: final("sgd", 0.3, validation_rows=rows(TESTS, 2), schedule="cosine"),
    "SGD, augmented": lambda: final(
        "sgd", 0.1, network=SmallConvolutional(1, 3, (2,)), shape=(1, 4, 4), augment=FlipAndCrop(1)
    ),
    "encoder": encoder,
}
TOLERANCES = {"CG": 1e-8, "TRAK": 1e-4}  # an iteration more or less; projections in float32


def scores(label):
    method = METHODS[label].make()
    method.depth = 60  # of LiSSA, more than in the tests against the slow twin
    return attribute(problem(), method).values


def scores_named(name):
    question, training = (
        text_problem() if name == "bm25" else problem(),
        FurtherTraining(SGD, epochs=2, batch_size=BATCH),
    )
    return method_named(name).scores(question, training).values.values


def flipped():
    return vars(flip_labels(rows(ROWS, 1), 3, 0.5, 1, "classification")[1]).values()


def pinned():
    """Every pinned number by its name."""
    gold = partial(Pinned, "fimo.further_training.VERSION", further_training.VERSION)
    final_model = partial(Pinned, "fimo.models.VERSION", models.VERSION)
    yield from ((f"further training: {name}", gold(numbers)) for name, numbers in FURTHER.items())
    yield from ((f"final model: {name}", final_model(numbers)) for name, numbers in MODELS.items())
    yield from ((f"network: {name}", final_model(numbers, 1e-5)) for name, numbers in NETWORKS.items())
    yield "flipped labels", Pinned("fimo.data.VERSION", data.VERSION, flipped)
    for name in ("unrolled_gn", "matched_gn", "unrolled_gn_moved"):
        yield f"method: {name}", Pinned("fimo.unrolled.VERSION", unrolled.VERSION, partial(scores_named, name), 1e-8)
    for name, kind in BASELINES.items():
        yield f"baseline: {name}", Pinned(f"{kind.__module__}.version", kind.version, partial(scores_named, name))
    for label, method in METHODS.items():
        kind = type(method.make())
        version, where = getattr(kind, "version", 1), f"{kind.__module__}.{kind.__qualname__}.version"
        yield f"method: {label}", Pinned(where, version, partial(scores, label), TOLERANCES.get(label, 1e-9))


PINNED = dict(pinned())


def flat(numbers):
    return np.concatenate([np.asarray(part, dtype=float).ravel() for part in numbers])


def changed(item, entry):
    """How the numbers differ from those on record, or nothing."""
    values, expected = flat(item.numbers()), np.array(entry["numbers"])
    if values.shape != expected.shape:
        return f"{len(values)} numbers in place of {len(expected)}"
    difference = np.abs(values - expected).max() / np.abs(expected).max()
    return "" if difference <= item.tolerance else f"they differ by {difference:.1e} of the largest"


@pytest.mark.parametrize("name", PINNED)
def test_a_version_stands_for_its_numbers(name):
    item, entry = PINNED[name], json.loads(RECORD.read_text()).get(name, {"version": None})
    write = "write the new numbers with `python tests/test_versions.py`"
    if entry["version"] != item.version:
        pytest.fail(f"{name}: no numbers of {item.constant} = {item.version} are on record: {write}.")
    if difference := changed(item, entry):
        pytest.fail(
            f"{name}: the numbers of {item.constant} = {item.version} changed ({difference}). What is stored on disk "
            f"was made with the old ones: raise {item.constant} ({item.version + 1}) and {write}."
        )


def test_nothing_is_on_record_that_is_not_pinned():
    assert set(json.loads(RECORD.read_text())) == set(PINNED)


@pytest.mark.parametrize(
    "entry, text",
    [
        ({"version": 1, "numbers": [0.0] * 9}, r"raise fimo.preconditioners.identity.Identity.version \(2\) and write"),
        ({"version": 0, "numbers": [0.0] * 9}, "no numbers of .*identity.Identity.version = 1 are on"),
    ],
)
def test_other_numbers_and_unknown_versions_fail(entry, text, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "RECORD", tmp_path / "versions.json")
    RECORD.write_text(json.dumps({"method: Grad-Dot": entry | {"numbers": [1.0] * 9}}))
    with pytest.raises(pytest.fail.Exception, match=text):
        test_a_version_stands_for_its_numbers("method: Grad-Dot")


def write_record():
    """Numbers of versions that are not on record; those of a version that is are never written over."""
    old, new = json.loads(RECORD.read_text()) if RECORD.is_file() else {}, {}
    for name, item in PINNED.items():
        entry = old.get(name)
        if entry is None or entry["version"] != item.version:
            new[name] = {"version": item.version, "numbers": flat(item.numbers()).tolist()}
            print(f"{name}: numbers of version {item.version} written")
        elif difference := changed(item, entry):
            sys.exit(f"{name}: {difference}: raise {item.constant} ({item.version}) first. Nothing is written.")
        else:
            new[name] = entry
    lines = (f" {json.dumps(name)}: {json.dumps(entry)}" for name, entry in new.items())
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    write_record()
