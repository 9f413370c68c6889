"""Text in files, also compressed."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fimo.errors import UserError, short


def _unzip(content: bytes) -> bytes:
    """The one file of an archive, beside what macOS adds."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
        if len(names) != 1:
            raise zipfile.BadZipFile(f"it must hold one file, found {len(names)}")
        return archive.read(names[0])


_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
    ".zip": _unzip,
}
_BROKEN = (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, RuntimeError)
COMPRESSED = tuple(_UNPACK)
JSON_LINES, PARQUET = (".jsonl", ".ndjson"), ".parquet"
# Settings of files of text: the value that says nothing, and the endings of files that have no use for others.
UNUSED: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "separator": (None, (*JSON_LINES, PARQUET)),
    "decimal": (None, (*JSON_LINES, PARQUET)),
    "encoding": ("utf-8", (PARQUET,)),
}


def ending(path: Path) -> str:
    """The ending that says what is in a file, in lower case: `.csv` of `table.csv` and of `table.csv.gz`."""
    return (path.with_suffix("") if path.suffix.lower() in COMPRESSED else path).suffix.lower()


def require_used(settings: Mapping[str, object], *paths: Path) -> None:
    """Refuse settings of `data.source` that say how text is written, where no file has a use for them.

    Args:
        settings: by name; those that are none of text pass.
        paths: of all files that are read with them.

    Raises:
        UserError: naming the setting.
    """
    endings = {ending(path) for path in paths}
    for key in [key for key in UNUSED if key in settings]:
        usual, unused = UNUSED[key]
        if settings[key] != usual and endings <= set(unused):
            raise UserError(
                f"data.source.{key} must be {usual or 'null'} for {paths[0]}, a file without a use for it, found "
                f"{settings[key]!r}: leave it out."
            )


def decoded(path: Path, encoding: str = "utf-8") -> str:
    """The text of a file, with line feeds at the ends of lines and without a byte-order mark.

    Args:
        path: of the file; what ends in `.gz`, `.bz2`, `.xz` or `.zip` is unpacked.
        encoding: as Python calls it.

    Raises:
        UserError: where the file can't be read or unpacked, or is text of another encoding.
    """
    try:
        content = path.read_bytes()
        content = _UNPACK.get(path.suffix.lower(), bytes)(content)
    except _BROKEN as reason:
        why = getattr(reason, "strerror", None) or short(reason)
        raise UserError(f"{path} must be a file of text, and can't be read ({why}).") from reason
    try:
        text = content.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    except LookupError as reason:
        raise UserError(
            f"data.source.encoding must be an encoding such as utf-8 or latin-1, found {encoding!r}."
        ) from reason
    except UnicodeDecodeError as reason:
        line = content[: reason.start].count(b"\n") + 1
        raise UserError(
            f"{path} must be text in {encoding.upper()}, found another byte in line {line}: save it so, or name its "
            "encoding by data.source.encoding (utf-16 or latin-1, perhaps)."
        ) from reason
    return text.replace("\r\n", "\n")


def json_lines(text: str) -> Iterator[tuple[int, Any]]:
    """The number, from 1, and the value of every line of JSON that isn't blank.

    Raises:
        ValueError: naming the first line that is no JSON.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as reason:
            raise ValueError(f"{short(reason)} in line {number}") from reason
        yield number, entry
