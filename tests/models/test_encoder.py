"""Text encoders: the library's own numbers, and every transform that the package takes of them."""

from dataclasses import replace

import pytest
import torch
from encoders import CONFIGS, SINGLE, saved
from problems import text_problem
from torch.func import functional_call, grad, jvp, vjp, vmap
from transformers import AutoModel

from fimo.attribution import attribute
from fimo.errors import UserError
from fimo.further_training.ensemble import Ensemble
from fimo.gradients.dense import per_example_gradients
from fimo.models.encoder import Encoder, SequenceClassifier
from fimo.preconditioners import kronecker_bases
from fimo.preconditioners.damping import Damping
from fimo.preconditioners.kronecker_factors import KroneckerFactors
from fimo.reference import gradients as reference


def question(kind="bert", rows=5):
    return text_problem(lambda outputs: Encoder(12, outputs, config=CONFIGS[kind]), rows=rows, left_out=(0, 3))


@pytest.fixture(scope="module", params=CONFIGS)
def of_kind(request):
    return question(request.param)


def tolerance(of_kind, rtol, atol):
    single = of_kind.network.encoder.config.model_type in SINGLE
    return {"rtol": 1e-5 if single else rtol, "atol": 1e-6 if single else atol}


def test_outputs_are_the_librarys_with_its_own_mask(of_kind):
    """Alone, in a padded batch, and in one that is padded further."""
    close = tolerance(of_kind, 1e-12, 1e-12)
    network, inputs = of_kind.network, of_kind.train.inputs
    encoded = network.encoder(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    expected = network.head(encoded.last_hidden_state[:, 0])
    torch.testing.assert_close(network(inputs), expected, **close)
    longer = {name: torch.nn.functional.pad(tensor, (0, 3)) for name, tensor in inputs.items()}
    torch.testing.assert_close(network(longer), expected, **close)
    alone = torch.cat([network(of_kind.train[slice(row, row + 1)][0]) for row in range(len(of_kind.train))])
    torch.testing.assert_close(alone, expected, **close)


def test_every_parameter_takes_part(of_kind):
    loss = of_kind.objective.loss(of_kind.network(of_kind.train.inputs), of_kind.train.targets).sum()
    unused = torch.autograd.grad(loss, list(of_kind.network.parameters()), allow_unused=True)
    assert all(gradient is not None for gradient in unused)
    assert not any("pooler" in name for name in of_kind.parameters)


def test_per_example_gradients_are_the_plain_loops(of_kind, monkeypatch):
    monkeypatch.setattr("fimo.gradients.dense._of_one_row", None)  # vmap takes it
    gradients = per_example_gradients(of_kind, of_kind.test).flat()
    torch.testing.assert_close(gradients, reference.gradients(of_kind)[0], **tolerance(of_kind, 1e-10, 1e-12))


def test_stacked_runs_are_single_networks(of_kind):
    ensemble = Ensemble(of_kind, torch.zeros(3), torch.optim.SGD, runs_per_chunk=3)
    assert ensemble.vectorised
    torch.manual_seed(0)
    (chunk,) = ensemble.chunks
    stacked = {name: p.detach() + 0.1 * torch.randn_like(p) for name, p in chunk.parameters.items()}
    together = vmap(of_kind.outputs, (0, None))(stacked, of_kind.train.inputs)
    for run, outputs in enumerate(together):
        own = {name: parameter[run] for name, parameter in stacked.items()}
        alone = functional_call(of_kind.network, own, (of_kind.train.inputs,))
        torch.testing.assert_close(outputs, alone, **tolerance(of_kind, 1e-10, 1e-12))


def test_curvature_products_are_differences_of_gradients(of_kind):
    """Forward mode once, and backward through backward, for several directions at once."""
    if of_kind.network.encoder.config.model_type in SINGLE:
        pytest.skip("differences of single precision tell nothing")
    inputs, targets = of_kind.train[slice(0, 3)]
    torch.manual_seed(1)
    parameters = of_kind.parameters
    directions = {name: torch.randn(2, *p.shape, dtype=p.dtype) for name, p in parameters.items()}

    def loss(p):
        return of_kind.objective.loss(of_kind.outputs(p, inputs), targets).mean()

    back = vjp(grad(loss), parameters)[1]
    products = vmap(lambda direction: back(direction)[0])(directions)
    step = 1e-6
    for run in range(2):
        one = {name: block[run] for name, block in directions.items()}
        ahead, behind = ({name: p + sign * step * one[name] for name, p in parameters.items()} for sign in (1, -1))
        slope = jvp(loss, (parameters,), (one,))[1]
        assert slope.item() == pytest.approx(((loss(ahead) - loss(behind)) / (2 * step)).item(), rel=1e-6, abs=1e-8)
        expected = [
            (a - b) / (2 * step) for a, b in zip(grad(loss)(ahead).values(), grad(loss)(behind).values(), strict=True)
        ]
        for name, difference in zip(parameters, expected, strict=True):
            torch.testing.assert_close(products[name][run], difference, rtol=1e-4, atol=1e-5)


def test_a_new_encoder_is_drawn_by_torchs_generator():
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(torch.cat([p.flatten() for p in Encoder(12, 3, config=CONFIGS["bert"]).parameters()]))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_an_encoder_from_a_folder(tmp_path):
    """The encoder of a saved classifier, without its head and pooler, in float32."""
    theirs = saved(tmp_path)
    network = Encoder(12, 3, name=str(tmp_path)).eval()
    assert not any("pooler" in name or "classifier" in name for name, _ in network.named_parameters())
    inputs = question().test.inputs
    expected = theirs.bert(**inputs).last_hidden_state[:, 0]
    torch.testing.assert_close(network(inputs), network.head(expected), rtol=1e-5, atol=1e-6)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_a_sequence_classifier_keeps_its_head(kind, tmp_path):
    theirs = saved(tmp_path, kind)
    network, inputs = SequenceClassifier(12, 3, str(tmp_path)).eval(), question().test.inputs
    torch.testing.assert_close(network(inputs), theirs(**inputs).logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda folder: SequenceClassifier(12, 2, saved_in(folder)), r"must have the 2 classes of the data, found 3"),
        (lambda folder: SequenceClassifier(13, 3, saved_in(folder)), r"embeddings of 12 words.*has 13: .*tokenizer"),
        (
            lambda folder: SequenceClassifier(12, 3, saved_in(folder, auto=AutoModel)),
            r"lacks weights of a BertForSequenceClassification \(classifier.bias and 1 more\)",
        ),
        (lambda folder: Encoder(12, 3), r"model.config must say the model_type .* found None"),
        (lambda folder: Encoder(12, 3, config={"hidden_size": 8}), r"must say the model_type .* found {'hidden_size"),
        (lambda folder: Encoder(12, 3, config={"model_type": "abc"}), r"does not make a network: .*abc"),
        (
            lambda folder: Encoder(12, 3, config=CONFIGS["bert"] | {"num_attention_heads": 3}),
            r"does not make a network: .*hidden size \(8\) is not a multiple",
        ),
    ],
)  # fmt: skip
def test_a_network_that_does_not_fit(make, text, tmp_path):
    with pytest.raises(UserError, match=text) as told:
        make(tmp_path)
    assert "\n" not in str(told.value)


