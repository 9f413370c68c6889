"""What is made of memory, precision and devices: chosen from sizes, and nothing read back inside a step."""

import numpy as np
import pytest
import torch
from further_training.test_gold_standard import OPTIMIZERS, SCHEMES, sweep
from problems import problem

from fimo.further_training.ensemble import Ensemble
from fimo.further_training.evaluation import blocks
from fimo.further_training.leave_out import full_and
from fimo.further_training.module import LockstepBatches
from fimo.further_training.settings import FurtherTraining
from fimo.further_training.tangents import Tangents
from fimo.groups import NOBODY
from fimo.rows import Rows


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_step_reads_nothing_back_from_the_device(scheme, optimizer):
    """Tensors without values stand for those of a device: what the host asks of one raises."""
    question = problem("classification", rows=22, left_out=(0, 3, 11, 21)).to("meta")
    plan = FurtherTraining(OPTIMIZERS[optimizer], 1, 7, leave_out=scheme, clip=0.5)
    runs = full_and(question.left_out.members)
    groups = runs[:, 0].ne(NOBODY).repeat(2)  # with drop, runs that leave a row out skip the last step
    ensemble = Ensemble(question, groups, plan.optimizer, 2, plan.clip)
    for batch in LockstepBatches(question, plan, [0, 1], runs):
        assert batch.rows.device.type == batch.weight.device.type == "meta"
        ensemble.step(batch)
    with pytest.raises(NotImplementedError, match="meta"):
        ensemble.test_losses()  # which are read, and only they


def test_a_gpu_holds_as_many_runs_and_seeds_as_fit_into_half_of_it(monkeypatch):
    question, plan = problem("regression"), FurtherTraining(OPTIMIZERS["sgd"], 1, 8, dtype=torch.float64)
    assert plan.seeds_per_ensemble(question, 5) == 1
    assert plan.runs_per_chunk(question, 500) == 500  # small enough for the cache
    state = 4 * question.size * 8
    there = question.to("meta")
    monkeypatch.setattr("fimo.further_training.settings.free_memory", lambda device: 2 * 35 * state)
    assert plan.seeds_per_ensemble(there, 5) == 7 and plan.seeds_per_ensemble(there, 36) == 1
    assert 1 < plan.runs_per_chunk(there, 500) < 35  # activations take room too


def test_sequences_are_evaluated_with_those_of_similar_length():
    lengths = torch.tensor([9, 4, 5, 20, 4, 10, 11])
    rows = Rows(torch.zeros(7, 20), torch.zeros(7, dtype=torch.long), torch.arange(7), lengths)
    assert [block.tolist() for block in blocks(rows)] == [[1, 4, 2], [0, 5, 6], [3]]
    assert [block.tolist() for block in blocks(problem().test)] == [[0, 1, 2, 3]]


def test_autocast_rounds_the_training_and_not_the_test_losses():
    question = problem("regression", dtype=torch.float32)
    wide, cast = (
        sweep(question, dtype=torch.float32, epochs=1, batch_size=8, optimizer=OPTIMIZERS["sgd"], autocast=kind)[0]
        for kind in (None, torch.bfloat16)
    )
    np.testing.assert_array_equal(wide["loss_before"], cast["loss_before"])
    difference = abs(wide["loss_full"] - cast["loss_full"]).max() / abs(wide["loss_full"]).max()
    assert 1e-6 < difference < 0.05


class OutOfMemory(torch.nn.Linear):
    def forward(self, inputs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")


@pytest.mark.parametrize("tangents", [False, True])
def test_memory_that_runs_out_is_not_taken_for_a_network_that_vmap_does_not_take(tangents, monkeypatch):
    question = problem("classification", "linear")
    ensemble = Ensemble(question, torch.zeros(2), OPTIMIZERS["sgd"], 2)
    followed = Tangents(question, ensemble, OPTIMIZERS["sgd"], 3)
    monkeypatch.setattr(torch.nn.Linear, "forward", OutOfMemory.forward)
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        followed.effects() if tangents else Ensemble(question, torch.zeros(2), OPTIMIZERS["sgd"], 2)
