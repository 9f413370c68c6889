"""What is frozen and lies below θ, computed once per row: what is stored, what never is, and that nothing changes."""

from functools import partial

import frozen_networks
import numpy as np
import pytest
import torch
from further_training.test_gold_standard import ALL, OPTIMIZERS, assert_same, sweep
from models.test_encoder import CONFIGS
from problems import NETWORKS, Sentences, problem, text_problem

import fimo
from fimo.further_training.modes import precomputed_for_training
from fimo.models import frozen_part
from fimo.models.encoder import Encoder
from fimo.models.stored_outputs import INPUT, OUTPUT, stored_bytes
from fimo.randomness import seed_of
from fimo.reference import further_training as training_reference

# A network, a choice of θ, and of which modules outputs are stored.
KINDS = NETWORKS | {kind.__name__: kind for kind in frozen_networks.VARIANTS}
STORED = [
    ("mlp", "last_layer", ["linear_relu_stack.3.0"]),
    ("mlp", "*.weight", []),
    ("convolutional", ["body.1.*"], ["body.0.0"]),
    ("transformer", ["value.*"], ["embed.0", "query.0", "key.0"]),
    ("transposed", "last_layer", []),
    ("vmap-shy", "last_layer", ["mlp.linear_relu_stack.1.0"]),
    ("in-place", "last_layer", ["1.0"]),
    ("Base", "last_layer", ["norm.0"]),
    ("Base", ["norm.bias"], ["body.0"]),
    ("Detached", ["head.*"], ["body.0"]),
    ("Twice", ["head.*"], ["body.0"]),
    ("Several", ["head.*"], ["body.0", "body.3"]),
    ("Positions", ["head.*"], ["body.0"]),
    ("InPlace", ["head.*"], []),
    ("Checkpointed", ["head.*"], []),
    ("Rare", ["head.*"], []),
    ("RareInput", ["head.*"], []),
    ("RareUse", ["head.*"], []),
    ("Random", ["head.*"], ["norm.0"]),
]


@pytest.fixture
def kinds(monkeypatch):
    for name, kind in KINDS.items():
        monkeypatch.setitem(NETWORKS, name, kind)


def elsewhere(question):
    torch.manual_seed(1)
    return {name: part + 0.2 * torch.randn_like(part) for name, part in question.parameters.items()}


def assert_same_function(question, stored):
    """Outputs and gradients at other parameters, at all rows."""
    for rows, with_stored in ((question.train, stored.train), (question.test, stored.test)):
        theta = {name: part.requires_grad_() for name, part in elsewhere(question).items()}
        both = [asked.losses(theta, given) for asked, given in ((question, rows), (stored, with_stored))]
        torch.testing.assert_close(*both, rtol=1e-12, atol=1e-13)
        gradients = [torch.cat([g.flatten() for g in torch.autograd.grad(ls.sum(), theta.values())]) for ls in both]
        torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize("network, choice, names", STORED, ids=[f"{name}, {choice}" for name, choice, _ in STORED])
def test_what_is_stored(network, choice, names):
    question = problem("classification", network, parameters=choice)
    if network.startswith("Rare"):
        question.train.inputs[1] *= 100
    stored = question.precomputed
    assert stored is question.precomputed and (stored is question) == (not names)
    inputs = stored.train.inputs
    held = {} if isinstance(inputs, torch.Tensor) else inputs
    proper = [INPUT] if network == "Twice" else []  # which its second way needs
    assert list(held) == proper + [OUTPUT + name for name in names]
    assert stored_bytes(inputs) == sum(tensor[0].nbytes for key, tensor in held.items() if key != INPUT)
    assert list(stored.parameters) == list(question.parameters)
    assert_same_function(question, stored)
    assert_same_function(question, stored.to(dtype=torch.float64))


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize("network", ["Several", "Checkpointed", "InPlace", "Positions"])
def test_the_gold_standard_is_the_plain_loops(network):
    question = problem("classification", network, parameters=["head.*"])
    before = question.train.inputs.clone()
    losses = sweep(question, optimizer=OPTIMIZERS["adam"], leave_out="drop")[0]
    assert_same(losses, training_reference.gold_standard(question, OPTIMIZERS["adam"], 3, 8, "drop", seed=0))
    assert torch.equal(question.train.inputs, before)


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize("scheme", ["mask", "every_step"])
def test_dropout_in_the_frozen_part_is_drawn_in_every_step(scheme):
    question = problem("classification", "Random", rows=17, left_out=(0, 9, 15), parameters=["head.*"])
    stored = precomputed_for_training(question, False, None)
    assert list(stored.train.inputs) == [OUTPUT + "body.0"] and list(question.precomputed.train.inputs)[0].endswith(
        "norm.0"
    )
    losses = sweep(question, seeds=[5], optimizer=OPTIMIZERS["sgd"], leave_out=scheme)[5]
    with torch.random.fork_rng():
        expected = training_reference.gold_standard(
            question, OPTIMIZERS["sgd"], 3, 8, scheme, seed=5, draw=lambda *place: torch.manual_seed(seed_of(5, *place))
        )
    assert_same(losses, expected)


