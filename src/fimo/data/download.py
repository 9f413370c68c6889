"""Fetching a provider's file once, and only whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pooch
import requests

from fimo.errors import UserError

TIMEOUT_SECONDS = 30


def fetch(path: Path, url: str, page: str, check: Callable[[Path], object]) -> Path:
    """The file at `path`, downloaded from `url` where it isn't there.

    The provider's bytes can't be known here, so the content is checked instead: `check` reads the downloaded file and
    raises where it is not what it should be. Only then does it get its name.

    Raises:
        UserError: where the file can be neither found nor downloaded, or the download fails its check.
    """
    if path.is_file():
        return path
    print(f"{path} is not there: downloading {url}")
    pooch.get_logger().setLevel("WARNING")  # it would suggest to pin the hash
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as folder:
            downloader = pooch.HTTPDownloader(timeout=TIMEOUT_SECONDS)
            arrived = pooch.retrieve(url, None, fname=path.name, path=folder, downloader=downloader)
            check(Path(arrived))
            os.replace(arrived, path)
    except (requests.RequestException, UserError, PermissionError) as reason:
        raise UserError(
            f"{path} is not there and could not be had from {url} ({_short(reason)}): get it from {page} and put it "
            "there, or name the folder that has it by paths.data_dir or FIMO_DATA_DIR."
        ) from reason
    return path


def _short(reason: Exception) -> str:
    """The innermost cause of a network error, without the layers that wrap it."""
    while reason.__context__ is not None and not isinstance(reason, UserError):
        if not isinstance(reason.__context__, Exception):
            break
        reason = reason.__context__
    return " ".join(str(reason).split())[:200] or type(reason).__name__
