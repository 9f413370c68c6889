"""A linear layer on rows that are mostly zero, such as one-hot categories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fimo.models.in_place import activated_, masked_, with_run_axis

# Rows that the runs of an ensemble don't share are added one entry at a time up to so many entries.
FEW_ENTRIES = 4096


def dense(inputs: Mapping[str, Tensor], features: int) -> Tensor:
    """Dense rows out of sparse ones.

    Args:
        inputs: `columns` (integers) and `values`, `[row, entry]`; values of one column are added.
        features: number of columns.

    Returns:
        `[row, feature]`, in the dtype of the values.
    """
    columns, values = inputs["columns"], inputs["values"]
    return values.new_zeros(*columns.shape[:-1], features).scatter_add(-1, columns, values)


def sparse_linear(inputs: Mapping[str, Tensor], weight: Tensor, bias: Tensor, relu: bool = False) -> Tensor:
    """X Wᵀ + bias for sparse rows X, from their entries alone; it has a first derivative, and takes `vmap`.

    Args:
        inputs: `columns` (integers) and `values`, `[row, entry]`.
        weight: W, `[output, feature]`; quickest where it lies column by column in memory.
        bias: `[output]`.
        relu: whether there is a ReLU behind it, see `fimo.models.chain.linear`.

    Returns:
        `[row, output]`.
    """
    return _SparseLinear.apply(inputs["columns"], inputs["values"], weight.mT, bias, relu)


class _SparseLinear(torch.autograd.Function):
    """One layer, or with an axis `run` in front of everything the layers of all runs."""

    @staticmethod
    def forward(columns: Tensor, values: Tensor, table: Tensor, bias: Tensor, relu: bool) -> Tensor:
        *runs, features, outputs = table.shape
        places = columns
        if runs:
            places = columns + features * torch.arange(runs[0], device=columns.device)[:, None, None]
        sums = functional.embedding_bag(
            places.flatten(0, -2),
            table.reshape(-1, outputs),
            mode="sum",
            per_sample_weights=values.flatten(0, -2).to(table.dtype),
        )
        return activated_(sums.reshape(*columns.shape[:-1], outputs), bias, relu)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        columns, values, table, _, relu = inputs
        ctx.save_for_backward(columns, values, output if relu else None)
        ctx.features = table.shape[-2]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        columns, values, outputs = ctx.saved_tensors
        gradient = masked_(gradient, outputs)
        if gradient.dim() == 3:
            of_table = _table_gradient(columns, values, gradient, ctx.features)
        else:
            of_table = _table_gradient(columns[None], values[None], gradient[None], ctx.features)[0]
        return None, None, of_table, gradient.sum(-2), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        *tensors, relu = inputs
        runs = [tensor.expand(info.batch_size, *tensor.shape[1:]) for tensor in with_run_axis(tensors, in_dims[:-1])]
        return _SparseLinear.apply(*runs, relu), 0


def _table_gradient(columns: Tensor, values: Tensor, gradient: Tensor, features: int) -> Tensor:
    """Xᵀ times the gradient at the outputs, `[run, feature, output]`.

    Runs of an ensemble see the same rows but for the left-out ones. Those that are the same are multiplied as one
    matrix of the columns in use (torch's own backward of `embedding_bag` takes ten times as long).
    """
    runs, _, outputs = gradient.shape
    total = gradient.new_zeros(runs, features, outputs)
    same = ((columns == columns[:1]) & (values == values[:1])).all(2).all(0)
    if (~same).sum() * runs * columns.shape[2] > FEW_ENTRIES:
        same = torch.zeros_like(same)
        used, rows = _compact(columns, values)
        return total.index_copy_(1, used, rows.mT @ gradient)
    if same.any():
        used, rows = _compact(columns[0], values[0].where(same[:, None], 0))
        total.index_copy_(1, used, rows.mT @ gradient)
    if not same.all():
        entries = gradient[:, ~same, None] * values[:, ~same, :, None]
        places = columns[:, ~same] + features * torch.arange(runs, device=columns.device)[:, None, None]
        total.view(runs * features, outputs).index_add_(0, places.flatten(), entries.flatten(0, 2))
    return total


def _compact(columns: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The columns in use, and the rows in these alone."""
    used, places = torch.unique(columns, return_inverse=True)
    return used, values.new_zeros(*columns.shape[:-1], len(used)).scatter_add_(-1, places, values)