def encoder(kind, **settings):
    return lambda outputs: Encoder(12, outputs, config=CONFIGS[kind] | settings)


QUIET = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.mark.parametrize(
    "network, choice, names",
    [
        (partial(Sentences, dropout=0.0), ["value.*", "norm.*"], ["embed.0", "query.0"]),
        (encoder("bert", **QUIET), "last_layer", ["dropout.0"]),
        (encoder("bert", **QUIET), ["head.*", "*layer.1.*"], ["encoder.encoder.layer.0.0"]),
        (
            encoder("distilbert", dropout=0.0, attention_dropout=0.0),
            ["head.*", "*layer.1.*"],
            ["encoder.transformer.layer.0.0"],
        ),
    ],
)
def test_sentences(network, choice, names):
    """Stored outputs with places are cut as the sentences are, those without stay as they are."""
    question = text_problem(network, parameters=choice)
    stored = question.precomputed
    assert list(stored.train.inputs) == [INPUT + "input_ids", INPUT + "attention_mask", *(OUTPUT + n for n in names)]
    shortest = question.train.lengths.argsort()[:3]
    few = [(asked, asked.train.keep(shortest)) for asked in (question, stored)]
    assert few[1][1].inputs[INPUT + "input_ids"].shape[1] < 9
    torch.testing.assert_close(*(asked.losses(elsewhere(asked), rows) for asked, rows in few), rtol=1e-12, atol=1e-13)
    assert_same_function(question, stored)
    losses = sweep(question, optimizer=OPTIMIZERS["adam"], batch_size=4, epochs=2)[0]
    assert_same(
        losses, training_reference.gold_standard(question, OPTIMIZERS["adam"], 2, 4, "every_step", seed=0), 1e-11
    )


@pytest.mark.parametrize("form", ["mapping", "tuple"])
def test_inputs_that_matter_beside_stored_outputs_are_held(form):
    torch.manual_seed(0)
    rows = problem("classification").train
    flag = torch.ones(23, dtype=torch.int64)
    flag[1] = 0
    inputs = {"x": rows.inputs, "flag": flag} if form == "mapping" else (rows.inputs, flag)
    examples = [(inputs, rows.targets)] * 2
    question = fimo.Problem(frozen_networks.Flagged().double(), fimo.CrossEntropy(), *examples, [0, 1], "last_layer")
    stored = question.precomputed
    assert list(stored.train.inputs) == [INPUT + ("flag" if form == "mapping" else "1"), OUTPUT + "body.0"]
    assert_same_function(question, stored)


def test_it_is_stored_within_a_budget_alone_and_not_where_statistics_change(monkeypatch, caplog):
    question = problem("classification", "convolutional", parameters="last_layer")
    assert precomputed_for_training(question, False, torch.bfloat16) is question
    assert precomputed_for_training(question, True, None) is question
    assert precomputed_for_training(question, False, None) is not question
    usual = sweep(question, optimizer=OPTIMIZERS["adam"])[0]
    monkeypatch.setattr(frozen_part, "STORED_OUTPUT_BYTES", 27 * 12 * 8 - 1)
    question = problem("classification", "convolutional", parameters="last_layer")
    with caplog.at_level("INFO"):
        assert question.precomputed is question
    assert "computed anew in each pass, since what could be stored of it would take" in caplog.text
    again = sweep(question, optimizer=OPTIMIZERS["adam"])[0]
    for name in ALL:
        np.testing.assert_allclose(again[name], usual[name], rtol=1e-12, atol=1e-12)


EVERYTHING_BUT_THE_TABLE = ["query.*", "value.*", "norm.*", "head.*"]


@pytest.mark.parametrize("choice, stored", [(EVERYTHING_BUT_THE_TABLE, False), ("last_layer", True)])
def test_what_takes_little_time_is_not_stored(choice, stored, caplog):
    """A table to look rows up in by itself, or attention too."""
    question = text_problem(partial(Sentences, dropout=0.0), parameters=choice)
    with caplog.at_level("INFO"):
        assert (question.precomputed is not question) == stored
    assert ("takes little time" in caplog.text) == (not stored)


def test_all_parameters_are_no_reason_to_look():
    question = problem("classification")
    assert question.precomputed is question and precomputed_for_training(question, False, None) is question
