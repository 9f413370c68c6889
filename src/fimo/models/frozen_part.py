"""What is frozen and lies below θ is computed once per row.

A module's outputs are stored where they depend on the row alone: it has no parameter in θ, is called once in a pass,
draws no random number, and gives the same at other values of θ, in eval mode and in that of training. Of nested modules
the outermost is taken; where they are little of the network's work (look-ups in tables, normalisations, the first of
many layers) nothing is stored. A pass that is given the stored outputs has to agree with one that computes them, in
outputs and gradients, at other values of θ, for fewer rows and for sequences cut shorter, and in its outputs at every
row; where it does not, nothing is stored.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fimo.errors import short, some_of
from fimo.memory import STORED_OUTPUT_BYTES
from fimo.models.frozen_modules import Look, Mode, as_held, calls_of, frozen_outputs
from fimo.models.function_of_rows import rows_that_fit
from fimo.models.parameter_choice import theta_of
from fimo.models.stored_outputs import INPUT, Output, Piece, StoredOutputs, with_stored_outputs
from fimo.rows import Inputs, Rows, by_name

logger = logging.getLogger(__name__)

# Rows that go through the network together, once.
BLOCK_ROWS = 256
# Fewer rows tell nothing of which axes are rows'.
LEAST_ROWS = 3
# Of the entries of all weights, so many at least are what is stored computed with.
LEAST_WORK = 0.05
CONVOLUTIONS = nn.Conv1d, nn.Conv2d, nn.Conv3d
# A share of the largest output by which passes may differ, since blocks of other sizes round otherwise.
AGREED = {torch.float64: 1e-12, torch.float32: 1e-5}
_logged: set[tuple[Any, ...]] = set()


def with_frozen_part_stored(
    network: nn.Module, train: Rows, test: Rows, mode: Mode | None = None
) -> tuple[nn.Module, Rows, Rows] | None:
    """A network and its rows, with the outputs of what is frozen and lies below θ among the inputs of the rows.

    Args:
        network: in eval mode; θ are the parameters that need gradients.
        train: the training rows.
        test: the test rows.
        mode: that the network is in beside eval mode; None for none.

    Returns:
        A network that takes such rows, and the rows; None where nothing can be computed once.
    """
    if len(theta_of(network)) == len(list(network.parameters())) or len(train) < LEAST_ROWS:
        return None
    with torch.random.fork_rng():
        look = Look.at(network, train, [eval_mode] if mode is None else [eval_mode, mode])
        stored, reason = _stored(look)
    if stored is not None:
        needed = sum(output.row_bytes for output in stored.outputs.values()) * (len(train) + len(test))
        reason = f"would take {needed / 2**20:,.0f} MiB"
        if needed <= STORED_OUTPUT_BYTES:
            ours, reason = with_stored_outputs(network, stored), "differs at some rows"
            held = [_held_where_it_agrees(look, ours, stored, rows) for rows in (train, test)]
            if held[0] is not None and held[1] is not None:
                paths = some_of([path for path, output in stored.outputs.items() if output.row_bytes])
                _log(network, f"computed once per row, {needed / 2**20:.1f} MiB: what is frozen and leads to {paths}")
                return ours, held[0], held[1]
    _log(network, f"the frozen part is computed anew in each pass, since what could be stored of it {reason}")
    return None


def eval_mode(network: nn.Module) -> AbstractContextManager[Any]:
    """The mode that networks are in."""
    return nullcontext()


def _log(network: nn.Module, text: str) -> None:
    """A line, once for a network and its copies."""
    if (key := (type(network), tuple(theta_of(network)), text)) not in _logged:
        _logged.add(key)
        logger.info("%s", text)


def _stored(look: Look) -> tuple[StoredOutputs | None, str]:
    """The outputs that can be stored, with no more of them and of the inputs than matters; or why there are none."""
    outputs, tensors = frozen_outputs(look)
    if not outputs:
        return None, "depends on θ, on chance, or on the mode"
    if sum(_work(look.network.get_submodule(path)) for path in outputs) < LEAST_WORK * _work(look.network):
        return None, "takes little time"
    proper = by_name(look.few.inputs, "")
    sequences = look.few.lengths is not None
    inputs = {n: Piece(INPUT + n, tuple(t.shape[1:]), t.dtype, sequences) for n, t in proper.items()}
    everything = StoredOutputs(inputs, outputs, sequences)
    given = {INPUT + name: tensor for name, tensor in proper.items()} | tensors
    reason: Exception | None = None
    for pruned in (True, False):
        try:
            candidate = _pruned(look, everything, given) if pruned else everything
            if candidate.held and _agrees(look, candidate, given):
                return candidate, ""
        except Exception as error:  # a network of the user's may raise anything where its modules are replaced
            reason = error
    return None, "gives other results" + (f" ({short(reason)})" if reason else "")


def _work(module: nn.Module) -> float:
    """Entries of the weights with several axes in a module, without tables to look rows up in.

    Those of a convolution count as infinitely many: they say nothing of the places of an image that it is applied at.
    """
    inner = [part for part in module.modules() if not isinstance(part, nn.Embedding)]
    if any(isinstance(part, CONVOLUTIONS) for part in inner):
        return torch.inf
    return sum(p.numel() for part in inner for p in part.parameters(recurse=False) if p.dim() > 1)


def _pruned(look: Look, everything: StoredOutputs, given: Mapping[str, Tensor]) -> StoredOutputs:
    """Without tensors that nothing depends on: no gradient comes back to them, and noise in them changes nothing."""
    network, needed = with_stored_outputs(look.network, everything), set[str]()
    for mode in look.modes:
        leaves = {key: t.clone().requires_grad_() for key, t in given.items() if t.is_floating_point()}
        outputs = _outputs(network, mode, look.elsewhere, {**given, **leaves})
        gradients = torch.autograd.grad(outputs.sum(), list(leaves.values()), allow_unused=True)
        needed |= {key for key, gradient in zip(leaves, gradients, strict=True) if gradient is not None}
        for key in set(given) - needed:
            noisy = (_outputs(network, mode, look.elsewhere, {**given, key: noise(given[key])}) for _ in range(2))
            if not all(torch.equal(outputs, other) for other in noisy):
                needed.add(key)
    if everything.sequences:  # their length is read off the inputs
        needed |= {piece.key for piece in everything.inputs.values()}

    def kept(piece: Piece | None) -> Piece | None:
        return piece and replace(piece, held=piece.key in needed)

    inputs = {name: replace(piece, held=piece.key in needed) for name, piece in everything.inputs.items()}
    outputs_kept = {path: Output(o.spec, tuple(map(kept, o.pieces))) for path, o in everything.outputs.items()}
    return StoredOutputs(inputs, outputs_kept, everything.sequences)


def noise(tensor: Tensor) -> Tensor:
    """Random values in place of a tensor's: numbers, or integers (of rows of a table) as they occur in it."""
    if tensor.is_floating_point():
        return tensor + (1 + tensor.abs().max()) * torch.randn_like(tensor)
    if tensor.dtype == torch.bool:
        return torch.rand(tensor.shape, device=tensor.device) < 0.5
    return torch.randint(0, max(2, int(tensor.max()) + 1), tensor.shape, dtype=tensor.dtype, device=tensor.device)


