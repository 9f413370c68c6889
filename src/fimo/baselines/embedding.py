"""Similarity of hidden features: the nearest neighbours that a network sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fimo.baselines.places import first_sequence, own_places
from fimo.errors import MethodFailed
from fimo.models.function_of_rows import rows_that_fit, spread
from fimo.models.parameter_choice import last_layer
from fimo.models.requirements import LOOKED_AT
from fimo.problem import Problem
from fimo.rows import Inputs, Rows

# Rows that go through the network together.
BLOCK_ROWS = 256


@dataclass(frozen=True)
class Embedding:
    """The cosine of the angle between two examples' last hidden features.

        score[j, i] = h_jᵀ h_i / (‖h_j‖ ‖h_i‖)

    h is the input of the network's last layer, the one that `parameters=last_layer` makes θ. Where that layer is
    applied to each token of a sentence, h is the mean over the sentence's own tokens.

    Attributes:
        label: the method's name in legends and files.
    """

    version: ClassVar[int] = 1

    label: str = "Embedding"

    def scores(self, problem: Problem) -> Tensor:
        """The scores of all left-out examples for all test examples.

        Args:
            problem: whose network's features are compared. Those of all test examples are held at a time, and of the
                left-out ones a block.

        Returns:
            `[test, left_out]`; of a group the sum over its rows. A row without features (all are 0) has the score 0.

        Raises:
            MethodFailed: where the network has no last layer, or that takes no features of each row.
        """
        network = problem.network
        layer = last_layer(network, problem.train.keep(spread(len(problem.train), LOOKED_AT)).inputs)
        if layer is network and not _is_torchs(network):
            raise MethodFailed(
                f"{self.label} needs a last layer, whose inputs are the features that it compares; the network "
                f"{type(network).__name__} has none, since its own forward uses its parameters: choose another method, "
                "or write the last step as a layer (torch.nn.Linear)."
            )
        test = torch.cat(list(self._features(network, layer, first_sequence(problem.test))))
        left_out = problem.train.keep(problem.left_out.rows)
        similarities = [test @ features.T for features in self._features(network, layer, left_out)]
        return problem.left_out.summed(torch.cat(similarities, dim=1))

    @torch.no_grad()
    def _features(self, network: nn.Module, layer: nn.Module, rows: Rows) -> Iterator[Tensor]:
        """Features of unit length `[row, feature]`, a block of rows at a time."""
        for block in torch.arange(len(rows)).split(rows_that_fit(network, rows, BLOCK_ROWS)):
            inputs, _ = rows[block]
            places = own_places(inputs, None if rows.lengths is None else rows.lengths[block])
            features = self._layer_input(network, layer, inputs)
            if len(features) != len(block):
                raise MethodFailed(
                    f"{self.label} needs features of each row, found {len(features)} of {len(block)} rows as the input "
                    f"of the network's last layer, {type(layer).__name__}: choose another method."
                )
            if places is not None and features.dim() > 2 and features.shape[:2] == places.shape:
                own = places.reshape(*places.shape, *[1] * (features.dim() - 2))
                features = features.where(own, 0).sum(1) / places.sum(1).clamp(min=1).view(-1, *[1] * own[0, 0].dim())
            yield nn.functional.normalize(features.flatten(1), dim=1, eps=torch.finfo(features.dtype).tiny)

    def _layer_input(self, network: nn.Module, layer: nn.Module, inputs: Inputs) -> Tensor:
        """What the last call of the layer was given."""
        given: list[Tensor] = []

        def look(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            tensors = [part for part in (*arguments, *keywords.values()) if isinstance(part, Tensor)]
            given[:] = [part for part in tensors if part.is_floating_point() and part.dim() > 1][:1]

        hook = layer.register_forward_pre_hook(look, with_kwargs=True)
        try:
            network(inputs)
        finally:
            hook.remove()
        if not given:
            raise MethodFailed(
                f"{self.label} needs real numbers as the input of the network's last layer, {type(layer).__name__}, "
                "found none: choose another method."
            )
        return given[0]


def _is_torchs(network: nn.Module) -> bool:
    """Whether a network is one layer of torch's, such as a linear one, whose features are the inputs themselves."""
    return type(network).__module__.startswith("torch.nn.")
