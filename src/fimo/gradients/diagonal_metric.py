"""Coordinates in which Adam, with its squares of gradients held where they are, is SGD with momentum."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fimo.gradients.base import Gradients
from fimo.gradients.cotangents import of_loss
from fimo.gradients.rescaled import rescaled, rescaled_name
from fimo.gradients.shared import made_once
from fimo.gradients.source import GradientSource
from fimo.models.copies import accepted
from fimo.problem import Parameters, Problem
from fimo.rows import Inputs


@dataclass(frozen=True)
class DiagonalMetric:
    """Coordinates y = D^(−½)θ, D diagonal: gradients are D^½ g there, the Gauss–Newton matrix is D^½ G D^½.

    Attributes:
        sqrt_diagonal: D^½, by parameter.
    """

    sqrt_diagonal: Parameters

    @classmethod
    def of_batches(cls, problem: Problem, batch_size: int, epsilon: float) -> DiagonalMetric:
        """D = diag(1/(√E[g_B²] + ε)), the mean over all batches B of gradients at θ_f: what Adam divides by.

        Where all gradients are 0 at θ_f (a unit that is never active) they say nothing of what Adam would divide by
        once they aren't: D is the smallest of all there, not 1/ε.

        Args:
            problem: its training rows.
            batch_size: |B|, rows drawn without replacement.
            epsilon: ε.

        Returns:
            The metric.
        """
        source = GradientSource(problem)
        return made_once("metric", source, of_loss, lambda: cls._made(source, batch_size, epsilon), batch_size, epsilon)

    @classmethod
    def _made(cls, source: GradientSource, batch_size: int, epsilon: float) -> DiagonalMetric:
        return cls.of_squares(batch_second_moments(source, batch_size), epsilon)

    @classmethod
    def of_squares(cls, squares: Parameters, epsilon: float) -> DiagonalMetric:
        """D = diag(1/(√s + ε)) of mean squares s; the smallest of all where s is 0.

        Args:
            squares: s, by parameter.
            epsilon: ε.

        Returns:
            The metric.
        """
        largest = max(float(square.max()) for square in squares.values())
        squares = {name: torch.where(square > 0, square, largest) for name, square in squares.items()}
        return cls({name: (square.sqrt() + epsilon).rsqrt() for name, square in squares.items()})

    def rescaled(self, problem: Problem) -> Problem:
        """The same problem, its network a function of y."""
        network = accepted(RescaledNetwork(problem.network, self.sqrt_diagonal))
        return replace(problem, network=network, part=problem.part and tuple(map(rescaled_name, problem.part)))

    def gradients(self, gradients: Gradients) -> Gradients:
        """D^½ g for each gradient with respect to θ: the gradients with respect to y."""
        return rescaled(gradients, self.sqrt_diagonal)

    def gradient(self, gradient: Mapping[str, Tensor]) -> Parameters:
        """D^½ g by parameter, of one gradient."""
        return {rescaled_name(name): root * gradient[name] for name, root in self.sqrt_diagonal.items()}

    def back(self, vector: Parameters) -> Parameters:
        """D^½ u by parameter: a displacement u of y as one of θ."""
        return {name: root * vector[rescaled_name(name)] for name, root in self.sqrt_diagonal.items()}


@dataclass(frozen=True)
class AdamMetric:
    """The diagonal metric of Adam, for a problem that is not known yet.

    Attributes:
        batch_size: rows in a batch.
        epsilon: what Adam adds to the root of its mean of squares.
    """

    batch_size: int
    epsilon: float = 1e-8

    def of(self, problem: Problem) -> DiagonalMetric:
        """The metric at the problem's parameters, over its training rows."""
        return DiagonalMetric.of_batches(problem, self.batch_size, self.epsilon)


class RescaledNetwork(nn.Module):
    """A network whose parameters in θ are y = D^(−½)θ.

    Args:
        network: as a function of θ; it is copied.
        sqrt_diagonal: D^½, by parameter.
    """

    def __init__(self, network: nn.Module, sqrt_diagonal: Parameters) -> None:
        super().__init__()
        self.inside, self.sqrt_diagonal = copy.deepcopy(network), sqrt_diagonal
        with torch.no_grad():
            for name, parameter in self._theta():
                parameter.div_(sqrt_diagonal[name])

    def forward(self, inputs: Inputs) -> Tensor:
        """The network's outputs at θ = D^½ y."""
        theta = {name: self.sqrt_diagonal[name] * parameter for name, parameter in self._theta()}
        return functional_call(self.inside, theta, (inputs,))

    def _theta(self) -> Iterator[tuple[str, Tensor]]:
        return ((name, part) for name, part in self.inside.named_parameters() if name in self.sqrt_diagonal)


def batch_second_moments(source: GradientSource, batch_size: int) -> Parameters:
    """E[g_B²] entry by entry, g_B the mean gradient of a batch of rows drawn without replacement; by parameter.

        E[g_B²] = ḡ² + (mean of g_k² − ḡ²) (n − |B|)/(|B| (n − 1))

    Args:
        source: of the gradients of n training rows.
        batch_size: |B|.

    Returns:
        The second moments, by parameter.
    """
    problem, n = source.problem, len(source.problem.train)
    sums = {name: torch.zeros_like(parameter) for name, parameter in problem.parameters.items()}
    squares = {name: torch.zeros_like(parameter) for name, parameter in problem.parameters.items()}
    for block in source.blocks(problem.train.sampled(None)):  # sequences by their lengths
        for layer in block.by_layer():
            _add(sums, layer.row_sums())
            _add(squares, layer.row_square_sums())
    size = min(batch_size, n)
    spread = (n - size) / (size * max(n - 1, 1))
    means = {name: total / n for name, total in sums.items()}
    return {name: mean**2 + spread * (squares[name] / n - mean**2).clamp(min=0) for name, mean in means.items()}


def _add(totals: Parameters, parts: Parameters) -> None:
    for name, part in parts.items():
        totals[name] += part.reshape(totals[name].shape)
