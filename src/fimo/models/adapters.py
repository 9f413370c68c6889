"""New adapters of low rank (LoRA: Hu et al. 2022, arXiv 2106.09685) in the linear layers of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedModel

from fimo.errors import UserError, short

NEEDED = "which the package peft makes: pip install -c constraints.txt -e '.[peft]'."


def with_adapters(model: PreTrainedModel, settings: Mapping[str, Any]) -> PreTrainedModel:
    """A model with new adapters in its linear layers; all its own parameters are frozen.

    Args:
        model: changed in place.
        settings: of PEFT's `LoraConfig`: `r`, the rank, `lora_alpha`, `target_modules` (names of layers, or
            `all-linear`) and others.

    Returns:
        The model.

    Raises:
        UserError: where the package is not there, or does not take the settings.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as reason:
        raise UserError(f"model.adapters asks for new adapters, {NEEDED}") from reason
    try:
        return get_peft_model(model, LoraConfig(**settings)).base_model.model
    except (ValueError, TypeError) as reason:
        raise UserError(f"model.adapters does not make adapters ({short(reason)}): found {dict(settings)}.") from reason
