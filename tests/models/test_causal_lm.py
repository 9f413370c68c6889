"""Causal language models of every kind: what they give, their gradients, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from decoders import CONFIGS, causal_lm, language_problem, token_rows
from torch.func import vmap
from transformers import AutoConfig, AutoModelForCausalLM

import fimo
from fimo.errors import UserError
from fimo.gradients import GradientSource
from fimo.models.attention_masks import as_it_is
from fimo.models.causal_lm import CausalLM
from fimo.models.encoder import Encoder, SequenceClassifier
from fimo.models.next_token import NextToken
from fimo.models.norms import RootMeanSquareNorm
from fimo.reference import gradients as reference
from fimo.rows import NO_LOSS


def library_model(kind, words=9, **settings):
    torch.manual_seed(0)
    config = AutoConfig.for_model(**{**CONFIGS[kind], "vocab_size": words, "pad_token_id": 0, **settings})
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


@pytest.mark.parametrize("kind", CONFIGS)
class TestEveryKind:
    def test_gives_the_librarys_logits(self, kind):
        """At all tokens of rows that are padded at their end, row by row under vmap too."""
        inputs, theirs = token_rows(4, places=10).inputs, library_model(kind)
        with torch.no_grad():
            expected = theirs(**inputs).logits
            network = CausalLM(model=theirs).eval()
            assert network.mask_form is not as_it_is
            one_by_one = vmap(lambda ids, mask: network({"input_ids": ids[None], "attention_mask": mask[None]})[0])
            for found in (network(inputs), one_by_one(*inputs.values())):
                own = inputs["attention_mask"].bool()
                torch.testing.assert_close(found[own], expected[own], rtol=1e-4, atol=1e-5)

    def test_padding_at_either_end_does_not_matter(self, kind):
        inputs, network = token_rows(4, places=10).inputs, causal_lm(kind).double()
        with torch.no_grad():
            right = network(inputs)
            for row, length in enumerate(inputs["attention_mask"].sum(1).tolist()):
                left = {name: tensor[row : row + 1].roll(10 - length, 1) for name, tensor in inputs.items()}
                torch.testing.assert_close(network(left)[0, 10 - length :], right[row, :length], rtol=1e-6, atol=1e-6)

    def test_per_example_gradients_are_those_of_autograd(self, kind):
        one = language_problem(causal_lm(kind))
        train = [reference.gradient(one, *one.train.take(torch.tensor(k), None)) for k in range(len(one.train))]
        test = [reference.gradient(one, *one.test.take(torch.tensor(k), None)) for k in range(len(one.test))]
        expected = torch.stack(test) @ torch.stack(train).T
        close = {"rtol": 1e-10, "atol": 1e-10 * float(expected.abs().max())}
        for factored in (True, False):
            source = GradientSource(one, factored)
            torch.testing.assert_close(source(one.test).inner(source(one.train)), expected, **close)
            blocks = [source(one.test).inner(block) for block in source.blocks(one.train, at_most=2)]
            torch.testing.assert_close(torch.cat(blocks, 1), expected, **close)

    def test_from_a_folder(self, kind, tmp_path):
        theirs = library_model(kind)
        theirs.save_pretrained(tmp_path)
        inputs = token_rows(3).inputs
        own = inputs["attention_mask"].bool()
        with torch.no_grad():
            found, expected = CausalLM(9, 9, str(tmp_path)).eval()(inputs), theirs(**inputs).logits
        torch.testing.assert_close(found[own], expected[own], rtol=1e-4, atol=1e-5)


def test_double_precision_is_double():
    """The library takes softmax and norms in single precision whatever the parameters are in."""
    inputs = token_rows(3).inputs
    network = causal_lm("gemma2").double()
    name, parameter = next((n, p) for n, p in network.named_parameters() if "q_proj" in n)

    def loss(change):
        with torch.no_grad():
            parameter[0, 0] += change
            value = NextToken().loss(network(inputs), token_rows(3).targets).sum()
            parameter[0, 0] -= change
        return value

    (slope,) = torch.autograd.grad(NextToken().loss(network(inputs), token_rows(3).targets).sum(), parameter)
    h = 1e-5
    np.testing.assert_allclose((loss(h) - loss(-h)) / (2 * h), slope[0, 0], rtol=1e-7, err_msg=name)


def test_attention_with_sinks_stays_the_librarys():
    """Its softmax has one more entry, a parameter of each head."""
    sizes = {
        **CONFIGS["llama"],
        "model_type": "gpt_oss",
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "head_dim": 4,
    }
    config = AutoConfig.for_model(**sizes, vocab_size=9, pad_token_id=0)
    torch.manual_seed(0)
    theirs, inputs = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval(), token_rows(3).inputs
    torch.nn.init.normal_(theirs.model.layers[0].self_attn.sinks, std=2.0)
    own = inputs["attention_mask"].bool()
    with torch.no_grad():
        found, expected = CausalLM(model=theirs).eval()(inputs), theirs(**inputs).logits
    torch.testing.assert_close(found[own], expected[own], rtol=1e-4, atol=1e-5)


def test_norms_of_half_precision_are_written_out_too():
    network = CausalLM(model=library_model("llama").to(torch.bfloat16))
    norms = [module for module in network.modules() if "RMSNorm" in type(module).__name__]
    assert not norms and sum(isinstance(module, RootMeanSquareNorm) for module in network.modules()) == 5


def test_a_model_that_is_handed_over_is_not_changed():
    theirs = library_model("gpt2")
    before = {name: parameter.clone() for name, parameter in theirs.named_parameters()}
    CausalLM(model=theirs)
    assert all(torch.equal(parameter, before[name]) for name, parameter in theirs.named_parameters())
    assert theirs.config._attn_implementation == "eager"


@pytest.mark.parametrize("kind", ["mistral", "gemma2", "qwen2, windows"])
def test_wide_windows_are_looked_at_with_a_narrow_one(kind):
    theirs = library_model(kind, sliding_window=20, max_position_embeddings=60)
    network, inputs = CausalLM(model=theirs).eval(), token_rows(3, places=45).inputs
    assert network.mask_form is not as_it_is and network.model.config.sliding_window == 20
    own = inputs["attention_mask"].bool()
    with torch.no_grad():
        torch.testing.assert_close(network(inputs)[own], theirs(**inputs).logits[own], rtol=1e-4, atol=1e-5)


def test_two_sequences_a_row():
    """Logits are those of each by itself, and gradients in factors those of autograd."""
    one, other = token_rows(4), token_rows(4, seed=5)
    both = {name: torch.stack([one.inputs[name], other.inputs[name]], 1) for name in one.inputs}
    network = causal_lm(hidden_size=32, intermediate_size=48).double()
    with torch.no_grad():
        found = network(both)
    torch.testing.assert_close(found[:, 0], network(one.inputs).detach())
    torch.testing.assert_close(found[:, 1], network(other.inputs).detach())
    targets = torch.stack([one.targets, other.targets], 1)
    problem = fimo.Problem(network, NextToken(), one, (both, targets), [0, 2], measurement=fimo.contrast)
    scores = fimo.attribute(problem, ["grad_dot"])["Grad-Dot"]
    np.testing.assert_allclose(scores, reference.scores(problem, None), rtol=1e-10)
    assert GradientSource(problem).factored


class TestRefused:
    def test_a_test_row_without_a_predicted_token(self):
        one = language_problem()
        targets = one.test.targets.clone()
        targets[1] = NO_LOSS
        with pytest.raises(UserError, match="found none in row 1: a row of one token, or a prompt without"):
            fimo.Problem(causal_lm(), NextToken(), token_rows(4), replace(token_rows(3), targets=targets), [0, 1])

    @pytest.mark.parametrize("measurement", [fimo.margin, fimo.logit, fimo.probability])
    def test_measurements_of_classes(self, measurement):
        with pytest.raises(UserError, match="is that of a class among several: it needs class numbers"):
            language_problem(measurement=measurement)

    @pytest.mark.parametrize(
        "config, sentence",
        [
            ({"model_type": "bert"}, r"is an encoder \(bert\), and no causal language model: model=encoder and"),
            ({"model_type": "t5"}, r"is an encoder with a decoder \(t5\), and no causal language model"),
            ({"model_type": "vit"}, r"is a model of images \(vit\), and no causal language model"),
            (None, r"model.config must say the model_type \(gpt2, llama, qwen2"),
        ],
    )
    def test_what_is_no_decoder(self, config, sentence, tmp_path):
        with pytest.raises(UserError, match=sentence):
            CausalLM(9, 9, config=config)

    @pytest.mark.parametrize("make", [Encoder, SequenceClassifier])
    def test_a_decoder_as_an_encoder(self, make, tmp_path):
        library_model("gpt2").save_pretrained(tmp_path)
        with pytest.raises(UserError, match=r"is a decoder \(gpt2\), and no encoder of text: model=causal_lm takes"):
            make(9, 2, name=str(tmp_path))

    def test_a_vocabulary_larger_than_the_embedding(self, tmp_path):
        library_model("llama").save_pretrained(tmp_path)
        with pytest.raises(UserError, match=r"has embeddings of 9 words, and the tokenizer of the data has 12"):
            CausalLM(12, 12, str(tmp_path))

    @pytest.mark.parametrize("kind", ["gpt2", "llama", "opt"])
    def test_a_sequence_longer_than_positions(self, kind):
        tokens = torch.ones(1, 41, dtype=torch.long)
        with pytest.raises(
            UserError, match="up to 41 tokens, and the network has positions for 40: cut the rows to so"
        ):
            causal_lm(kind)({"input_ids": tokens, "attention_mask": tokens})


def test_without_a_mask_no_place_is_padding():
    network, tokens = causal_lm("gpt2"), torch.tensor([[3, 1, 4], [2, 5, 1]])
    expected = network({"input_ids": tokens, "attention_mask": torch.ones_like(tokens)})
    for inputs in (tokens, {"input_ids": tokens}):
        torch.testing.assert_close(network(inputs), expected, rtol=0, atol=0)


def test_another_loss_for_a_language_model_is_refused_with_its_own():
    rows = (torch.tensor([[3, 1, 4], [2, 5, 1]]),) * 2
    with pytest.raises(UserError, match=r"found the shape \[2, 3, \d+\] .* a language model, fimo.NextToken\(\)"):
        fimo.Problem(causal_lm("gpt2"), fimo.CrossEntropy(), rows, rows)
    assert len(fimo.Problem(causal_lm("gpt2"), fimo.NextToken(), rows, rows).train) == 2
