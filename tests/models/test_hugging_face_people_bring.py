"""Models of the transformers library as people have them: other kinds, classes in another order, tokenizers, images."""

import pytest
import torch
from encoders import CONFIGS, SIZES, saved
from transformers import (
    AutoConfig,
    PreTrainedTokenizerFast,
)

import fimo
from fimo.data.corpus import Sentences
from fimo.data.tokens import _positions, build_vocabulary, pretrained_tokenisation
from fimo.errors import UserError
from fimo.models.attention_masks import added_to_logits, as_it_is, by_kind_of_layer
from fimo.models.encoder import Encoder, SequenceClassifier
from fimo.reference import gradients as reference

WORDS = {"id2label": {0: "Negative", 1: "neutral ", 2: "POSITIVE"}}
LONG = {"max_position_embeddings": 200}


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_form_of_the_mask(kind):
    torch.manual_seed(0)
    form = {"deberta": as_it_is, "deberta-v2": as_it_is, "modernbert": by_kind_of_layer}.get(kind, added_to_logits)
    assert Encoder(12, 2, config=CONFIGS[kind]).mask_form is form


@pytest.mark.parametrize("kind", ["modernbert", "bert", "deberta-v2"])
def test_long_sentences_have_the_librarys_own_logits(kind):
    torch.manual_seed(0)
    network = Encoder(12, 2, config=CONFIGS[kind] | LONG).eval()
    lengths = torch.tensor([150, 70, 3])
    mask = (torch.arange(150) < lengths[:, None]).long()
    tokens = torch.randint(4, 12, (3, 150)) * mask
    own = network.encoder(input_ids=tokens, attention_mask=mask).last_hidden_state[:, 0]
    torch.testing.assert_close(network({"input_ids": tokens, "attention_mask": mask}), network.head(own))


def test_a_head_that_means_over_places_goes_its_own_way(tmp_path):
    """It multiplies with the mask, so no other form is right: rows go one by one then."""
    theirs = saved(tmp_path, "modernbert", classifier_pooling="mean")
    network = SequenceClassifier(12, 3, str(tmp_path)).eval()
    assert network.mask_form is as_it_is
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    inputs = {"input_ids": torch.randint(4, 12, (2, 4)) * mask, "attention_mask": mask}
    torch.testing.assert_close(network(inputs), theirs(**inputs).logits)
    problem = fimo.Problem(
        network, fimo.CrossEntropy(), (inputs, torch.tensor([0, 1])), (inputs, torch.tensor([2, 1])), [0, 1]
    )
    problem = problem.to(dtype=torch.float64)
    expected = reference.gradients(problem)[0] @ reference.gradients(problem)[1].T / 2
    torch.testing.assert_close(
        torch.tensor(fimo.attribute(problem, ["grad_dot"])["Grad-Dot"].values), expected, rtol=1e-5, atol=1e-7
    )