def saved_in(folder, **settings):
    saved(folder, **settings)
    return str(folder)


@pytest.mark.parametrize("kind, most", [("bert", 20), ("roberta", 19), ("distilbert", 20)])
def test_sentences_longer_than_the_positions(kind, most):
    network = Encoder(12, 3, config=CONFIGS[kind])
    inputs = {"input_ids": torch.full((1, most), 5), "attention_mask": torch.ones(1, most, dtype=torch.long)}
    assert network(inputs).shape == (1, 3)
    longer = {name: tensor[:, [0, *range(most)]] for name, tensor in inputs.items()}
    with pytest.raises(UserError, match=rf"up to {most + 1} tokens.* takes {most}: lower data.max_length"):
        network(longer)


def test_weights_that_are_no_weights(tmp_path):
    saved(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights at all, but long enough to be looked at")
    with pytest.raises(UserError, match="can't be loaded as a model"):
        Encoder(12, 3, name=str(tmp_path))


def test_kronecker_factors_do_not_depend_on_padding(monkeypatch):
    """Places of padding are no inputs of a layer."""
    short = question(rows=9)
    longer = {name: torch.nn.functional.pad(tensor, (0, 6)) for name, tensor in short.train.inputs.items()}
    padded = replace(short, train=replace(short.train, inputs=longer))
    method = KroneckerFactors("EK-FAC", Damping(0.1, "mean_eigenvalue"))
    scores = attribute(short, method)
    torch.testing.assert_close(
        torch.tensor(attribute(padded, method).values), torch.tensor(scores.values), rtol=1e-9, atol=0
    )
    monkeypatch.setattr(kronecker_bases, "BLOCK_BYTES", 1)
    torch.testing.assert_close(
        torch.tensor(attribute(short, method).values), torch.tensor(scores.values), rtol=1e-9, atol=0
    )
