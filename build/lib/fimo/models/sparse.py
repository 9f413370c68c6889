"""A linear layer on rows that are mostly zero, such as one-hot categories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

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


def sparse_linear(inputs: Mapping[str, Tensor], weight: Tensor) -> Tensor:
    """X Wᵀ for sparse rows X, from their entries alone; it has first derivatives in W, and takes `vmap`.

    Args:
        inputs: `columns` (integers) and `values`, `[row, entry]`.
        weight: W, `[output, feature]`; quickest where it lies column by column in memory.

    Returns:
        `[row, output]`.
    """
    return _SparseLinear.apply(inputs["columns"], inputs["values"], weight.mT)


class _SparseLinear(torch.autograd.Function):
    """One layer; under `vmap`, the layers of all runs together."""

    @staticmethod
    def forward(columns: Tensor, values: Tensor, table: Tensor) -> Tensor:
        return _Stacked.apply(columns[None], values[None], table[None])[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        columns, values, table = ctx.saved_tensors
        return None, None, _table_gradient(columns[None], values[None], gradient[None], table.shape[0])[0]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Tensor, int]:
        stacked = [
            tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip(inputs, in_dims, strict=True)
        ]
        return _Stacked.apply(*stacked), 0


class _Stacked(torch.autograd.Function):
    """`columns`, `values` `[run, row, entry]` and `table` `[run, feature, output]` give `[run, row, output]`."""

    @staticmethod
    def forward(ctx: Any, columns: Tensor, values: Tensor, table: Tensor) -> Tensor:
        runs, features, outputs = table.shape
        ctx.save_for_backward(columns, values)
        ctx.features = features
        places = columns + features * torch.arange(runs, device=columns.device)[:, None, None]
        sums = functional.embedding_bag(
            places.flatten(0, 1),
            table.reshape(runs * features, outputs),
            mode="sum",
            per_sample_weights=values.flatten(0, 1).to(table.dtype),
        )
        return sums.reshape(*columns.shape[:2], outputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        columns, values = ctx.saved_tensors
        return None, None, _table_gradient(columns, values, gradient, ctx.features)


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
        used, rows = _compact(columns[0, same], values[0, same])
        total.index_copy_(1, used, rows.mT @ gradient[:, same])
    if not same.all():
        entries = gradient[:, ~same, None] * values[:, ~same, :, None]
        places = columns[:, ~same] + features * torch.arange(runs, device=columns.device)[:, None, None]
        total.view(runs * features, outputs).index_add_(0, places.flatten(), entries.flatten(0, 2))
    return total


def _compact(columns: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The columns in use, and the rows in these alone."""
    used, places = torch.unique(columns, return_inverse=True)
    return used, values.new_zeros(*columns.shape[:-1], len(used)).scatter_add_(-1, places, values)
