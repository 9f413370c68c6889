import pytest
import torch

import fimo  # noqa: F401  (first: see fimo/torchvision_operators.py)
from experiments import stages


@pytest.fixture(autouse=True)
def one_thread():
    """Small problems are faster with one thread, and two test sessions then don't fight over the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def seeds_computed(monkeypatch):
    """The seeds that further training computes, as they come."""
    seeds = []
    inner = stages.further_train_problem

    def spy(*args, **kwargs):
        for result in inner(*args, **kwargs):
            seeds.append(result[0])
            yield result

    monkeypatch.setattr(stages, "further_train_problem", spy)
    return seeds
