"""Classifiers of images of the transformers library, such as vision transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import AutoModelForImageClassification

from fimo.errors import UserError
from fimo.models.pretrained import head_order, in_order, new_model, pretrained_model


class ImageClassifier(nn.Module):
    """A classifier of images with its own head, or a new one.

    Args:
        inputs: channels of an image.
        outputs: number of classes.
        name: of a pretrained classifier, a folder or a name on the hub (see `fimo.hub`), or None.
        config: of a new one where `name` is None: `model_type` (vit, …) and the settings of that type; channels and
            classes are those of the data.
        classes: names of the data's classes; a pretrained head's outputs are put into their order.
        task: of the data, or None.

    Raises:
        UserError: where there is no such classifier, or it doesn't fit the channels, the classes or the task.
    """

    pretrained = True  # `name` names files that belong to what this network is

    def __init__(
        self,
        inputs: int,
        outputs: int,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        classes: Sequence[str] | None = None,
        task: str | None = None,
    ) -> None:
        super().__init__()
        kind = AutoModelForImageClassification
        self.order = None
        if name is None:
            self.model = new_model(config, kind, "(vit, …) of a new one", num_channels=inputs, num_labels=outputs)
            return
        self.model = pretrained_model(name, kind, outputs)
        if (channels := getattr(self.model.config, "num_channels", inputs)) != inputs:
            kinds = {1: "grey", 3: "rgb"}
            raise UserError(
                f"The classifier {name} takes images of {channels} channels, found {inputs}: choose "
                f"data.source.kind={kinds.get(channels, 'rgb')} for a folder of images."
            )
        self.order = head_order(self.model.config, name, outputs, classes, task)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of images.

        Args:
            inputs: `[row, channel, height, width]`.

        Returns:
            `[row, class]`.

        Raises:
            UserError: for images of another size than the network takes.
        """
        size = getattr(self.model.config, "image_size", None)
        expected = (size, size) if isinstance(size, int) else tuple(size or inputs.shape[-2:])
        if tuple(inputs.shape[-2:]) != expected:
            raise UserError(
                f"The network takes images of {expected[0]} × {expected[1]} pixels, found {inputs.shape[-2]} × "
                f"{inputs.shape[-1]}: resize them, of a folder by 'data.source.size=[{expected[0]},{expected[1]}]'."
            )
        return in_order(self.model(pixel_values=inputs).logits, self.order)
