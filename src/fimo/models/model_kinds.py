"""Kinds of models of the transformers library: what a model is, and whether that is what is wanted."""

from __future__ import annotations

from typing import Any

from transformers.models.auto import modeling_auto

from fimo.errors import UserError

ENCODER, DECODER, BOTH, IMAGES = "an encoder", "a decoder", "an encoder with a decoder", "a model of images"
# What takes a model of each kind.
ADVICE = {
    ENCODER: "model=encoder and model=sequence_classifier take encoders",
    DECODER: "model=causal_lm takes decoders",
    BOTH: "choose an encoder as BERT is, or a decoder as GPT-2 is",
    IMAGES: "model=image_classifier takes models of images",
}


def kind_of(config: Any) -> str:
    """What a model is.

    Args:
        config: of the model.
    """
    known = type(config)
    masked, causal, images = (
        known in getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING")
        for task in ("MASKED_LM", "CAUSAL_LM", "IMAGE_CLASSIFICATION")
    )
    if getattr(config, "is_encoder_decoder", False):
        return BOTH
    if getattr(config, "text_config", None) is not None or images and not masked:
        return IMAGES
    return DECODER if getattr(config, "is_decoder", False) or causal and not masked else ENCODER


def require_kind(config: Any, name: str, kind: Any) -> None:
    """Refuse a model of another kind than is wanted.

    Args:
        config: of the model.
        name: of the model, for the error.
        kind: of the library's auto classes: for text, for images, or for next tokens.

    Raises:
        UserError: naming what it is, and what takes it.
    """
    actual = kind_of(config)
    if kind is modeling_auto.AutoModelForImageClassification:
        if type(config) not in modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
            raise UserError(f"{name} is no classifier of images ({config.model_type}): choose a vision transformer.")
    elif kind is modeling_auto.AutoModelForCausalLM:
        if actual != DECODER:
            raise UserError(
                f"{name} is {actual} ({config.model_type}), and no causal language model: {ADVICE[actual]}."
            )
    elif actual != ENCODER:
        raise UserError(f"{name} is {actual} ({config.model_type}), and no encoder of text: {ADVICE[actual]}.")
