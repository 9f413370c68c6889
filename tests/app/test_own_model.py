"""A network of one's own with weights of one's own, and what is said where they don't fit."""

import json
import logging
import pickle
import re

import pandas as pd
import pytest
import torch
from configs import app, make_run
from own_networks import Skip
from safetensors.torch import save_file
from sklearn.datasets import load_breast_cancer

from fimo.app.errors import EXPECTED, sentence
from fimo.errors import UserError


class Code:
    """What no file of weights may run."""

    def __reduce__(self):
        return (pytest.fail, ("the pickle's code was run",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table and files of weights, good ones and others."""
    folder = tmp_path_factory.mktemp("own")
    data = load_breast_cancer(as_frame=True)
    data.data.assign(diagnosis=data.target_names[data.target]).to_csv(folder / "table.csv", index=False)
    torch.manual_seed(0)
    weights = Skip(30, 2).state_dict()
    save_file(weights, folder / "weights.safetensors")
    torch.save(weights, folder / "weights.pt")
    torch.save({f"network.{name}": tensor for name, tensor in weights.items()}, folder / "inside.pt")
    torch.save(Skip(29, 2).state_dict(), folder / "other.pt")
    torch.save([1, 2], folder / "list.pt")
    torch.save(Skip(30, 2), folder / "whole.pt")
    torch.save({"weight": Code()}, folder / "code.pt")
    (folder / "code.pkl").write_bytes(pickle.dumps(Code()))
    (folder / "junk.pt").write_bytes(b"no weights" * 100)
    (folder / "empty.pt").touch()
    return folder


def options(folder, target, checkpoint):
    table = (f"data.source.file={folder}/table.csv", "data.source.target=diagnosis", "data.task=classification")
    few = ("data.left_out=3", "data.test_count=3", "further.seeds=1")
    return "data=csv", *table, *few, "model=own", f"model._target_={target}", f"final.checkpoint={folder}/{checkpoint}"


@pytest.mark.parametrize("experiment", ["diabetes", "energy"])
@pytest.mark.parametrize(
    "target, checkpoint",
    [
        ("Skip", "weights.pt"),
        ("Skip", "weights.safetensors"),
        ("made_by_a_function", "inside.pt"),
    ],
)
def test_it_is_taken_as_it_is(target, checkpoint, experiment, folder, tmp_path):
    own = options(folder, f"own_networks.{target}", checkpoint)
    assert app(tmp_path, f"experiment={experiment}", *own, "name=own", "further.epochs=1") == 0
    (found,) = tmp_path.glob("outputs/csv/final/checkpoint-*/metrics.json")
    torch.manual_seed(0)
    network, rows = Skip(30, 2).eval(), make_run(*own).dataset.test_all
    loss = torch.nn.functional.cross_entropy(network(rows.inputs), rows.targets)
    assert json.loads(found.read_text())["test"]["loss"] == pytest.approx(loss.item(), rel=1e-6)
    assert len(pd.read_csv(tmp_path / "results/own/curves.csv")) > 0


NOT_IMPORTED = "model._target_ must name a class that can be imported, as in my_model.Net, found "
NO_WEIGHTS = " is neither safetensors nor a torch state dict without code "


@pytest.mark.parametrize(
    "overrides, text",
    [
        (
            "model._target_=nowhere.Net",
            NOT_IMPORTED + "'nowhere.Net' (No module named 'nowhere'): put its file (my_model.py",
        ),
        ("model._target_=bad_syntax.Net", NOT_IMPORTED + "'bad_syntax.Net': bad_syntax can't be imported (SyntaxError"),
        (
            "model._target_=own_networks",
            "model._target_ must name a class or a function, found 'own_networks', a module",
        ),
        ("model._target_=???", "model._target_ must be given: add model._target_=… to the command."),
        (
            "model._target_=own_networks.NoArguments",
            "own_networks.NoArguments must take the arguments inputs, outputs (got an unexpected keyword argument 'in",
        ),
        (
            "model._target_=own_networks.OtherArguments",
            "own_networks.OtherArguments must take the arguments inputs, outputs (missing a required argument: 'feat",
        ),
        ("+model.widht=8", "own_networks.Skip must take the arguments inputs, outputs, widht (got an unexpected"),
        ("model=mlp", "own_networks.Skip must take the arguments inputs, outputs, hidden (got an unexpected"),
        (
            "model._target_=own_networks.Refuses",
            "model: own_networks.Refuses can't be made with these settings (ValueError: even widths only).",
        ),
        (
            "method.grad_dot._target_=own_networks.Missing",
            "method.grad_dot._target_ must name a class or a function that can be imported, as in my_methods.my_scores",
        ),
        ("model._target_=own_networks.no_network", "The network must be a torch.nn.Module, found a list."),
        (
            "model._target_=own_networks.OneOutput",
            "The network OneOutput must give outputs [row, 2] for these data, found the shape [4, 1] for 4",
        ),
        ("model._target_=own_networks.NoOutputAxis", "The network NoOutputAxis must give outputs [row, 2] for these"),
        (
            "model._target_=own_networks.Dictionary",
            "The network must return a tensor of outputs, a tuple that begins with it, or a mapping with 'logits', ",
        ),
        (
            "model._target_=own_networks.OtherInputs",
            "The network OtherInputs can't take 4 rows of these data, [4, 30] (RuntimeError: ",
        ),
        (
            "final.checkpoint={}/other.pt",
            "The weights in {}/other.pt don't fit the network Skip: first.0.weight has shape [8, 29], expected [8, 30]",
        ),
        (
            "final.checkpoint={}/nothing.pt",
            "final.checkpoint must be a file of weights, found nothing at {}/nothing.pt",
        ),
        ("final.checkpoint={}/whole.pt", "{}/whole.pt" + NO_WEIGHTS + "(UnpicklingError): write one by torch.save("),
        ("final.checkpoint={}/code.pt", "{}/code.pt" + NO_WEIGHTS + "(UnpicklingError)"),
        ("final.checkpoint={}/code.pkl", "{}/code.pkl" + NO_WEIGHTS + "(UnpicklingError)"),
        ("final.checkpoint={}/junk.pt", "{}/junk.pt" + NO_WEIGHTS),
        ("final.checkpoint={}/empty.pt", "{}/empty.pt" + NO_WEIGHTS + "(EOFError)"),
        ("final.checkpoint={}/list.pt", "{}/list.pt must hold a state dict (names and tensors)"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(overrides, text, folder, tmp_path, monkeypatch, caplog):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "bad_syntax.py").write_text("class Net(:\n")
    own = options(folder, "own_networks.Skip", "weights.pt")
    with pytest.raises(EXPECTED) as found:
        app(tmp_path, *own, overrides.replace("{}", str(folder)))
    told = sentence(found.value)
    assert told.startswith(text.replace("{}", str(folder))) and "\n" not in told
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    assert not list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.rglob("*.nc"))  # nothing is left behind


@pytest.mark.parametrize(
    "target, text",
    [
        (
            "nowhere.Net",
            r" \(No module named 'nowhere'\): put its file \(my_model.py in the example\) into the working",
        ),
        ("own_networks.Skipp", r": own_networks \(.*own_networks.py\) has no Skipp; did you mean Skip\?$"),
        ("own_networks.zzz", r": own_networks \(.*own_networks.py\) has no zzz; it has Skip, .*\.$"),
        ("own_networks.Skip.forwards", r": own_networks.Skip has no forwards; did you mean forward\?$"),
        ("raises_at_once.Net", r": raises_at_once can't be imported \(ValueError: never\); mend it, or install"),
        ("needs_more.Net", r": needs_more can't be imported \(ModuleNotFoundError: No module named 'nowhere'\); mend"),
        ("a_package.needs_more.Net", r": a_package.needs_more can't be imported \(ModuleNotFoundError: .*'nowhere'"),
        ("a_package.nowhere.Net", r": a_package \(.*__init__.py\) has no nowhere; it has no class and no function\.$"),
        ("my_model.", ": it must be names with dots between them.$"),
    ],
)
def test_what_is_wrong_with_a_target_that_is_not_imported(target, text, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "raises_at_once.py").write_text("raise ValueError('never')\n")
    (tmp_path / "a_package").mkdir()
    (tmp_path / "a_package" / "__init__.py").touch()
    for file in ("needs_more.py", "a_package/needs_more.py"):
        (tmp_path / file).write_text("import nowhere\n")
    with pytest.raises(UserError) as refused:
        make_run("model=own", f"model._target_={target}")
    told = str(refused.value)
    assert re.match(re.escape(f"{NOT_IMPORTED}{target!r}") + text, told)
    assert ("working directory" in told) == (target == "nowhere.Net")
