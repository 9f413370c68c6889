import pytest
import torch

import fimo  # noqa: F401  (first: see fimo/torchvision_operators.py)


@pytest.fixture(autouse=True)
def one_thread():
    """Small problems are faster with one thread, and two test sessions then don't fight over the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
