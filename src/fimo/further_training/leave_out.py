"""Three ways to leave an example out of further training.

Each says, for a batch of an epoch and for every run, which rows the run sees and with which weights: the loss that run
r descends in this step is Σ_b weight[r, b] · ℓ(rows[r, b]). A run that leaves nothing out has `left_out` = −1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

FULL = -1


class Batch(NamedTuple):
    """One step of every run.

    Attributes:
        rows: `[run, place in the batch]`.
        weight: of each row in the run's loss, float64.
        takes_part: `[run]`, whether the run takes this step at all.
        apart: how many of the last places a network that draws at random sees in a forward pass of their own.
    """

    rows: Tensor
    weight: Tensor
    takes_part: Tensor
    apart: int = 0


Scheme = Callable[[Tensor, int, int, Tensor], Batch]


def drop(permutation: Tensor, number: int, batch_size: int, left_out: Tensor) -> Batch:
    """The example is removed from the epoch's permutation; everything after it moves up by one place.

    The last batch of a run that leaves an example out has one row fewer than that of the full run: the place is filled
    with weight 0. Where no row is left (n ≡ 1 mod batch size) the run skips the step.

    Args:
        permutation: `[row]`, the epoch's order of all n training rows.
        number: which batch of the epoch, from 0.
        batch_size: rows in a batch.
        left_out: `[run]`, the row that each run leaves out, or `FULL`.
    """
    n = len(permutation)
    place = torch.full((len(left_out),), n)
    away = left_out != FULL
    place[away] = torch.argsort(permutation)[left_out[away]]
    wanted = torch.arange(number * batch_size, min((number + 1) * batch_size, n)).expand(len(left_out), -1)
    index = permutation[(wanted + (wanted >= place[:, None])).clamp(max=n - 1)]
    present = wanted < (n - away.long())[:, None]
    weight = present.to(torch.float64)
    rows = weight.sum(1)
    return Batch(index, weight / rows.clamp(min=1)[:, None], rows > 0)


def mask(permutation: Tensor, number: int, batch_size: int, left_out: Tensor) -> Batch:
    """The example keeps its place with weight 0; the mean still divides by the batch's size. Arguments as `drop`."""
    batch = permutation[number * batch_size : (number + 1) * batch_size]
    index = batch.expand(len(left_out), -1)
    weight = (index != left_out[:, None]).to(torch.float64) / len(batch)
    return Batch(index, weight, torch.ones(len(left_out), dtype=torch.bool))


def every_step(permutation: Tensor, number: int, batch_size: int, left_out: Tensor) -> Batch:
    """The full batch's mean loss minus ℓ_i/n in every step, whether i is in the batch or not. Arguments as `drop`.

    The example takes part as one more row of the batch, with weight −1/n. A network with dropout sees it apart, so that
    the masks of the batch are those of the full run under every scheme.
    """
    batch = permutation[number * batch_size : (number + 1) * batch_size]
    away = left_out != FULL
    index = torch.cat([batch.expand(len(left_out), -1), left_out.clamp(min=0)[:, None]], dim=1)
    weight = torch.full(index.shape, 1 / len(batch), dtype=torch.float64)
    weight[:, -1] = -away.to(weight.dtype) / len(permutation)
    return Batch(index, weight, torch.ones(len(left_out), dtype=torch.bool), apart=1)


SCHEMES: dict[str, Scheme] = {"drop": drop, "mask": mask, "every_step": every_step}
