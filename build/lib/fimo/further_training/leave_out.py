"""Three ways to leave an example out of further training.

Each takes an epoch's order of every seed and yields, batch by batch, which rows each run sees and with which weights:
the loss that run r descends in a step is Σ_b weight[r, b] · ℓ(rows[r, b]). The axis `run` holds the runs of the first
seed, then those of the second, and so on. All is computed where the orders lie, and nothing of it is read back: what
the host needs to know of a batch follows from sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

FULL = -1


class Batch(NamedTuple):
    """One step of every run.

    Attributes:
        rows: `[run, place in the batch]`.
        weight: of each row in the run's loss, float64.
        counts: `[run]`, on the host: how many of the places are rows of the run's batch; the run skips a step of none.
        n_separate: how many of the last places a network that draws at random sees in a forward pass of their own.
        longest: of sequences, the length of the longest (of any run) in the places before those, and in those; else
            nothing.
    """

    rows: Tensor
    weight: Tensor
    counts: Tensor
    n_separate: int = 0
    longest: tuple[int, int] | None = None


Scheme = Callable[[Tensor, int, Tensor], Iterator[Batch]]


def drop(orders: Tensor, batch_size: int, left_out: Tensor) -> Iterator[Batch]:
    """The example is removed from the epoch's order; everything after it moves up by one place.

    The last batch of a run that leaves an example out has one row fewer than that of the full run: the place is filled
    with weight 0. Where no row is left (n ≡ 1 mod batch size) the run skips the step.

    Args:
        orders: `[seed, row]`, each seed's order of all n training rows.
        batch_size: rows in a batch.
        left_out: `[run]` of one seed, on the host: the row that each run leaves out, or `FULL`.

    Yields:
        Each batch of the epoch.
    """
    n, away = orders.shape[1], left_out.ne(FULL)
    place_of = orders.argsort(dim=1)[:, left_out.clamp(min=0).to(orders.device)]
    place = torch.where(away.to(orders.device), place_of, n)[..., None]  # [seed, run, 1]
    present = (n - away.long()).repeat(len(orders))  # rows in the whole epoch, [run]
    for start in range(0, n, batch_size):
        wanted = torch.arange(start, min(start + batch_size, n), device=orders.device)
        index = (wanted + (wanted >= place)).clamp(max=n - 1)
        counts = (present - start).clamp(max=len(wanted))
        weight = (torch.arange(len(wanted)) < counts[:, None]) / counts.clamp(min=1)[:, None].double()
        rows = orders[:, None].expand(-1, len(left_out), -1).gather(2, index)
        yield Batch(rows.flatten(0, 1), weight.to(orders.device, non_blocking=True), counts)


def mask(orders: Tensor, batch_size: int, left_out: Tensor) -> Iterator[Batch]:
    """The example keeps its place with weight 0; the mean still divides by the batch's size.

    Args:
        orders: `[seed, row]`, each seed's order of all n training rows.
        batch_size: rows in a batch.
        left_out: `[run]` of one seed, on the host: the row that each run leaves out, or `FULL`.

    Yields:
        Each batch of the epoch.
    """
    absent = left_out.to(orders.device).repeat(len(orders))[:, None]
    for batch in orders.split(batch_size, dim=1):
        rows = batch.repeat_interleave(len(left_out), dim=0)
        weight = rows.ne(absent).double() / batch.shape[1]
        yield Batch(rows, weight, torch.full((len(rows),), batch.shape[1]))


def every_step(orders: Tensor, batch_size: int, left_out: Tensor) -> Iterator[Batch]:
    """The full batch's mean loss minus ℓ_i/n in every step, whether i is in the batch or not.

    The example takes part as one more row of the batch, with weight −1/n. A network with dropout sees it apart, so that
    the masks of the batch are those of the full run under every scheme.

    Args:
        orders: `[seed, row]`, each seed's order of all n training rows.
        batch_size: rows in a batch.
        left_out: `[run]` of one seed, on the host: the row that each run leaves out, or `FULL`.

    Yields:
        Each batch of the epoch.
    """
    runs = left_out.to(orders.device).repeat(len(orders))[:, None]
    example, minus = runs.clamp(min=0), -runs.ne(FULL).double() / orders.shape[1]
    for batch in orders.split(batch_size, dim=1):
        weight = torch.full((len(runs), batch.shape[1]), 1 / batch.shape[1], dtype=minus.dtype, device=minus.device)
        rows = torch.cat([batch.repeat_interleave(len(left_out), dim=0), example], dim=1)
        yield Batch(rows, torch.cat([weight, minus], dim=1), torch.full((len(rows),), rows.shape[1]), n_separate=1)


SCHEMES: dict[str, Scheme] = {"drop": drop, "mask": mask, "every_step": every_step}
