"""What is made of memory, precision and devices: chosen from sizes, and nothing read back inside a step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from further_training.test_gold_standard import OPTIMIZERS, SCHEMES, sweep
from problems import problem

from fimo.further_training.ensemble import Ensemble
from fimo.further_training.evaluation import blocks
from fimo.further_training.footprint import are_stacked, runs_per_chunk, seeds_per_ensemble
from fimo.further_training.leave_out import full_and
from fimo.further_training.module import LockstepBatches
from fimo.further_training.settings import FurtherTraining
from fimo.further_training.tangents import Tangents
from fimo.groups import NOBODY
from fimo.models.classification import CrossEntropy
from fimo.models.resnet import ResNet9
from fimo.problem import Problem
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
    assert seeds_per_ensemble(plan, question, 5) == 1
    assert runs_per_chunk(plan, question, 500) == 500  # small enough for the cache
    state = 4 * question.size * 8
    there = question.to("meta")
    monkeypatch.setattr("fimo.further_training.footprint.free_memory", lambda device: 2 * 35 * state)
    assert seeds_per_ensemble(plan, there, 5) == 7 and seeds_per_ensemble(plan, there, 36) == 1
    assert 1 < runs_per_chunk(plan, there, 500) < 35  # activations take room too


def images(dtype, size, width):
    random = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(26, 3, size, size, generator=random, dtype=dtype), torch.arange(26) % 3
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ResNet9(3, 3, width).to(dtype)
    return Problem(network, CrossEntropy(), (inputs[:22], targets[:22]), (inputs[22:], targets[22:]), [0, 3, 11, 21])


def test_large_convolutions_are_not_stacked_on_a_cpu():
    plan = FurtherTraining(OPTIMIZERS["sgd"], 1, 64, dtype=torch.float32)
    small, plain = problem("classification", "convolutional"), problem("classification")
    large = images(torch.float32, size=32, width=8)
    assert are_stacked(plan, small) and are_stacked(plan, plain) and not are_stacked(plan, large)
    assert are_stacked(plan, large.to("meta"))  # another device
    assert are_stacked(replace(plan, runs_at_once=3), large)  # a choice of the user's
    assert are_stacked(replace(plan, batch_size=1), large)


@pytest.mark.parametrize("optimizer, scheme", [*zip(OPTIMIZERS, SCHEMES, strict=False)])
def test_runs_one_after_another_are_those_of_a_stack(optimizer, scheme, monkeypatch):
    question = images(torch.float64, size=16, width=2)
    settings = {"optimizer": OPTIMIZERS[optimizer], "leave_out": scheme, "clip": 0.5}
    (stacked,) = sweep(question, **settings).values()
    monkeypatch.setattr("fimo.further_training.footprint.LARGE_CONVOLUTION_BYTES", 0)
    seen, inner = [], Ensemble.__init__

    def made(self, *args, **options):
        inner(self, *args, **options)
        seen.extend(chunk.parameters for chunk in self.chunks)

    monkeypatch.setattr(Ensemble, "__init__", made)
    (alone,) = sweep(question, **settings).values()
    assert len(seen) == 5 and all(len(p) == 1 for parameters in seen for p in parameters.values())
    weights = [p for p in seen[0].values() if p.dim() == 5 and p.shape[2] > 1 and p.shape[3] > 1]
    assert weights and all(p[0].is_contiguous(memory_format=torch.channels_last) for p in weights)
    for name in stacked:
        np.testing.assert_allclose(alone[name], stacked[name], rtol=1e-10, atol=1e-12)


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
