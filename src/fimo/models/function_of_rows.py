"""Is a network a function of one row at a time? Two passes agree, alone and beside others, and change nothing."""

from __future__ import annotations

from operator import itemgetter

import torch
from torch import Tensor, nn

from fimo.errors import UserError, short, some_of
from fimo.memory import BLOCK_BYTES
from fimo.rows import Inputs, Rows, map_inputs, rows_of

# The largest share of the largest output by which rounding may change one: products of other shapes add up in another
# order. Dropout and statistics of a batch change outputs by thousandths at least.
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}
ROUNDING_OTHERWISE = 3e-2  # of half precision


@torch.no_grad()
def outputs_at(network: nn.Module, inputs: Inputs) -> Tensor:
    """Outputs at some rows.

    Args:
        network: in the mode that is wanted.
        inputs: of the rows.

    Returns:
        What the network gives.

    Raises:
        UserError: where the network does not take them.
    """
    try:
        return network(inputs)
    except UserError:
        raise
    except Exception as reason:  # a network of the user's may raise anything
        raise UserError(
            f"The network {type(network).__name__} can't take {rows_of(inputs)} rows of these data, {_shapes(inputs)} "
            f"({type(reason).__name__}: {short(reason)}): choose a network for such inputs{_for_images(inputs)}, or "
            "other data."
        ) from reason


def _for_images(inputs: Inputs) -> str:
    """What images need by command: its default network is one for tables."""
    return " (model=convolutional, model=resnet9)" if isinstance(inputs, Tensor) and inputs.ndim == 4 else ""


def _shapes(inputs: Inputs) -> str:
    if isinstance(inputs, Tensor):
        return str(list(inputs.shape))
    return ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in inputs.items())


def spread(rows: int, count: int) -> Tensor:
    """Positions of so many rows, from the first to the last, evenly spaced.

    Args:
        rows: how many there are.
        count: how many are wanted.
    """
    return torch.linspace(0, rows - 1, min(rows, count)).round().long()


@torch.no_grad()
def rows_that_fit(network: nn.Module, rows: Rows, at_most: int) -> int:
    """How many rows go through a network together, so that their outputs (of a language model) fit into memory.

    Args:
        network: in the mode that is wanted.
        rows: of which the longest is looked at.
        at_most: in any case.
    """
    longest = rows.by_length()[-1:]
    device = next(network.parameters()).device
    outputs = network(map_inputs(lambda tensor: tensor.to(device), rows[longest][0]))
    return max(1, min(at_most, BLOCK_BYTES // (outputs.numel() * torch.float64.itemsize)))


def require_same_state(network: nn.Module, inputs: Inputs) -> None:
    """Refuse a network whose pass in eval mode changes a parameter or a buffer.

    Args:
        network: in eval mode.
        inputs: of some rows.

    Raises:
        UserError: naming what is changed.
    """
    before = {name: tensor.detach().clone() for name, tensor in state_of(network).items()}
    outputs_at(network, inputs)
    if changed := changes(before, state_of(network)):
        raise UserError(
            f"A pass of the network {type(network).__name__} in eval mode changes {some_of(changed)}, so its "
            "outputs depend on what was passed before. The usual cause is a forward that updates a buffer or a counter "
            "without looking at self.training."
        )


def require_same_outputs(network: nn.Module, inputs: Inputs) -> None:
    """Refuse a network that is random in eval mode, or whose outputs for a row depend on the rows beside it.

    Args:
        network: in eval mode.
        inputs: of some rows.

    Raises:
        UserError: with the largest difference, and what usually causes it.
    """
    kind, outputs = type(network).__name__, outputs_at(network, inputs)
    if (gap := largest_gap(outputs, outputs_at(network, inputs))) > 0:
        raise UserError(
            f"Two passes of the network {kind} in eval mode differ, by {gap:.1%} of the largest output, so it is "
            "random. The usual cause is functional.dropout without training=self.training."
        )
    rows, why = rows_of(inputs), "attention or recurrence over the first axis (batch_first=False), or a normalisation "
    why += "with the statistics of the batch."
    try:
        alone = torch.cat([outputs_at(network, map_inputs(itemgetter(slice(k, k + 1)), inputs)) for k in range(rows)])
    except UserError as reason:
        raise UserError(f"{reason} It takes {rows} rows together, so the usual cause is {why}") from reason
    backwards = outputs_at(network, map_inputs(lambda tensor: tensor.flip(0), inputs)).flip(0)
    for other, how in ((alone, "alone and beside others"), (backwards, "in another order of the rows")):
        if other.shape != outputs.shape or (gap := largest_gap(outputs, other)) > 0:
            alike = other.shape == outputs.shape
            shapes = f"their shape, {list(other.shape)} in place of {list(outputs.shape)}"
            by = f"by {gap:.1%} of the largest output" if alike else f"by {shapes}"
            raise UserError(
                f"The outputs of the network {kind} for a row differ {how}, {by}: a row's outputs depend on other "
                f"rows. The usual cause is {why}"
            )


def same_when_cut(network: nn.Module, rows: Rows) -> bool:
    """Whether padding does not matter: the shortest sequence has the same outputs with all of its padding and none.

    A network without a mask (a mean over places, a recurrence to the last place) takes padding for content.

    Args:
        network: in eval mode.
        rows: with or without lengths; without, nothing is ever cut.
    """
    if rows.lengths is None:
        return True
    shortest = rows.lengths.argmin()[None]
    padded, own = outputs_at(network, rows.take(shortest, None)[0]), outputs_at(network, rows[shortest][0])
    # Outputs of places are cut with them.
    return largest_gap(padded if padded.dim() == 2 else padded[:, : own.shape[1]], own) == 0


@torch.no_grad()
def works_in_its_precision(network: nn.Module, inputs: Inputs) -> bool:
    """Whether a network takes rows in the precision of its parameters, and gives outputs in it.

    A network that makes tensors of a precision of its own (`.float()`, tables made in its forward) does not.

    Args:
        network: in some precision.
        inputs: of a few rows, in the same.
    """
    try:
        return network(inputs).dtype == next(network.parameters()).dtype
    except RuntimeError:  # "mat1 and mat2 must have the same dtype"
        return False


def half_alone(network: nn.Module) -> UserError:
    """The error for a network that takes nothing but half precision, in which no score is computed."""
    return UserError(
        f"The network {type(network).__name__} takes {next(network.parameters()).dtype} alone, since it makes tensors "
        "of it itself, and scores need at least float32: make them like its inputs."
    )


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, those too that are not saved."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def changes(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[str]:
    """Names of what differs.

    Args:
        before: parameters and buffers.
        after: the same, later.
    """
    return [
        name
        for name, tensor in after.items()
        if name not in before or before[name].shape != tensor.shape or not _equal(before[name], tensor)
    ]


def largest_gap(outputs: Tensor, other: Tensor) -> float:
    """The largest difference by the largest output; 0 within rounding.

    Args:
        outputs: of some rows.
        other: of the same rows.
    """
    allowed = ROUNDING.get(outputs.dtype, ROUNDING_OTHERWISE)
    if _equal(outputs, other):
        return 0.0
    size = float(outputs.abs().max())
    gap = float((outputs - other).abs().max()) / (size if size > 0 else 1.0)
    return gap if not gap <= allowed else 0.0


def _equal(one: Tensor, other: Tensor) -> bool:
    return bool(torch.equal(torch.nan_to_num(one), torch.nan_to_num(other)))
