"""Lines for language models: files of every form, prompts, cuts and packs, made-up facts, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from configs import DATA, needs_data
from transformers import PreTrainedTokenizerFast

from fimo.data.facts import Facts
from fimo.data.language import LanguageData
from fimo.data.line_files import HubLines, LineFile
from fimo.data.line_vocabularies import build_line_vocabulary
from fimo.data.lines import Lines
from fimo.errors import Unavailable, UserError
from fimo.rows import NO_LOSS

QUESTIONS = [
    {"question": "what is red ?", "answer": "the rose is red", "wrong": "the sky is", "source": "a"},
    {"question": "what is blue ?", "answer": "the sky", "wrong": "the rose", "source": "b"},
    {"question": "what is green ?", "answer": "all the grass in the wood", "wrong": "the sky", "source": "a"},
    {"question": "what is white ?", "answer": "the snow", "wrong": "the grass", "source": "b"},
    {"question": "what is grey ?", "answer": "the stone", "wrong": "the snow", "source": "b"},
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "lines.txt").write_text(
        "the rose is red\nthe sky is blue\nthe grass is green, all of it\nsnow\tis white\n"
    )
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    return tmp_path


def data(source, folder="", **settings):
    defaults = {
        "name": "lines",
        "batch_size": 2,
        "tokenizer": None,
        "max_length": 32,
        "left_out": 2,
        "test_count": None,
    }
    return LanguageData(source=source, data_dir=str(folder), **{**defaults, "test_size": 0.4, **settings})


def test_plain_lines(folder):
    made = data(LineFile("lines.txt"), folder).load()
    assert len(made.train) == 2 and len(made.test) == 2 and made.inputs == made.outputs
    displayed = [made.display(split, row) for split in ("train", "test") for row in range(2)]
    assert sorted(displayed) == sorted(
        ["the rose is red", "the sky is blue", "the grass is green, all of it", "snow is white"]
    )
    assert {made.names.of("train", row) for row in range(2)} <= {f"line {number}" for number in (1, 2, 3, 4)}
    mask = made.train.inputs["attention_mask"].bool()
    assert torch.equal(made.train.targets[mask], made.train.inputs["input_ids"][mask])
    assert (made.train.targets[~mask] == NO_LOSS).all()
    assert made.train.targets[:, 0].tolist() == [2, 2]  # <s>, then the words, then </s>
    assert [row[row != NO_LOSS][-1].item() for row in made.train.targets] == [3, 3]
    assert not (data(LineFile("lines.txt"), folder, ends=False).load().train.inputs["input_ids"] == 3).any()


def test_prompts_carry_no_loss(folder):
    source = LineFile("qa.jsonl", text="answer", prompt="question")
    made = data(source, folder).load()
    for split, rows in (("train", made.train), ("test", made.test)):
        for row, labels in enumerate(rows.targets.tolist()):
            text = made.display(split, row)
            question, answer = text.split("? → ")
            place = len(question.split()) + 2  # <s> and ?
            assert labels[1:place] == [NO_LOSS] * (place - 1)
            assert NO_LOSS not in labels[place : place + len(answer.split()) + 1]
    assert made.columns["source"].tolist() == [QUESTIONS[int(n.split()[1]) - 1]["source"] for n in made.columns["line"]]


def test_another_answer_makes_two_sequences(folder):
    source = LineFile("qa.jsonl", text="answer", prompt="question", other="wrong")
    made = data(source, folder).load()
    plain = data(LineFile("qa.jsonl", text="answer", prompt="question"), folder).load()
    assert made.test.inputs["input_ids"].dim() == 3 and made.train.inputs["input_ids"].dim() == 2
    places = plain.test.targets.shape[1]
    assert torch.equal(made.test.targets[:, 0, :places], plain.test.targets)
    assert made.test.lengths is None and made.test.targets.shape[1] == 2
    for settings, sentence in (
        ({"packed": True}, "needs data.packed=false"),
        ({"too_long": "split"}, "A part of a split line has no prompt and no other answer"),
        ({"max_length": 9}, "must not be cut, found . with more than 9 tokens, the first in line 3: raise data.max"),
    ):
        with pytest.raises(UserError, match=sentence):
            data(source, folder, **settings, test_size=0.6, left_out=1).load()


def test_too_long_lines(folder, caplog):
    cut = data(LineFile("lines.txt"), folder, max_length=4).load()
    assert cut.train.inputs["input_ids"].shape[1] == 4 and cut.display("train", 0).count(" ") == 2
    split = data(LineFile("lines.txt"), folder, max_length=4, too_long="split", random_state=1).load()
    names = [split.names.of("train", row) for row in range(len(split.train))]
    assert any(name.endswith("part 2") for name in names) and len(split.train) > 2
    assert set(split.columns["line"]) <= {f"line {number}" for number in range(1, 5)}


def test_packed(folder):
    made = data(LineFile("lines.txt"), folder, max_length=5, packed=True).load()
    numbers = made.train.inputs["input_ids"]
    own = numbers[made.train.inputs["attention_mask"].bool()]
    words = " ".join(made.display("train", row) for row in range(len(made.train))).split()
    assert words == "the rose is red the sky is blue".split() and (own == 2).sum() == 2  # each line with its <s>
    assert (made.train.lengths[:-1] == 5).all()
    assert any(" to " in made.names.of("train", row) for row in range(len(made.train)))


def test_a_running_text_stays_in_order(folder):
    (folder / "book.txt").write_text("\n".join(f"sentence {number} ." for number in range(10)))
    made = data(LineFile("book.txt"), folder, packed=True, max_length=6, test_size=0.2).load()
    text = " ".join(made.display("train", row) for row in range(len(made.train)))
    assert [int(word) for word in text.split() if word.isdigit()] == list(range(8))
    assert "sentence 8" in made.display("test", 0)


def test_byte_pairs_and_a_tokenizer_of_ones_own(folder):
    """Tokens of both, put together, are the text."""
    made = build_line_vocabulary(Lines(["Größe é 5", "the rose"], ["1", "2"]), 32, 300)
    assert 260 < made.size <= 300
    row = made.row(Lines(["Größe é 5"], ["1"], ["what ?"]), 0)
    own = [token for token, label in zip(row.ids, row.labels, strict=True) if label != NO_LOSS]
    assert made.tokenizer.decode(own).strip() == "Größe é 5" and own[-1] == 3
    PreTrainedTokenizerFast(tokenizer_object=made.tokenizer, pad_token="<pad>", eos_token="</s>").save_pretrained(
        folder
    )
    theirs = data(LineFile("lines.txt"), folder, tokenizer=str(folder)).load()
    assert theirs.inputs == made.size and theirs.train.targets[0, 0] == 2
    with pytest.raises(UserError, match="data.vocabulary must be at least 260, the bytes alone, found 20"):
        build_line_vocabulary(Lines(["a"], ["1"]), 32, 20)


def test_facts():
    made = data(Facts(stones=10, sentences=2, questions=12), test_size=0.2).load()
    assert len(made.train) == 60 and made.test.targets.shape[:2] == (12, 2)
    assert len(set(made.columns["fact"])) == 30
    again = data(Facts(stones=10, sentences=2, questions=12), test_size=0.2).load()
    assert torch.equal(made.train.inputs["input_ids"], again.train.inputs["input_ids"])
    for row in range(12):  # the answer is what two training sentences say of the same stone, in other words
        text = made.display("test", row)
        answer = text.split(" → ")[1].split()[0]
        (stone,) = {fact.split()[-1] for fact in made.columns["fact"]} & set(text.split())
        says = [made.display("train", k) for k in range(60) if f" {stone} " in f" {made.display('train', k)} "]
        assert sum(sentence.split()[-1] == answer for sentence in says) == 2 and text not in says
    with pytest.raises(UserError, match="sentences from 1 to 3 and questions from 1 to 30"):
        Facts(10, 4, 5).read(".")


def test_groups_by_source(folder):
    made = data(
        LineFile("qa.jsonl", text="answer", prompt="question"), folder, left_out={"by": "source"}, test_size=0.2
    ).load()
    assert set(made.left_out.names) == {"source=a", "source=b"}
    assert sorted(np.concatenate(made.left_out.lists).tolist()) == list(range(len(made.train)))


def test_the_hubs_files_are_read_where_they_lie(folder):
    place = folder / "hub/some--set"
    place.mkdir(parents=True)
    (place / "train.jsonl").write_text((folder / "qa.jsonl").read_text())
    made = data(HubLines("some/set", "answer", "question"), folder).load()
    assert len(made.train) == 3 and made.display("test", 0).startswith("what is")


def test_rows_of_the_hub_as_text():
    source = HubLines("some/set", "answer", "question")
    assert source._fields({"answer": "a", "question": None, "n": 3.0}) == {"answer": "a", "question": "", "n": "3"}
    with pytest.raises(UserError, match="The field answer of some/set must be text, found a list"):
        source._fields({"answer": [{"role": "user"}]})
    with pytest.raises(UserError, match="data.source.splits must name train, and test where there is one"):
        HubLines("some/set", splits={"validation": "validation"}).files(Path())


def test_without_the_hub(tmp_path, monkeypatch):
    def fail(*arguments, **settings):
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", fail)
    with pytest.raises(
        Unavailable, match=r"some/set could not be had from the Hugging Face hub \(no network\): put its"
    ):
        data(HubLines("some/set", "answer"), tmp_path).load()


@needs_data
def test_the_sentences_of_sst2():
    made = data(LineFile("sst2/dev.tsv", text="sentence"), DATA, vocabulary=600, test_count=5, train_rows=40).load()
    assert len(made.train) == 40 and len(made.test) == 5 and made.inputs == 600
    assert set(made.columns) == {"line", "label"}


class TestRefused:
    def refused(self, sentence, source, folder, **settings):
        with pytest.raises(UserError, match=sentence):
            data(source, folder, **settings).load()

    def test_an_empty_line(self, folder):
        (folder / "lines.txt").write_text("one two\n\nthree four\n")
        self.refused(
            "must have a text in every line, found an empty line in line 2: remove it", LineFile("lines.txt"), folder
        )

    def test_a_prompt_without_a_completion(self, folder):
        rows = [*QUESTIONS, {**QUESTIONS[0], "answer": " "}]
        (folder / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = LineFile("qa.jsonl", text="answer", prompt="question")
        self.refused(
            "must have a completion in every row, found nothing in the field 'answer' in line 6", source, folder
        )

    def test_a_row_of_one_token(self, folder):
        made = build_line_vocabulary(Lines(["a b"], ["1"]), 32, None)
        made.tokenizer.post_processor = None
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=made.tokenizer, pad_token="<pad>")
        tokenizer.save_pretrained(folder)
        (folder / "lines.txt").write_text("a b\na\nb a\na a\n")
        self.refused(
            "Every line must have a token that is predicted, found none in line 2: it is one token",
            LineFile("lines.txt"),
            folder,
            tokenizer=str(folder),
        )

    def test_a_prompt_that_fills_the_row(self, folder):
        source = LineFile("qa.jsonl", text="answer", prompt="question")
        self.refused("its prompt alone has 5 tokens or more", source, folder, max_length=5)

    @pytest.mark.parametrize(
        "fields, sentence",
        [
            ({}, "has the fields question, answer, wrong, source: name that of the text by data.source.text"),
            ({"text": "reply"}, "data.source.text must name a field of .*, found 'reply': it has question, answer"),
            ({"text": "answer", "prompt": "ask"}, "data.source.prompt must name a field of .*, found 'ask'"),
        ],
    )
    def test_fields_that_are_not_there(self, folder, fields, sentence):
        self.refused(sentence, LineFile("qa.jsonl", **fields), folder)

    def test_fields_of_plain_lines(self, folder):
        self.refused("data.source.text names a field, and .* has none", LineFile("lines.txt", text="a"), folder)

    def test_choices(self, folder):
        self.refused("data.too_long must be one of cut, split", LineFile("lines.txt"), folder, too_long="drop")
        self.refused("data.max_length at least 2", LineFile("lines.txt"), folder, max_length=1)
