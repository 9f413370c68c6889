"""The loop that takes the place of vmap: the same results, one warning, and never for want of memory."""

import logging

import pytest
import torch
from torch import nn

from fimo.vmapping import is_out_of_memory, vmap_or_loop, vmap_works

ROWS, SHARED = torch.arange(6.0).reshape(3, 2), torch.tensor([1.0, 2.0])


def shy(row, others):
    if row.sum().item() > 100:  # the data decide, so that vmap can't
        return row, {"product": others["columns"]}
    return row * others["shared"], {"product": others["columns"] * row[0]}


def plain(row, others):
    return row * others["shared"], {"product": others["columns"] * row[0]}


def test_the_loop_gives_what_vmap_gives_along_all_axes(caplog):
    arguments = ROWS, {"shared": SHARED, "columns": torch.arange(12.0).reshape(2, 2, 3)}
    in_dims, out_dims = (0, {"shared": None, "columns": 2}), (1, {"product": 0})
    network = nn.Linear(2, 3)
    expected = torch.func.vmap(plain, in_dims, out_dims)(*arguments)
    with caplog.at_level(logging.WARNING):
        function = vmap_or_loop(shy, in_dims, out_dims, what="products", network=network)
        for result in (function(*arguments), function(*arguments)):
            torch.testing.assert_close(result, expected, rtol=0, atol=0)
    assert len(caplog.messages) == 1
    assert "products of the network Linear are computed one after another, 3 calls in place of one" in caplog.text


def test_a_network_is_tried_once():
    calls, network = [], nn.Linear(2, 4)

    def counted(row):
        calls.append(row)
        return row.sum().item() * row

    function = vmap_or_loop(counted, what="counts", network=network)
    function(ROWS), function(ROWS)
    assert len(calls) == 1 + 3 + 3


def test_errors_of_the_function_itself_are_raised_without_a_warning(caplog):
    function = vmap_or_loop(lambda row: row @ torch.ones(7), what="mistakes", network=nn.Linear(2, 5))
    with pytest.raises(RuntimeError, match="size"):
        function(ROWS)
    assert not caplog.messages


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: not enough memory: you tried to …"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 80 bytes. Error code 12"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_memory_that_runs_out_is_no_missing_rule(error):
    def greedy(row):
        raise error

    network = nn.Linear(2, 6)
    for attempt in (
        lambda: vmap_or_loop(greedy, what="rows", network=network)(ROWS),
        lambda: vmap_works(greedy, (ROWS,), what="rows", network=network, calls=3),
    ):
        with pytest.raises(type(error)) as caught:
            attempt()
        assert caught.value is error and is_out_of_memory(error)


def test_every_call_has_the_random_numbers_of_the_vmap():
    def noisy(row):
        return row + torch.rand(2) + 0 * row.sum().item()

    def seeded():
        torch.manual_seed(3)
        return torch.random.fork_rng()

    result = vmap_or_loop(noisy, randomness="same", what="noise", network=nn.Linear(2, 7), around=seeded)(ROWS)
    torch.manual_seed(3)
    torch.testing.assert_close(result - ROWS, torch.rand(2).expand(3, 2), rtol=1e-6, atol=1e-6)


def test_the_probe(caplog):
    assert vmap_works(lambda row: 2 * row, (ROWS,), what="doubles", network=nn.Linear(2, 8), calls=9)
    assert not caplog.messages
    assert not vmap_works(lambda row: row.sum().item() * row, (ROWS,), what="runs", network=nn.Linear(2, 8), calls=9)
    assert "9 calls in place of one" in caplog.text