SMALL = {"n_embd": 8, "n_layer": 1, "n_head": 2}
DECODED = {"d_model": 8, "num_layers": 1, "num_heads": 2, "d_ff": 8, "d_kv": 4}
BART = {
    "d_model": 8,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
}
KINDS = {
    "gpt2": (SMALL, r"is a decoder \(gpt2\), and no encoder of text: model=causal_lm takes decoders"),
    "t5": (DECODED, "is an encoder with a decoder .t5., and no encoder"),
    "bart": (BART, "is an encoder with a decoder .bart., and no encoder"),
    "vit": (SIZES, "is a model of images .vit., and no encoder of text: model=image_classifier takes models of images"),
    "clip": ({}, "is a model of images .clip., and no encoder of text"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_encoder_is_refused_by_kind(kind, tmp_path):
    settings, sentence = KINDS[kind]
    with pytest.raises(UserError, match=sentence):
        Encoder(12, 2, config={"model_type": kind, **settings})
    AutoConfig.for_model(kind, **settings).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    for make in (Encoder, SequenceClassifier):
        with pytest.raises(UserError, match=sentence):
            make(12, 2, name=str(tmp_path))


class TestClasses:
    INPUTS = {"input_ids": torch.tensor([[2, 5, 6, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}

    @pytest.mark.parametrize(
        "settings, classes, order",
        [
            (WORDS, ("negative", "neutral", "positive"), [0, 1, 2]),
            (WORDS, ("positive", "negative", "neutral"), [2, 0, 1]),
            (WORDS, ("0", "1", "2"), [0, 1, 2]),
            (WORDS, None, [0, 1, 2]),
            ({}, ("bad", "good", "odd"), [0, 1, 2]),
            ({"id2label": {0: "1", 1: "0", 2: "2"}}, ("0", "1", "2"), [1, 0, 2]),
            ({"id2label": {0: "3", 1: "1", 2: "2"}}, ("1", "2", "3"), [1, 2, 0]),
            ({"id2label": {0: "A", 1: "a", 2: "b"}}, ("a", "A", "b"), [1, 0, 2]),
        ],
    )
    def test_they_are_matched_by_name(self, settings, classes, order, tmp_path, caplog):
        caplog.set_level("INFO", "fimo")
        theirs = saved(tmp_path, **settings)
        network = SequenceClassifier(12, 3, str(tmp_path), classes).eval()
        torch.testing.assert_close(network(self.INPUTS), theirs(**self.INPUTS).logits[:, order])
        assert ("its classes are matched by name: " in caplog.text) == (order != [0, 1, 2])

    @pytest.mark.parametrize(
        "classes, logged", [(("bad", "good", "odd"), True), (("0", "1", "2"), False), (None, False)]
    )
    def test_which_class_a_label_without_a_name_is_taken_for(self, classes, logged, tmp_path, caplog):
        caplog.set_level("INFO", "fimo")
        saved(tmp_path)
        SequenceClassifier(12, 3, str(tmp_path), classes)
        note = "are taken in the order of the data's classes: LABEL_0 is 'bad', LABEL_1 is 'good', LABEL_2 is 'odd' ("
        assert (note in caplog.text) == logged == ("have no names" in caplog.text)

    @pytest.mark.parametrize(
        "settings, classes, task, sentence",
        [
            (
                WORDS,
                ("good", "bad", "odd"),
                None,
                "has the classes 'Negative', .* and the data have 'good', 'bad', 'odd'",
            ),
            ({"id2label": {0: "a", 1: "a", 2: "b"}}, ("a", "b", "c"), None, "no two of them alike, or number them"),
            ({"id2label": {0: "LABEL_1", 1: "LABEL_0", 2: "x"}}, ("a", "b", "c"), None, "has the classes 'LABEL_1', "),
            (
                WORDS,
                ("a", "b"),
                None,
                "must have the 2 classes of the data, found 3: 'Negative', 'neutral ', 'POSITIVE'",
            ),
            (
                {"problem_type": "multi_label_classification"},
                None,
                "classification",
                "choose data.task=multilabel, found cl",
            ),
            (
                {"problem_type": "regression"},
                None,
                "classification",
                "was trained for regression, .* data.task=regression",
            ),
            ({"problem_type": "single_label_classification"}, None, "multilabel", "choose data.task=classification"),
        ],
    )
    def test_what_does_not_match_is_refused(self, settings, classes, task, sentence, tmp_path):
        saved(tmp_path, **settings)
        with pytest.raises(UserError, match=sentence):
            SequenceClassifier(12, len(classes or "abc"), str(tmp_path), classes, task)


def test_pairs_are_told_apart(tmp_path):
    theirs = saved(tmp_path)
    network = SequenceClassifier(12, 3, str(tmp_path)).eval()
    inputs = TestClasses.INPUTS | {"token_type_ids": torch.tensor([[0, 0, 1, 1]])}
    torch.testing.assert_close(network(inputs), theirs(**inputs).logits)
    assert not torch.allclose(network(inputs), network(TestClasses.INPUTS))
    saved(tmp_path / "other", "distilbert")
    other = SequenceClassifier(12, 3, str(tmp_path / "other")).eval()
    torch.testing.assert_close(other(inputs), other(TestClasses.INPUTS))


class TestTokenizers:
    def saved(self, folder, **settings):
        """The tokenizer of some words, as its maker leaves it, beside the network's config."""
        tokenizer = build_vocabulary(["a b c d e f g h"], 100).tokenizer
        tokenizer.no_truncation()
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings).save_pretrained(folder)
        return str(folder)

    def tokens(self, name, length=6, text="a b c d e f"):
        return pretrained_tokenisation(name, length).rows(
            Sentences([text], torch.tensor([0]).numpy()), torch.tensor([0]).numpy()
        )

    @pytest.mark.parametrize(
        "settings, ids",
        [
            ({}, [2, 4, 5, 6, 7, 3]),
            ({"truncation_side": "left"}, [2, 6, 7, 8, 9, 3]),
            ({"model_max_length": 4}, [2, 4, 5, 3]),
        ],
    )
    def test_they_cut_where_they_say(self, settings, ids, tmp_path):
        assert self.tokens(self.saved(tmp_path, **settings)).inputs["input_ids"].tolist() == [ids]

    @pytest.mark.parametrize(
        "settings",
        [
            {"model_type": "roberta", "max_position_embeddings": 6, "pad_token_id": 1},
            {"model_type": "llama", "max_position_embeddings": 4},
            {"model_type": "gpt2", "n_positions": 4},
            {"model_type": "gptj", "n_positions": 4},
        ],
        ids=str,
    )
    def test_the_network_says_how_long_sentences_may_be(self, settings, tmp_path, caplog):
        caplog.set_level("INFO", "fimo")
        AutoConfig.for_model(**settings).save_pretrained(tmp_path)
        assert self.tokens(self.saved(tmp_path)).inputs["input_ids"].shape == (1, 4)
        assert "sentences are cut to the 4 tokens that" in caplog.text

    def test_a_network_of_an_unknown_type_says_it_by_the_usual_name(self, tmp_path):
        (tmp_path / "config.json").write_text('{"model_type": "own", "max_position_embeddings": 4}')
        assert _positions(tmp_path) == 4

    @pytest.mark.parametrize("settings, pad", [({"pad_token": "[PAD]"}, 0), ({"eos_token": "[SEP]"}, 3), ({}, 0)])
    def test_padding_needs_no_token_of_its_own(self, settings, pad, tmp_path):
        tokenisation = pretrained_tokenisation(self.saved(tmp_path, **settings), 9)
        rows = tokenisation.rows(Sentences(["a", "a b"], torch.tensor([0, 1]).numpy()), torch.arange(2).numpy())
        assert rows.inputs["input_ids"][0, -1] == pad and rows.inputs["attention_mask"][0, -1] == 0

    def test_special_tokens_and_added_ones_are_what_the_tokenizer_says(self, tmp_path):
        name = self.saved(tmp_path, sep_token="[SEP]", extra_special_tokens=["<new>"])
        tokenisation = pretrained_tokenisation(name, 9)
        assert self.tokens(name, 9, "a [SEP] <new>").inputs["input_ids"].tolist() == [[2, 4, 3, 12, 3]]
        assert tokenisation.size == 13
