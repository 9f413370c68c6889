"""Files: where results lie, and how they get there whole. Nothing else in the project knows a file's name.

What is expensive lies at an address made of the part of the config that determines it. A file is written under a
temporary name, entered into the folder's manifest with its SHA-256, and renamed: a file that is there is whole, and a
manifest that names it says who wrote it. Locks belong to the operating system, which releases them when a process dies.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import filelock
import yaml

from fimo.errors import UserError

# Part of every address: raise it when files of an older layout must not be read any more.
LAYOUT = 1

MODEL, METRICS, SCORES, ALL_SCORES = "model.safetensors", "metrics.json", "scores.nc", "scores.csv"
CONFIG, MANIFEST, RUN = "config.yaml", "manifest.json", "run.json"
CURVES, SEEDS, RELIABILITY, CLAIMS = "curves.csv", "seeds.csv", "reliability.csv", "claims.csv"
TABLE, CLAIMS_TABLE, INFLUENTIAL, INFLUENTIAL_PICTURE = "table.md", "claims.md", "influential.md", "influential.png"
SOAK, SWEEP = "soak.json", "sweep"  # of a sweep, without the ending


def seed_file(seed: int) -> str:
    """Name of the file that holds one seed of the gold standard."""
    return f"seed-{seed:05d}.nc"


def short_hash(config: Mapping[str, Any]) -> str:
    """The first 8 hex digits of the SHA-256 of a config, whatever the order of its keys."""
    canonical = json.dumps(config, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def lock_at(path: Path) -> filelock.BaseFileLock:
    """A lock that the operating system keeps, and releases when its process dies."""
    return filelock.FileLock(path, fallback_to_soft=False)


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
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


def left_behind(folder: Path, name: str = "*") -> list[Path]:
    """What a process that was killed while it wrote a file left of it."""
    return list(folder.glob(f".{name}.*.tmp"))


@dataclass(frozen=True)
class Artifact:
    """A folder at an address: `<output_dir>/<data>/<kind>/<label>-<hash of config>`.

    Attributes:
        output_dir: where all artifacts lie.
        data: name of the data choice.
        kind: `final`, `scores` or `further`.
        label: something to read.
        config: all that determines the content.
    """

    output_dir: Path
    data: str
    kind: str
    label: str
    config: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """Where the artifact lies."""
        return self.output_dir / self.data / self.kind / f"{self.label}-{self.hash}"

    @property
    def hash(self) -> str:
        """Hash of the config and the layout."""
        return short_hash({"layout": LAYOUT, **self.config})

    def has(self, name: str) -> bool:
        """Whether a file is there (then it is whole).

        Raises:
            UserError: where the folder is not what its address says: another layout, or another config.
        """
        there = self.manifest()["files"] or (self.folder / CONFIG).is_file()
        if there and (found := _hash_in(self.folder / CONFIG)) != self.hash:
            raise UserError(
                f"{self.folder / CONFIG} must be the config that gave the folder its name, found "
                f"{'one with the hash ' + found if found else 'none that can be read'}: remove the folder, and what is "
                "asked for is computed again."
            )
        return (self.folder / name).is_file()

    def lock(self, name: str) -> filelock.BaseFileLock:
        """The lock of a file, for `with`: nobody else writes the file while it is held.

        It lies apart from the folder, which is there only once it has a config and a manifest.
        """
        folder = self.output_dir / ".locks" / self.folder.relative_to(self.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        return lock_at(folder / f"{name}.lock")

    def claim(self, name: str) -> filelock.BaseFileLock | None:
        """The held lock of a file that is still to be made; None where it is there or another process makes it."""
        lock = self.lock(name)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return None
        taken = True
        try:
            taken = self.has(name)
        finally:
            if taken:
                lock.release()
        return None if taken else lock

    def write(self, name: str, content: bytes, **facts: Any) -> None:
        """Write one file and its entry in the manifest, where `facts` are kept; call it with the file's lock held."""
        entry = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "process": os.getpid(),
            "host": socket.gethostname(),
            "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **facts,
        }
        with self.lock(MANIFEST):
            for temporary in [path for own in (CONFIG, MANIFEST, name) for path in left_behind(self.folder, own)]:
                temporary.unlink(missing_ok=True)
            if not self.has(CONFIG):
                config = yaml.safe_dump(dict(self.config), sort_keys=False, allow_unicode=True)
                write(self.folder / CONFIG, config.encode())
            manifest = self.manifest()
            manifest["files"][name] = entry
            write(self.folder / MANIFEST, json.dumps(manifest, indent=1).encode())
        write(self.folder / name, content)

    def manifest(self) -> dict[str, Any]:
        """`{"layout": …, "files": {name: {sha256, process, host, written, …}}}`.

        Raises:
            UserError: where it can't be read, or is of another layout.
        """
        path = self.folder / MANIFEST
        if not path.is_file():
            return {"layout": LAYOUT, "files": {}}
        again = f"remove {self.folder}, and what was in it is computed again."
        try:
            manifest = json.loads(path.read_text())
            layout, _ = manifest["layout"], manifest["files"]
        except (ValueError, KeyError, TypeError) as reason:
            raise UserError(f"{path} can't be read ({reason}): {again}") from reason
        if layout != LAYOUT:
            raise UserError(f"{path} must be of layout {LAYOUT}, found layout {layout} of another version: {again}")
        return manifest

    def facts(self, name: str) -> dict[str, Any]:
        """What the manifest says of a file; nothing where it says nothing."""
        return self.manifest()["files"].get(name, {})

    def path(self, name: str) -> Path:
        """Path of a file, whose content is the one that the manifest names.

        Raises:
            UserError: where the file was changed after it was written.
        """
        path = self.folder / name
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != self.facts(name).get("sha256"):
            raise UserError(
                f"{path} is not the file that was written there (its SHA-256 differs from {MANIFEST}): remove it, and "
                "it is computed again."
            )
        return path


