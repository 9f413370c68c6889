"""Models of the transformers library, new or from a folder or the hub: what fits the data, and what is refused."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedModel

from fimo import hub
from fimo.errors import UserError, short, some_of
from fimo.models.model_kinds import require_kind

logger = logging.getLogger(__name__)

# Attention written out in torch's own operations: fused attention has neither forward mode nor double backward.
ATTENTION = "eager"
# What a head was trained for, as its config says it, and the task of the data that it is.
TASKS = {
    "single_label_classification": "classification",
    "multi_label_classification": "multilabel",
    "regression": "regression",
}


def new_model(config: Mapping[str, Any] | None, kind: Any, what: str, **settings: Any) -> PreTrainedModel:
    """A model with weights that torch's generator draws.

    Args:
        config: `model_type` and the settings of that type.
        kind: of the library's auto classes.
        what: it is, with an example of a type, for errors.
        settings: further ones, which the data decide.

    Raises:
        UserError: for a config without a type, and where it makes no such model.
    """
    if not config or "model_type" not in config:
        raise UserError(f"model.config must say the model_type {what} where model.name is null, found {config!r}.")
    hub.quiet()
    try:
        made = AutoConfig.for_model(**{"pad_token_id": 0, **config, **settings})
        require_kind(made, f"model.config of type {config['model_type']}", kind)
        return kind.from_config(made, attn_implementation=ATTENTION)
    except (ValueError, TypeError, ZeroDivisionError) as reason:
        raise UserError(f"model.config does not make a network: {short(reason)}.") from reason


def pretrained_model(name: str, kind: Any, outputs: int | None = None) -> PreTrainedModel:
    """A model from a folder or the hub (see `fimo.hub`), in float32; a folder of adapters is put into its own model.

    Args:
        name: path of a folder, or a name on the hub.
        kind: of the library's auto classes.
        outputs: of a head that adapters bring, which the model below them doesn't know.

    Raises:
        UserError: where there is none, it is of another kind, or weights are missing that would be drawn at random.
    """
    hub.quiet()
    base = hub.adapter_base(name)
    if base is None:
        return _loaded(name, kind)
    try:
        from peft import PeftConfig, PeftModel
    except ImportError as reason:
        raise UserError(
            f"{name} is a folder of adapters, which the package peft reads: pip install -c constraints.txt -e "
            "'.[peft]'."
        ) from reason
    try:
        brought = PeftConfig.from_pretrained(name).modules_to_save or ()
        heads = {"num_labels": outputs} if outputs is not None and brought else {}
        model = PeftModel.from_pretrained(_loaded(base, kind, tuple(brought), **heads), name)
    except (ValueError, OSError, RuntimeError, KeyError, SafetensorError) as reason:
        raise UserError(f"The adapters in {name} don't fit their model {base} ({short(reason)}).") from reason
    logger.info("%s: adapters of %s", name, base)
    return model.base_model.model


def _loaded(name: str, kind: Any, brought: Sequence[str] = (), **settings: Any) -> PreTrainedModel:
    """The same for what is no folder of adapters; the modules that are `brought` may lack weights."""
    folder = hub.find(name)
    options: dict[str, Any] = {
        **settings,
        "attn_implementation": ATTENTION,
        "dtype": torch.float32,
        "use_safetensors": True,
    }
    options["trust_remote_code"] = False  # code from the hub is never run
    try:
        require_kind(AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False), name, kind)
        model, loading = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True, **options)
    except (ValueError, OSError, RuntimeError, SafetensorError, KeyError) as reason:
        raise UserError(f"{name} can't be loaded as a model ({short(reason)}).") from reason
    # transformers would draw what is missing at random, and say so in a warning. A pooler is not used.
    unused = (*brought, *(["pooler"] if kind is AutoModel else []))
    if missing := sorted(key for key in loading["missing_keys"] if not any(part in key for part in unused)):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(
            f"{name} lacks weights of a {type(model).__name__} ({missing[0]}{more}): choose a model that was saved "
            "with them."
        )
    return model


def require_words(model: PreTrainedModel, name: str, vocabulary: int) -> None:
    """Refuse a model that has no embedding for some token of the data.

    Args:
        model: of text.
        name: of the model, for the error.
        vocabulary: tokens that the data's tokenizer knows.

    Raises:
        UserError: naming both numbers.
    """
    if model.config.vocab_size < vocabulary:
        raise UserError(
            f"The network {name} has embeddings of {model.config.vocab_size} words, and the tokenizer of the data has "
            f"{vocabulary}: choose the network's own tokenizer by data.tokenizer, or, where tokens were added to it, "
            "give the network as many embeddings (resize_token_embeddings) and save it."
        )


def require_task(config: Any, name: str, task: str | None) -> None:
    """Refuse a head that was trained for another task than the data have.

    Args:
        config: of the model.
        name: of the model, for the error.
        task: of the data; None where nobody says it.

    Raises:
        UserError: naming the task that fits.
    """
    trained = TASKS.get(getattr(config, "problem_type", None) or "")
    if None not in (trained, task) and trained != task:
        raise UserError(
            f"The classifier {name} was trained for {config.problem_type}, as its config says: choose "
            f"data.task={trained}, found {task}."
        )


def head_order(config: Any, name: str, outputs: int, classes: Sequence[str] | None, task: str | None) -> Tensor | None:
    """Which outputs of a pretrained head are the data's, in the data's order.

    Args:
        config: of the model.
        name: of the model, for errors.
        outputs: classes, or labels, of the data.
        classes: their names, see `class_order`.
        task: of the data; None where nobody says it.

    Returns:
        `[output]`, numbers of the head's outputs; None where they are in this order already.

    Raises:
        UserError: where the head was trained for another task or other classes.
    """
    require_task(config, name, task)
    order = class_order(config, name, outputs, classes)
    return None if order == list(range(outputs)) else torch.tensor(order)


def in_order(logits: Tensor, order: Tensor | None) -> Tensor:
    """A head's outputs in the data's order.

    Args:
        logits: `[row, output]`.
        order: of `head_order`.

    Returns:
        `[row, output]`.
    """
    return logits if order is None else logits[:, order.to(logits.device)]


def class_order(config: Any, name: str, outputs: int, classes: Sequence[str] | None) -> list[int]:
    """Which of a head's outputs each class of the data is, by the names in `id2label`.

    Args:
        config: of the model.
        name: of the model, for the error.
        outputs: classes, or labels, of the data.
        classes: their names; None where they have none. Numbers are taken for the head's own.

    Returns:
        For each class of the data the number of the head's output.

    Raises:
        UserError: where there are more or fewer, or they have other names.
    """
    if config.num_labels != outputs:
        raise UserError(
            f"The classifier {name} must have the {outputs} classes of the data, found {config.num_labels}: "
            f"{_listed(config.id2label[number] for number in range(config.num_labels))}."
        )
    theirs = [str(config.id2label[number]).strip() for number in range(outputs)]
    ours = [label.strip() for label in (classes or map(str, range(outputs)))]
    folded = [[label.casefold() for label in labels] for labels in (theirs, ours)]
    for known, wanted in ((theirs, ours), folded):
        if len(set(known)) == outputs and set(known) == set(wanted):
            order = [known.index(label) for label in wanted]
            if order != list(range(outputs)):
                logger.info("%s: its classes are matched by name: %s", name, _listed(theirs))
            return order
    unnamed = all(label in (f"LABEL_{number}", str(number)) for number, label in enumerate(theirs))
    if unnamed and ours != list(map(str, range(outputs))):
        taken = [f"{label} is {own!r}" for label, own in zip(theirs, ours, strict=True)]
        note = "%s: its labels have no names and are taken in the order of the data's classes: %s (id2label names them)"
        logger.info(note, name, some_of(taken))
    if unnamed or ours == list(map(str, range(outputs))):
        return list(range(outputs))
    raise UserError(
        f"The classifier {name} has the classes {_listed(theirs)}, and the data have {_listed(ours)}: name the data's "
        "classes as the classifier does, no two of them alike, or number them as it does, from 0."
    )


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names))
