"""Files: written whole or not at all, with locks and digests."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import filelock


def short_hash(config: Mapping[str, Any]) -> str:
    """The first 8 hex digits of the SHA-256 of a config, whatever the order of its keys."""
    canonical = json.dumps(config, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


# A name of a folder has room for endings and a hash behind it: file systems take 255 bytes.
NAME_BYTES = 160


def folder_name(name: str, limit: int = NAME_BYTES) -> str:
    """A name that every file system takes: of a long one the beginning, and a hash of all of it.

    Args:
        name: for people, as a run has it.
        limit: bytes in UTF-8.

    Returns:
        The name itself, up to the limit.
    """
    if len(name.encode()) <= limit:
        return name
    end = "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: limit - len(end)].decode(errors="ignore").rstrip() + end


def lock_at(path: Path) -> filelock.BaseFileLock:
    """A lock that the operating system keeps, and releases when its process dies."""
    return filelock.FileLock(path, fallback_to_soft=False)


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Args:
        path: of the file; its folder is made where it is missing.
        content: its bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def bytes_digest(content: bytes) -> str:
    """The SHA-256 of some content."""
    return hashlib.sha256(content).hexdigest()


def digest(path: Path) -> str | None:
    """The SHA-256 of a file's content, or None where it isn't there; no content is read twice."""
    if not path.is_file():
        return None
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns, state.st_ino)


@cache
def _sha256(path: Path, *state: int) -> str:
    """Of a file's content; `state` changes when the content does."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def left_behind(folder: Path, name: str = "*") -> list[Path]:
    """What a process that was killed while it wrote a file left of it.

    Args:
        folder: of the file.
        name: of the file; all files without it.
    """
    return list(folder.glob(f".{name}.*.tmp"))
