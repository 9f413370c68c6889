"""What a forward pass depends on beside parameters and inputs: the network's mode, its statistics, random numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from fimo.errors import UserError, some_of
from fimo.models.copies import copied
from fimo.models.function_of_rows import changes, state_of
from fimo.problem import Parameters, Problem


def statistics_of(network: nn.Module) -> Parameters:
    """The running statistics of all batch normalisation, by name; those in several places have the first one's."""
    norms = {path for path, module in network.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)}
    return {name: buffer for name, buffer in network.named_buffers() if name.rpartition(".")[0] in norms}


def require_no_other_state(problem: Problem) -> None:
    """Refuse a network of which training changes more than θ and the statistics of batch normalisation.

    All runs share the network's buffers, so that what one run leaves in them would be another's.

    Args:
        problem: whose network is looked at, on a copy.

    Raises:
        UserError: naming the buffers.
    """
    network, (inputs, _) = copied(problem.network), problem.train[slice(0, 2)]
    before = {name: tensor.detach().clone() for name, tensor in state_of(network).items()}
    with training_mode(network, True), rng_seeded(0), torch.no_grad():
        network(inputs)
    if changed := changes(before, state_of(network)):
        raise UserError(
            f"Training changes more of the network {type(network).__name__} than its parameters: "
            f"{some_of(changed)}. All runs of further training share "
            "these buffers, so each would leave its values to the next: take out what updates them (spectral norms, "
            "running means and counters of your own), or let it look at a setting of yours."
        )


@contextlib.contextmanager
def training_mode(network: nn.Module, training: bool, batch_statistics: bool = False) -> Iterator[None]:
    """Training mode or eval mode inside, eval mode afterwards.

    Args:
        network: changed in place.
        training: whether it is in training mode inside, which turns dropout on.
        batch_statistics: whether batch normalisation takes the statistics of the batch in training mode; else it keeps
            those of the final model.

    Yields:
        Nothing.
    """
    network.train(training)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(training and batch_statistics)
    try:
        yield
    finally:
        network.eval()


def precomputed_for_training(problem: Problem, batch_statistics: bool, autocast: torch.dtype | None) -> Problem:
    """The problem with what is frozen and lies below θ computed once per row, where runs don't change it.

    Args:
        problem: in the dtype and on the device of the training.
        batch_statistics: whether batch normalisation takes the statistics of each batch, in which nothing is frozen.
        autocast: dtype of the matrix products in training, if another: what is stored has that of the problem.

    Returns:
        The problem, itself where nothing can be computed once.
    """
    if autocast is not None or batch_statistics and statistics_of(problem.network):
        return problem
    return problem.precomputed_in(partial(training_mode, training=True))


@contextlib.contextmanager
def parameters_of_run(network: nn.Module, parameters: Parameters) -> Iterator[None]:
    """Inside, the network itself has the parameters of one run; afterwards it has its own again.

    A network that computes activations again on the way back (gradient checkpointing) takes them from its own
    parameters then, whatever it was called with on the way there.

    Args:
        network: changed in place.
        parameters: of the run, by name.

    Yields:
        Nothing.
    """
    own = dict(network.named_parameters())
    before = {name: own[name].detach().clone() for name in parameters}
    with torch.no_grad():
        for name, values in parameters.items():
            own[name].copy_(values)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, values in before.items():
                own[name].copy_(values)


@contextlib.contextmanager
def rng_seeded(randomness: int | None) -> Iterator[None]:
    """Inside, torch's global generators are seeded with `randomness`; afterwards they are as they were."""
    if randomness is None:
        yield
        return
    with torch.random.fork_rng():
        # `torch.manual_seed` seeds every kind of device there is, and notes the stack of calls for each that isn't in
        # use: 3 ms in every step, and memory that is never freed.
        torch.default_generator.manual_seed(randomness)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(randomness)
        yield


def is_stochastic(problem: Problem) -> bool:
    """Whether a pass of the network in training mode draws random numbers (dropout): the generator moves on."""
    state = torch.cuda.get_rng_state if problem.device.type == "cuda" else torch.get_rng_state
    with training_mode(problem.network, True), torch.no_grad(), rng_seeded(0):
        before = state()
        problem.network(problem.train[slice(0, 2)][0])
        return not torch.equal(before, state())


def differs_in_training(problem: Problem) -> bool:
    """Whether the network is another function in training mode, beyond rounding; normalisation keeps its statistics."""
    inputs, outputs = problem.train[slice(0, 2)][0], []
    for training in (False, True):
        with training_mode(problem.network, training), torch.no_grad(), rng_seeded(0):
            outputs.append(problem.network(inputs))
    usual, trained = outputs
    return not torch.allclose(usual, trained, rtol=1e-4, atol=1e-5 * float(usual.abs().max()))
