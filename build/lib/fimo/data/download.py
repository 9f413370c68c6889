"""Downloads of a provider's file, once, and only when it arrived complete."""

from __future__ import annotations

import logging
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from fimo.errors import Unavailable, UserError, short

logger = logging.getLogger(__name__)
TIMEOUT_SECONDS = 30


def fetch(path: Path, url: str, page: str, check: Callable[[Path], object], zipped: bool = False) -> Path:
    """The file at `path`, downloaded from its provider where it is missing.

    The provider's bytes can't be known here, so the content is checked instead. Only a file that passes the check gets
    its name.

    Args:
        path: where the file lies, or is put.
        url: where the provider has it.
        page: where a person can get it, for the error.
        check: reads the downloaded file and raises `UserError` where its content is not what it should be.
        zipped: whether the URL is that of a ZIP archive with the file in it.

    Returns:
        `path`.

    Raises:
        Unavailable: where the file is missing and can't be downloaded, or the download fails its check.
    """
    if path.is_file():
        return path
    import pooch
    import requests

    logger.info("%s is not there: downloading %s", path, url)
    pooch.get_logger().setLevel("WARNING")  # it would suggest to pin the hash
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as folder:
            downloader = pooch.HTTPDownloader(timeout=TIMEOUT_SECONDS)
            name = f"{path.name}.zip" if zipped else path.name
            downloaded = Path(pooch.retrieve(url, None, fname=name, path=folder, downloader=downloader))
            if zipped:
                downloaded = _unzipped(downloaded, path.name)
            check(downloaded)
            os.replace(downloaded, path)
    except (requests.RequestException, UserError, PermissionError) as reason:
        raise Unavailable(
            f"{path} is not there and could not be had from {url} ({_short(reason)}): get it from {page} and put it "
            "there, or name the folder that has it by paths.data_dir or FIMO_DATA_DIR."
        ) from reason
    return path


def _unzipped(archive: Path, member: str) -> Path:
    """The member, beside its archive."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return Path(opened.extract(member, archive.parent))
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as reason:
        raise UserError(f"what arrived is not a ZIP archive with {member} in it") from reason


def _short(reason: Exception) -> str:
    """The innermost cause of a network error, without the layers that wrap it."""
    while reason.__context__ is not None and not isinstance(reason, UserError):
        if not isinstance(reason.__context__, Exception):
            break
        reason = reason.__context__
    return short(reason, 200)