def _hash_in(path: Path) -> str | None:
    """The hash of the address that belongs to a stored config; None where there is none that can be read."""
    return _hash_of(path, path.stat().st_mtime_ns) if path.is_file() else None


@cache
def _hash_of(path: Path, written: int) -> str | None:
    """The same for a file that was written at a time, so that none is read twice: a config may name many rows."""
    try:
        return short_hash({"layout": LAYOUT, **yaml.safe_load(path.read_text())})
    except (yaml.YAMLError, ValueError, TypeError):
        return None


def stored(output_dir: Path) -> Iterator[Artifact]:
    """All artifacts below a folder, as their configs and their places name them."""
    for path in sorted(output_dir.glob(f"*/*/*/{CONFIG}")):
        label, _, _ = path.parent.name.rpartition("-")
        kind, data = path.parents[1].name, path.parents[2].name
        yield Artifact(output_dir, data, kind, label, yaml.safe_load(path.read_text()))


def results_lock(folder: Path) -> filelock.BaseFileLock:
    """The lock of a results folder, which it makes."""
    folder.mkdir(parents=True, exist_ok=True)
    return lock_at(folder / ".lock")


def read_run(folder: Path) -> dict[str, Any] | None:
    """What `run.json` of a results folder says, or None where no run has finished there.

    Raises:
        UserError: where it can't be read.
    """
    path = folder / RUN
    try:
        return json.loads(path.read_text()) if path.is_file() else None
    except ValueError as reason:
        raise UserError(f"{path} can't be read ({reason}): remove it, and the folder is written again.") from reason


def write_results(folder: Path, files: Mapping[str, bytes], run: Mapping[str, Any]) -> None:
    """Write a results folder: while `run.json` is there, everything else is, and belongs to it."""
    (folder / RUN).unlink(missing_ok=True)
    for temporary in left_behind(folder):
        temporary.unlink(missing_ok=True)
    for name, content in files.items():
        write(folder / name, content)
    write(folder / RUN, json.dumps({**run, "files": sorted(files)}, indent=1, ensure_ascii=False).encode() + b"\n")
