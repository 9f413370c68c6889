"""Batch normalisation in further training: every run's own statistics, against a plain loop over single runs."""

import copy

import numpy as np
import pytest
import torch
from configs import app, make_run
from further_training.test_gold_standard import ALL, OPTIMIZERS, SCHEMES, assert_same, sweep
from problems import NETWORKS, problem
from torch import nn

from fimo import vmapping
from fimo.errors import UserError
from fimo.pipeline import addresses
from fimo.reference import further_training as reference

UPDATED = {"leave_out": "drop", "batch_norm": "updated"}


# No bias in front of a normalisation: its gradient is nothing but rounding, which Adam would blow up.


class Images(nn.Module):
    """Batch normalisation of a convolution, with many values in each channel."""

    def __init__(self, outputs):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, (1, 3), bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(12, outputs)
        )

    def forward(self, inputs):
        return self.body(inputs[:, None, None])


class Normalised(nn.Module):
    """Batch normalisation of features, where a batch of one row has no variance."""

    def __init__(self, outputs, **settings):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(5, 6, bias=False), nn.BatchNorm1d(6, **settings), nn.Tanh(), nn.Linear(6, outputs)
        )

    def forward(self, inputs):
        return self.body(inputs)


class Shy(Normalised):
    """The same, with a way that depends on the data: vmap can't follow."""

    def forward(self, inputs):
        outputs = super().forward(inputs)
        return outputs if outputs.sum().item() > 0 else outputs * 1.0


KINDS = {
    "images": Images,
    "features": Normalised,
    "running mean of all": lambda outputs: Normalised(outputs, momentum=None),
    "no parameters": lambda outputs: Normalised(outputs, affine=False),
    "vmap-shy": Shy,
    "with dropout": lambda outputs: nn.Sequential(Normalised(4), nn.Dropout(0.3), nn.Linear(4, outputs)),
}


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    for name, make in KINDS.items():
        monkeypatch.setitem(NETWORKS, name, make)


# A whole last batch, another, and where the full run's last batch is one row, which only images can be normalised by.
LOOPS = [(kind, rows) for kind in KINDS if kind != "with dropout" for rows in (16, 22, 23)] + [("images", 17)]


@pytest.mark.parametrize("kind, rows", LOOPS)
@pytest.mark.parametrize("optimizer", ["sgd, momentum", "adam"])
def test_equals_the_plain_loop(kind, rows, optimizer, caplog, monkeypatch):
    monkeypatch.setattr(vmapping, "_warned", set())  # each architecture warns once
    question = problem("classification", kind, rows=rows, left_out=(0, 9, 15))
    losses = sweep(question, optimizer=OPTIMIZERS[optimizer], **UPDATED)[0]
    assert_same(losses, reference.gold_standard(question, OPTIMIZERS[optimizer], 3, 8, "drop", seed=0))
    loop = kind in ("vmap-shy", "running mean of all")
    assert ("runs of further training of the network" in caplog.text) == loop
    assert (", 4 calls in place of one, since vmap does not take this network" in caplog.text) == loop


@pytest.mark.parametrize("kind", KINDS)
def test_independent_of_chunks_and_of_seed_groups(kind):
    question = problem("classification", kind, rows=22, left_out=(0, 9, 15))
    settings = {"optimizer": OPTIMIZERS["adam"], "clip": 0.5, "epochs": 2, **UPDATED}
    baseline = sweep(question, seeds=[0, 1, 2], **settings)
    for width, together in [(1, 1), (2, 3), (5, 2)]:
        together = 1 if kind == "with dropout" else together
        other = sweep(question, seeds=[0, 1, 2], seeds_at_once=together, runs_at_once=width, **settings)
        for seed, losses in baseline.items():
            assert_same(other[seed], [losses[name].values for name in ALL])


def test_the_choice_matters_only_where_there_is_batch_normalisation():
    for network, same in (("images", False), ("mlp", True)):
        question = problem("classification", network)
        before = copy.deepcopy(question.network.state_dict())
        frozen, updated = (
            sweep(question, optimizer=OPTIMIZERS["sgd"], leave_out="drop", batch_norm=choice)[0]
            for choice in ("frozen", "updated")
        )
        assert np.allclose(frozen["loss_full"], updated["loss_full"], rtol=1e-9) == same
        np.testing.assert_array_equal(frozen["loss_before"], updated["loss_before"])
        for name, tensor in question.network.state_dict().items():  # the final model is as it was
            assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("rows, batch_size", [(17, 8), (18, 8), (16, 1)])
def test_a_batch_of_one_row(rows, batch_size):
    settings = {"optimizer": OPTIMIZERS["sgd"], "batch_size": batch_size, **UPDATED}
    question = problem("classification", "features", rows=rows, left_out=(0, 9, 15))
    with pytest.raises(
        UserError, match=rf"{rows} training rows .fewer .* batches of {batch_size} make one of 1 row"
    ) as told:
        sweep(question, **settings)
    assert "\n" not in str(told.value)
    images = problem("classification", "images", rows=rows, left_out=(0, 9, 15))  # many values in each channel
    assert np.isfinite(sweep(images, **settings)[0]["loss_full"]).all()


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "drop"])
def test_only_with_drop(scheme):
    text = f"leave_out='drop' .further.leave_out=drop.*, found '{scheme}', where the example"
    with pytest.raises(UserError, match=text):
        make_run("further.batch_norm=updated", f"further.leave_out={scheme}")
    with pytest.raises(UserError, match="further.batch_norm must be one of frozen, updated, found 'off'"):
        make_run("further.batch_norm=off")


def test_it_belongs_to_the_address(tmp_path):
    settings = ("experiment=digits", "model=resnet9", "method=grad_dot", "further.leave_out=drop")
    frozen, updated = (
        addresses.further_training(make_run(*settings, f"further.batch_norm={choice}")).hash
        for choice in ("frozen", "updated")
    )
    assert frozen != updated
    assert app(tmp_path, *settings, "further.batch_norm=updated", "data.train_rows=100") == 0