def _outputs(network: nn.Module, mode: Mode, theta: Mapping[str, Tensor], inputs: Inputs) -> Tensor:
    torch.manual_seed(0)
    with mode(network), torch.enable_grad():
        return functional_call(network, dict(theta), (inputs,))


def _agrees(look: Look, stored: StoredOutputs, given: Mapping[str, Tensor]) -> bool:
    """Whether the network with stored outputs is the same function of θ, and leaves what rows hold as it is."""
    network, held = with_stored_outputs(look.network, stored), {key: given[key].clone() for key in stored.held}
    rows = replace(look.few, inputs=held)
    versions = {key: tensor._version for key, tensor in held.items()}
    for index, cut in ((torch.arange(len(rows)), None), (look.fewer, look.cut)):
        for mode in look.modes if len(index) else ():
            ours = _with_gradients(network, mode, look.elsewhere, rows.take(index, cut)[0])
            theirs = _with_gradients(look.network, mode, look.elsewhere, look.few.take(index, cut)[0])
            if not all(map(agree, ours, theirs)):
                return False
    _with_gradients(network, look.modes[-1], look.elsewhere, held)
    return all(tensor._version == versions[key] for key, tensor in held.items())


def _with_gradients(network: nn.Module, mode: Mode, theta: Mapping[str, Tensor], inputs: Inputs) -> Sequence[Tensor]:
    """Outputs, and the gradients of their squares by θ."""
    outputs = _outputs(network, mode, theta, inputs)
    gradients = torch.autograd.grad(outputs.square().sum(), list(theta.values()), materialize_grads=True)
    return outputs.detach(), *gradients


@torch.no_grad()
def _held_where_it_agrees(look: Look, network: nn.Module, stored: StoredOutputs, rows: Rows) -> Rows | None:
    """Rows with what they hold, where outputs at other values of θ agree at each of them: a few say nothing of all."""
    if (held := _recorded(look.network, rows, stored)) is None:
        return None
    for block in rows.by_length().split(rows_that_fit(look.network, rows, BLOCK_ROWS)):
        theirs = functional_call(look.network, look.elsewhere, (rows[block][0],))
        try:
            ours = functional_call(network, look.elsewhere, (held[block][0],))
        except Exception as error:  # a network of the user's may raise anything where its modules are replaced
            _log(look.network, f"stored outputs are none that the network can use ({short(error)})")
            return None
        if not agree(ours, theirs):
            return None
    return held


def agree(one: Tensor, other: Tensor) -> bool:
    """Whether two results are the same but for rounding.

    Args:
        one: a result.
        other: the other.
    """
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    allowed = AGREED.get(one.dtype, 1e-2) * other.abs().max()
    return bool(((one - other).abs() <= allowed).all())


@torch.no_grad()
def _recorded(network: nn.Module, rows: Rows, stored: StoredOutputs) -> Rows | None:
    """Rows with what they hold; None where a module gives something else at some of them."""
    paths = [path for path, output in stored.outputs.items() if output.row_bytes]
    parts: dict[str, list[Tensor]] = {}
    for block in torch.arange(len(rows)).split(rows_that_fit(network, rows, BLOCK_ROWS)):
        calls = calls_of(network, eval_mode, theta_of(network), rows.take(block, None)[0], paths)
        for path in paths:
            output = stored.outputs[path]
            if len(calls[path]) != 1 or calls[path][0].spec != output.spec:
                return None
            for piece, leaf in zip(output.pieces, calls[path][0].leaves, strict=True):
                if piece is not None and piece.held:
                    if len(leaf) != len(block) or leaf.shape[1 + piece.has_places :] != piece.shape[piece.has_places :]:
                        return None
                    held = as_held(piece, leaf, stored.sequences)
                    parts.setdefault(piece.key, []).append(held)
    proper = by_name(rows.inputs, "")
    inputs = {piece.key: proper[name] for name, piece in stored.inputs.items() if piece.held}
    return replace(rows, inputs=inputs | {key: torch.cat(some) for key, some in parts.items()})
