"""Checkpoints as people have them: what is in front of names, around the weights, in other precisions and in shards."""

import argparse
import json
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from fimo.app.settings import with_home
from fimo.errors import UserError
from fimo.models.checkpoint import load_weights
from fimo.pipeline.checkpoints import checkpoint_digest, read_checkpoint


class Net(nn.Module):
    """Two layers, of which the second has the first one's weight too."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.again = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)
        self.again.weight = self.first.weight


class Lit(pl.LightningModule):
    """A network inside a Lightning module, beside other things with parameters."""

    def __init__(self, **settings):
        super().__init__()
        self.save_hyperparameters(settings)
        self.model, self.scale = Net(), nn.Parameter(torch.ones(2))


def network(seed=0):
    torch.manual_seed(seed)
    made = Net()
    made.norm.running_mean.normal_()
    return made


TRUE = network()
STATE = TRUE.state_dict()


def behind(front, state=STATE):
    return {front + name: tensor for name, tensor in state.items()}


def saved(content):
    return lambda path: torch.save(content, path)


def tensors(state):
    return lambda path: save_file({name: tensor.clone() for name, tensor in state.items()}, path)


def lightning(path):
    module = Lit(width=3)
    module.model.load_state_dict(STATE)
    trainer = pl.Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)


def shards(path, missing=()):
    path.mkdir()
    parts = {"a.safetensors": list(STATE)[:3], "b.safetensors": list(STATE)[3:]}
    for file, names in parts.items():
        if file not in missing:
            save_file({name: STATE[name].clone() for name in names}, path / file)
    index = {"metadata": {}, "weight_map": {name: file for file, names in parts.items() for name in names}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def folder(path):
    path.mkdir()
    tensors(STATE)(path / "model.safetensors")


READ = {
    "safetensors": (tensors(STATE), None),
    "torch": (saved(STATE), None),
    "save_model": (lambda path: save_model(TRUE, str(path)), None),
    "module.": (saved(behind("module.")), "'module.' is removed from all names"),
    "_orig_mod.": (tensors(behind("_orig_mod.")), "'_orig_mod.' is removed"),
    "both": (saved(behind("module._orig_mod.")), "'module._orig_mod.' is removed"),
    "save_model and a front": (lambda path: save_model(nn.ModuleDict({"net": TRUE}), str(path)), "'net.' is removed"),
    "Lightning": (lightning, "'model.' is removed from all names"),
    "Lightning's others": (lightning, "scale: not read"),
    "Lightning's entries": (lightning, "the weights are its state_dict; not read: epoch, global_step, pyto"),
    "state_dict": (saved({"state_dict": STATE, "epoch": 3}), "the weights are its state_dict; not read: epoch"),
    "model": (saved({"model": STATE, "optimizer": {"state": {}, "lr": 0.1}}), "the weights are its model; not read: o"),
    "half": (
        saved({name: t.half() if t.is_floating_point() else t for name, t in STATE.items()}),
        "of torch.float16 are",
    ),
    "bfloat16": (
        tensors({n: t.bfloat16() if t.is_floating_point() else t for n, t in STATE.items()}),
        "torch.bfloat16",
    ),
    "double": (saved(TRUE.double().state_dict()), "weights of torch.float64 are cast"),
    "shards": (shards, None),
    "a folder": (folder, None),
}
TRUE.float()


@pytest.mark.parametrize("write, message", READ.values(), ids=READ)
def test_the_network_has_its_weights(write, message, tmp_path, caplog):
    caplog.set_level("INFO", "fimo")
    path = tmp_path / "checkpoint"
    write(path)
    other = network(seed=1)
    load_weights(other, read_checkpoint(path), path)
    low = message is not None and ("float16" in message or "bfloat16" in message)
    for name, tensor in other.state_dict().items():
        torch.testing.assert_close(
            tensor, STATE[name].to(tensor.dtype), rtol=1e-2 if low else 0, atol=1e-2 if low else 0
        )
    assert other.again.weight is other.first.weight
    assert message in caplog.text if message else not caplog.text


def test_an_index_is_taken_too_and_the_digest_is_of_all_shards(tmp_path):
    shards(tmp_path / "a")
    index = tmp_path / "a/model.safetensors.index.json"
    assert read_checkpoint(index).keys() == STATE.keys()
    before = checkpoint_digest(index)
    assert before == checkpoint_digest(tmp_path / "a")
    tensors({name: STATE[name] + 1 for name in list(STATE)[3:]})(tmp_path / "a/b.safetensors")
    assert checkpoint_digest(index) != before


def test_something_is_put_in_front_where_the_network_has_it(caplog):
    caplog.set_level("INFO", "fimo")
    outer = nn.ModuleDict({"body": nn.ModuleDict({"net": network(1)})})
    load_weights(outer, behind("module."), "mine")
    assert torch.equal(outer["body"]["net"].first.weight, STATE["first.weight"])
    assert "'module.' is removed" in caplog.text and "'body.net.' is added to all names" in caplog.text


def test_home_is_a_path_too(monkeypatch):
    from configs import config

    monkeypatch.setenv("HOME", "/somewhere")
    cfg = with_home(config("final.checkpoint='~/mine.pt'", "data.left_out='~/rows.json'", "name='a~/b'"))
    assert cfg.final.checkpoint == "/somewhere/mine.pt" and cfg.data.left_out == "/somewhere/rows.json"
    assert cfg.name == "a~/b" and with_home(config("name='~'")).name == str(Path("~").expanduser())


def quantised(state):
    return {name: tensor.to(torch.int8) for name, tensor in state.items()}


def without(*names):
    return {name: tensor for name, tensor in STATE.items() if name not in names}


REFUSED = {
    "missing and unknown": (
        saved({**without("norm.weight", "norm.bias"), "scale": torch.ones(1)}),
        "the network wants norm.weight, norm.bias, which the file lacks; the file has scale, which the network lacks",
    ),
    "one name is missing behind a front": (
        saved(behind("module.", {name: tensor for name, tensor in STATE.items() if name != "norm.bias"})),
        "the network wants norm.bias, which the file lacks: choose",
    ),
    "ties that differ": (
        saved({**STATE, "again.weight": STATE["first.weight"] + 1}),
        "first.weight and again.weight are",
    ),
    "too large for its precision": (
        saved({**STATE, "norm.bias": torch.full((3,), 1e300, dtype=torch.float64)}),
        "in norm.bias",
    ),
    "another network": (
        saved(nn.Conv2d(1, 1, 1).state_dict()),
        "wants first.weight, first.bias, norm.weight and 6 more",
    ),
    "shapes": (saved({**STATE, "norm.bias": torch.ones(4)}), r"norm.bias has shape \[4\], expected \[3\]: choose"),
    "several shapes": (saved(nn.Sequential().state_dict() | {n: t[None] for n, t in STATE.items()}), "and 8 more such"),
    "quantised": (saved(quantised(STATE)), "first.weight has torch.int8, expected torch.float32"),
    "twice": (saved({**behind("model."), **behind("ema.")}), "several times, behind 'ema.' and 'model.'"),
    "a class": (
        saved({"state_dict": STATE, "args": argparse.Namespace(a=1)}),
        "torch state dict without code .*of a trai",
    ),
    "no weights": (saved({"epoch": 3}), "must hold a state dict .*, found a dict with epoch"),
    "a missing shard": (
        lambda path: shards(path, ("b.safetensors",)),
        "names 2 shards, found no b.safetensors beside it",
    ),
    "an empty folder": (lambda path: path.mkdir(), r"found the folder .* without model\.safetensors\."),
    "adapters": (
        lambda path: (path.mkdir(), (path / "adapter_config.json").write_text("{}")),
        "without model.safetensors; it holds the adapters of a PEFT model, which model.name takes",
    ),
    "not a number": (saved({**STATE, "norm.bias": torch.full((3,), torch.nan)}), "finite numbers, .* in norm.bias"),
}


@pytest.mark.parametrize("write, sentence", REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(write, sentence, tmp_path):
    write(tmp_path / "checkpoint")
    with pytest.raises(UserError, match=sentence) as error:
        load_weights(network(), read_checkpoint(tmp_path / "checkpoint"), "mine")
    assert "\n" not in str(error.value)


def test_an_index_of_something_else(tmp_path):
    (tmp_path / "i.json").write_text("[]")
    with pytest.raises(UserError, match="must be an index of shards with a weight_map"):
        read_checkpoint(tmp_path / "i.json")
