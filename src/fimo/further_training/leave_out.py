"""Three ways to leave a group of examples out of further training; a single example is a group of one.

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

from fimo.groups import NOBODY

# What the full run leaves out, `[run, member]`: nothing.
FULL_RUN = torch.full((1, 1), NOBODY)


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


def full_and(members: Tensor) -> Tensor:
    """What each run of a seed leaves out, the full run first: nothing.

    Args:
        members: of the groups that are left out, `[left_out, member]`, filled with `NOBODY`.

    Returns:
        `[run, member]`.
    """
    return torch.cat([FULL_RUN.expand(-1, members.shape[1]), members])


def drop(orders: Tensor, batch_size: int, left_out: Tensor) -> Iterator[Batch]:
    """The examples are removed from the epoch's order; what comes after each moves up by one place.

    The last batches of a run that leaves examples out have fewer rows than those of the full run: the places are filled
    with weight 0. Where no row is left (n ≡ 1 mod batch size, for one example) the run skips the step.

    Args:
        orders: `[seed, row]`, each seed's order of all n training rows.
        batch_size: rows in a batch.
        left_out: `[run, member]` of one seed, on the host: the rows that each run leaves out, filled with `NOBODY`.

    Yields:
        Each batch of the epoch.
    """
    n, is_member = orders.shape[1], left_out.ne(NOBODY)
    members, is_member_here = left_out.to(orders.device), is_member.to(orders.device)
    places = orders.argsort(dim=1)[:, members.clamp(min=0)].where(is_member_here, n).sort().values
    # The k-th row that remains is at place k + j, j of the removed places p_0 < p_1 < … being before it: p_j − j ≤ k.
    before = (places - torch.arange(places.shape[-1], device=places.device)).where(places < n, n)
    present = (n - is_member.sum(1)).repeat(len(orders))  # rows in an epoch of each run, [run]
    for start in range(0, n, batch_size):
        wanted = torch.arange(start, min(start + batch_size, n), device=orders.device)
        removed = torch.searchsorted(before, wanted.expand(*before.shape[:-1], -1).contiguous(), right=True)
        counts = (present - start).clamp(0, len(wanted))
        weight = (torch.arange(len(wanted)) < counts[:, None]) / counts.clamp(min=1)[:, None].double()
        rows = orders[:, None].expand(-1, len(left_out), -1).gather(2, (wanted + removed).clamp(max=n - 1))
        yield Batch(rows.flatten(0, 1), weight.to(orders.device, non_blocking=True), counts)


def mask(orders: Tensor, batch_size: int, left_out: Tensor) -> Iterator[Batch]:
    """The examples keep their places with weight 0; the mean still divides by the batch's size.

    Args:
        orders: `[seed, row]`, each seed's order of all n training rows.
        batch_size: rows in a batch.
        left_out: `[run, member]` of one seed, on the host: the rows that each run leaves out, filled with `NOBODY`.

    Yields:
        Each batch of the epoch.
    """
    absent = left_out.to(orders.device).sort().values.repeat(len(orders), 1)
    for batch in orders.split(batch_size, dim=1):
        rows = batch.repeat_interleave(len(left_out), dim=0)
        nearest = torch.searchsorted(absent, rows).clamp(max=absent.shape[1] - 1)
        weight = absent.gather(1, nearest).ne(rows).double() / batch.shape[1]
        yield Batch(rows, weight, torch.full((len(rows),), batch.shape[1]))


def every_step(orders: Tensor, batch_size: int, left_out: Tensor) -> Iterator[Batch]:
    """The full batch's mean loss minus the sum of ℓ_i/n over the examples in every step, in the batch or not.

    The examples take part as more rows of the batch, each with weight −1/n. A network with dropout sees them apart, so
    that the masks of the batch are those of the full run under every scheme.

    Args:
        orders: `[seed, row]`, each seed's order of all n training rows.
        batch_size: rows in a batch.
        left_out: `[run, member]` of one seed, on the host: the rows that each run leaves out, filled with `NOBODY`.

    Yields:
        Each batch of the epoch.
    """
    members = left_out.to(orders.device).repeat(len(orders), 1)
    examples, minus = members.clamp(min=0), -members.ne(NOBODY).double() / orders.shape[1]
    for batch in orders.split(batch_size, dim=1):
        weight = torch.full((len(members), batch.shape[1]), 1 / batch.shape[1], dtype=minus.dtype, device=minus.device)
        rows = torch.cat([batch.repeat_interleave(len(left_out), dim=0), examples], dim=1)
        counts = torch.full((len(rows),), rows.shape[1])
        yield Batch(rows, torch.cat([weight, minus], dim=1), counts, n_separate=members.shape[1])


SCHEMES: dict[str, Scheme] = {"drop": drop, "mask": mask, "every_step": every_step}
