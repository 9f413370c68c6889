"""Files: where results lie, and how they get there whole. Nothing else in the project knows a file's name.

What is expensive lies at an address made of the part of the config that determines it. A file is written under a
temporary name, entered into the folder's manifest with its SHA-256, and renamed: a file that is there is whole, and a
manifest that names it says who wrote it. Locks belong to the operating system, which releases them when a process dies.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import filelock
import yaml

from fimo.errors import UserError
from fimo.pipeline.files import bytes_digest, digest, folder_name, left_behind, lock_at, short_hash, write

# Part of every address: raise it when files of an older layout must not be read any more.
LAYOUT = 1

MODEL, METRICS, SCORES, ALL_SCORES = "model.safetensors", "metrics.json", "scores.nc", "scores.csv"
RANKED, RANKING, RANKING_TABLE = "ranking.nc", "ranking.csv", "ranking.md"
SELF_INFLUENCE, MEAN_SCORES = "self_influence.csv", "mean_scores.csv"
ROW_LOSSES, DETECTION = "losses.csv", "detection.csv"
REMOVAL, REMOVAL_TABLE, REMOVAL_FIGURE, AGREEMENT = "removal.csv", "removal.md", "removal", "agreement.csv"
GROUPS, EFFECTS, FLIPPED = "groups.json", "effects.csv", "flipped.csv"
TOKEN_LOSSES = "token_losses.csv"
FAILURE = "failure.txt"  # why a method has no scores: beside them until they can be computed
CONFIG, MANIFEST, RUN = "config.yaml", "manifest.json", "run.json"
CURVES, SEEDS, RELIABILITY, CLAIMS = "curves.csv", "seeds.csv", "reliability.csv", "claims.csv"
TABLE, CLAIMS_TABLE, INFLUENTIAL, INFLUENTIAL_PICTURE = "table.md", "claims.md", "influential.md", "influential.png"
REPORT, SOAK, SWEEP, INDEX = "report.html", "soak.json", "sweep", "index.md"  # the sweep's without its ending


def seed_file(seed: int) -> str:
    """Name of the file that holds one seed of the gold standard."""
    return f"seed-{seed:05d}.nc"


@dataclass(frozen=True)
class Artifact:
    """A folder at an address: `<output_dir>/<data>/<kind>/<label>-<hash of config>`.

    Attributes:
        output_dir: where all artifacts lie.
        data: name of the data choice.
        kind: `final`, `scores`, `ranking` or `further`.
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
        return self.output_dir / folder_name(self.data) / self.kind / f"{folder_name(self.label)}-{self.hash}"

    @property
    def hash(self) -> str:
        """Hash of the config and the layout."""
        return short_hash({"layout": LAYOUT, **self.config})

    def has(self, name: str) -> bool:
        """Whether a file is there (then it is whole).

        Raises:
            UserError: where the folder is not what its address says: another layout, or another config.
        """
        exists = self.manifest()["files"] or (self.folder / CONFIG).is_file()
        if exists and (stored := _hash_in(self.folder / CONFIG)) != self.hash:
            raise UserError(
                f"{self.folder / CONFIG} must be the config that gave the folder its name, found "
                f"{'one with the hash ' + stored if stored else 'none that can be read'}: remove the folder, and what "
                "was in it is computed again."
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

    def write(self, name: str, content: bytes, **metadata: Any) -> None:
        """Write one file and its entry in the manifest; call it with the file's lock held.

        Args:
            name: of the file.
            content: its bytes.
            metadata: kept in the entry, beside digest, process, host and time.
        """
        entry = {
            "sha256": bytes_digest(content),
            "process": os.getpid(),
            "host": socket.gethostname(),
            "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **metadata,
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

    def remove(self, name: str) -> None:
        """Remove one file and its entry in the manifest, where it is there; call it with the file's lock held."""
        with self.lock(MANIFEST):
            manifest = self.manifest()
            if manifest["files"].pop(name, None) is not None:
                (self.folder / name).unlink(missing_ok=True)
                write(self.folder / MANIFEST, json.dumps(manifest, indent=1).encode())

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

    def entry(self, name: str) -> dict[str, Any]:
        """What the manifest says of a file; nothing where it says nothing."""
        return self.manifest()["files"].get(name, {})

    def path(self, name: str) -> Path:
        """Path of a file, whose content is the one that the manifest names.

        Raises:
            UserError: where the file was changed after it was written.
        """
        path, entry = self.folder / name, self.entry(name)
        if digest(path) != entry.get("sha256"):
            what = f"differs from {MANIFEST}" if entry else f"is not in {MANIFEST}"
            raise UserError(
                f"{path} is not the file that was written there (its SHA-256 {what}): remove it, and it is "
                "computed again."
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
    """Write a results folder: while `run.json` is there, everything else is, and belongs to it.

    Args:
        folder: of the results.
        files: contents by name.
        run: what `run.json` says beside the names of the files.
    """
    (folder / RUN).unlink(missing_ok=True)
    for temporary in left_behind(folder):
        temporary.unlink(missing_ok=True)
    for name, content in files.items():
        write(folder / name, content)
    digests = {name: bytes_digest(content) for name, content in sorted(files.items())}
    record = {**run, "files": sorted(files), "sha256": digests}
    write(folder / RUN, json.dumps(record, indent=1, ensure_ascii=False).encode() + b"\n")
