"""Language models by command: the embedded one, and a folder with lines of one's own."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from configs import app
from decoders import CONFIGS
from hydra.errors import InstantiationException
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from fimo.errors import UserError

SMOKE = ("experiment=language", "size=smoke", "facts.hessian_depth.smoke=3")
WORDS = ("red", "blue", "green", "white", "grey")
THINGS = ("rose", "sky", "grass", "snow", "stone")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model with a tokenizer of its own, questions with answers of two sources, and plain lines."""
    place = tmp_path_factory.mktemp("language")
    rows = [
        {"question": f"what is {word} ?", "answer": f"the {thing} number {k}", "source": "a" if k % 2 else "b"}
        for k in range(4)
        for word, thing in zip(WORDS, THINGS, strict=True)
    ]
    (place / "my.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "my.txt").write_text("".join(f"{row['question']} {row['answer']}\n" for row in rows))
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    specials = ["<pad>", "<unk>", "<s>", "</s>"]
    trainer = trainers.WordLevelTrainer(special_tokens=specials)
    tokenizer.train_from_iterator((place / "my.txt").read_text().split("\n"), trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 2)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    fast.save_pretrained(place / "model")
    config = AutoConfig.for_model(**CONFIGS["llama"], vocab_size=len(fast), pad_token_id=0)
    AutoModelForCausalLM.from_config(config).save_pretrained(place / "model")
    return place


def own(folder, *more):
    file = f"data.source.file={folder / 'my.jsonl'}"
    fields = ("data.source.text=answer", "data.source.prompt=question")
    return (*SMOKE, "data=text_lines", file, *fields, f"model.name={folder / 'model'}", "final.epochs=0", *more)


def test_losses_of_tokens(tmp_path):
    """All methods of a language model run in tests/test_configs.py."""
    assert app(tmp_path, *SMOKE, "method=[grad_dot,bm25]") == 0
    results = tmp_path / "results/language"
    curves = pd.read_csv(results / "curves.csv")
    assert curves["method"].nunique() == 2 and curves["cosine_mean"].notna().all()
    tokens = pd.read_csv(results / "token_losses.csv")
    assert (tokens.groupby("test").size() == 2).all() and set(tokens["token"].unique()) > {
        "</s>"
    }  # an answer, and the end
    assert (tokens["before"] > 0).all() and not np.allclose(tokens["before"], tokens["after"])
    influential = (results / "influential.md").read_text()
    assert "sentence" in influential and "question 0" in influential


@pytest.mark.pictures
def test_lines_of_ones_own_are_ranked(tmp_path, folder):
    assert app(tmp_path, *own(folder, "method=[grad_dot,unrolled_gn]", "rank.top=5"), name="rank") == 0
    results = tmp_path / "results/language"
    ranking = pd.read_csv(results / "ranking.csv")
    assert set(ranking["method"]) == {"Grad-Dot", "Unrolled-GN"} and ranking["score"].notna().all()
    assert "what is" in (results / "ranking.md").read_text()
    assert "</html>" in (results / "report.html").read_text()


def test_all_lines_of_a_source_leave_together(tmp_path, folder):
    assert app(tmp_path, *own(folder, "method=[grad_dot]", "data.left_out={by:source}", "measurement=completion")) == 0
    groups = json.loads((tmp_path / "results/language/groups.json").read_text())
    assert "source=a" in json.dumps(groups) and "source=b" in json.dumps(groups)


def test_contrast_of_two_answers(tmp_path):
    assert app(tmp_path, *SMOKE, "method=[grad_dot,trak]", "measurement=contrast", "optimizer=sgd") == 0
    assert "contrast" in (tmp_path / "results/language/run.json").read_text()


@pytest.mark.parametrize(
    "options, sentence",
    [
        (
            ["measurement=contrast"],
            "two answers to each test row's prompt, found labels [4, 10]: name the field of the",
        ),
        (["data.source.prompt=ask"], "data.source.prompt must name a field of"),
        (["model=encoder"], "is a decoder (llama), and no encoder of text: model=causal_lm takes decoders"),
    ],
)
def test_refused(tmp_path, folder, options, sentence):
    with pytest.raises((UserError, InstantiationException), match=re.escape(sentence)):
        app(tmp_path, *own(folder, *options))
